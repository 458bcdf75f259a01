// What was recognised, as elements of the page. Text goes in as text, never as markup.

import { colourOf } from "/page/colours.js";
import { percent, seconds } from "/page/words.js";

export const at = (id) => document.getElementById(id);

export function make(tag, { text, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

function swatch(emotion, classes) {
  const found = make("span", { class: "swatch", "aria-hidden": "true" });
  found.style.background = colourOf(emotion, classes);
  return found;
}

function bar(name, share, colour) {
  const inner = make("span", { class: "bar" });
  inner.style.width = `${(100 * share).toFixed(1)}%`;
  if (colour) inner.style.background = colour;
  return make("li", {}, make("span", { text: name }), make("span", { class: "track", "aria-hidden": "true" }, inner), make("span", { class: "figure", text: percent(share) }));
}

export function headline(answer) {
  const box = at("headline");
  const set = answer.emotion_set?.length > 1 ? ` It may be any of: ${answer.emotion_set.join(", ")}.` : "";
  const doubt = answer.too_unsure ? " The model is too unsure to answer." : "";
  const kind = answer.calibrated ? "" : " (not calibrated)";
  box.replaceChildren(make("strong", { text: answer.emotion }), ` with ${percent(answer.confidence)}${kind}.${doubt}${set}`);
}

export function legend(classes) {
  at("legend").replaceChildren(...classes.map((name) => make("span", {}, swatch(name, classes), name)));
}

export function shares(probabilities, classes) {
  at("shares").replaceChildren(...Object.entries(probabilities).sort((a, b) => b[1] - a[1]).map(([name, share]) => bar(name, share, colourOf(name, classes))));
}

export function weights(found) {
  const rows = Object.entries(found ?? {});
  at("weights-box").hidden = rows.length === 0;
  at("weights").replaceChildren(...rows.map(([name, share]) => bar(name, share)));
}

export function notes(lines) {
  at("notes").replaceChildren(...lines.map((text) => make("li", { text })));
}

export function segments(found, classes, jump) {
  const rows = found.map((one) => {
    const doubt = one.too_unsure ? ", unsure" : "";
    const button = make("button", { type: "button" },
      make("span", { class: "time", text: `${seconds(one.start)} to ${seconds(one.end)}` }),
      swatch(one.emotion, classes), `${one.emotion} ${percent(one.confidence)}${doubt}`);
    button.addEventListener("click", () => jump(one.start));
    return make("li", {}, button);
  });
  at("segments").replaceChildren(...(rows.length ? rows : [make("li", { class: "soft", text: "No speech was found." })]));
}

export function mark(number) {
  at("segments").querySelectorAll("button").forEach((button, n) => {
    button.setAttribute("aria-current", n === number ? "true" : "false");
  });
}

export function said(parts, classes) {
  at("said-box").hidden = parts.length === 0;
  at("said").replaceChildren(...parts.flatMap(({ text, emotion }) => {
    const words = make("span", { text });
    words.style.borderColor = colourOf(emotion, classes);
    return [words, make("span", { class: "tag", text: ` (${emotion}) ` })];
  }));
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, values, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

// Valence from left to right, arousal from below to above, both on the scheme's scale.
export function plane(points, classes, [low, high]) {
  const shown = points.filter((one) => one.vad && "valence" in one.vad && "arousal" in one.vad);
  at("plane-box").hidden = shown.length === 0;
  if (!shown.length) return;
  const x = (v) => 20 + (180 * (v - low)) / (high - low);
  const y = (v) => 200 - (180 * (v - low)) / (high - low);
  const spots = shown.map((one) => [x(one.vad.valence), y(one.vad.arousal)]);
  at("plane").replaceChildren(
    shape("rect", { x: 20, y: 20, width: 180, height: 180, class: "axis", fill: "none" }),
    shape("line", { x1: 110, y1: 20, x2: 110, y2: 200, class: "axis" }),
    shape("line", { x1: 20, y1: 110, x2: 200, y2: 110, class: "axis" }),
    shape("text", { x: 110, y: 215, "text-anchor": "middle" }, "valence"),
    shape("text", { x: 12, y: 110, "text-anchor": "middle", transform: "rotate(-90 12 110)" }, "arousal"),
    shape("polyline", { points: spots.map((spot) => spot.join(",")).join(" "), class: "path" }),
    ...shown.map((one, n) => shape("circle", { cx: spots[n][0], cy: spots[n][1], r: n === shown.length - 1 ? 6 : 4, fill: colourOf(one.emotion, classes), class: "dot" })),
  );
  const last = shown[shown.length - 1].vad;
  at("plane-words").textContent = `Last: valence ${last.valence.toFixed(1)}, arousal ${last.arousal.toFixed(1)} (${low} to ${high}).`;
}
