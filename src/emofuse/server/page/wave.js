// The waveform with its bands of emotion: drawn on a canvas, moved through like a slider.

import { colourOf } from "/page/colours.js";
import { percent, seconds } from "/page/words.js";

const BAND = 26; // pixels of the strip that names the emotions

export class Wave {
  constructor(canvas, player) {
    this.canvas = canvas;
    this.player = player;
    this.state = { peaks: [], length: 0, segments: [], classes: [] };
    this.place = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      this.seek(((event.clientX - box.left) / box.width) * this.state.length);
    });
  }

  show(samples, rate, length, segments, classes) {
    this.state = { peaks: peaksOf(samples, 1200), length, segments, classes };
    this.canvas.setAttribute("aria-valuemax", length.toFixed(1));
    this.move(0);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    const jumps = { Home: 0, End: this.state.length };
    if (event.key in steps) this.seek(this.place + steps[event.key]);
    else if (event.key in jumps) this.seek(jumps[event.key]);
    else if (event.key === " ") this.player.paused ? this.player.play() : this.player.pause();
    else return;
    event.preventDefault();
  }

  seek(value) {
    const place = Math.max(0, Math.min(this.state.length, value));
    if (this.player.src) this.player.currentTime = place;
    this.move(place);
  }

  at(place) {
    return this.state.segments.findIndex((one) => one.start <= place && place < one.end);
  }

  move(place) {
    this.place = place;
    const here = this.state.segments[this.at(place)];
    this.canvas.setAttribute("aria-valuenow", place.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", here ? `${seconds(place)}, ${here.emotion} ${percent(here.confidence)}` : `${seconds(place)}, no speech`);
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (!wide) return;
    canvas.width = Math.round(wide * scale);
    canvas.height = Math.round(high * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const ink = getComputedStyle(canvas).getPropertyValue("--ink");
    const { peaks, length, segments, classes } = this.state;
    const x = (time) => (length ? (time / length) * wide : 0);
    const middle = (high - BAND) / 2;
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    for (const one of segments) {
      const [left, right] = [x(one.start), x(one.end)];
      pen.fillStyle = colourOf(one.emotion, classes);
      pen.globalAlpha = 0.16 + 0.2 * one.confidence;
      pen.fillRect(left, 0, right - left, high - BAND);
      pen.globalAlpha = 1;
      pen.fillRect(left, high - BAND, Math.max(right - left - 1, 1), BAND);
      label(pen, one.emotion, left, right, high - BAND / 2);
    }
    pen.fillStyle = ink;
    peaks.forEach((peak, n) => {
      const tall = Math.max(peak * (middle - 4), 0.5);
      pen.fillRect((n / peaks.length) * wide, middle - tall, Math.max(wide / peaks.length - 0.2, 0.6), 2 * tall);
    });
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue("--bad");
    pen.fillRect(Math.min(x(this.place), wide - 2), 0, 2, high);
  }
}

function label(pen, name, left, right, y) {
  const room = right - left - 8;
  let text = name;
  if (pen.measureText(text).width > room) text = `${name.slice(0, 3)}.`;
  if (pen.measureText(text).width > room) return;
  pen.fillStyle = "#fff";
  pen.strokeStyle = "#000a";
  pen.lineWidth = 3;
  pen.strokeText(text, left + 4, y);
  pen.fillText(text, left + 4, y);
}

export function peaksOf(samples, count) {
  const size = Math.max(1, Math.ceil(samples.length / count));
  const found = [];
  for (let first = 0; first < samples.length; first += size) {
    let peak = 0;
    const last = Math.min(first + size, samples.length);
    for (let n = first; n < last; n += 1) peak = Math.max(peak, Math.abs(samples[n]));
    found.push(peak);
  }
  const loudest = Math.max(...found, 1e-3);
  return found.map((peak) => peak / loudest);
}
