// The page at work: what the user does, and what is shown of it.

import * as api from "/page/api.js";
import { startLive } from "/page/live.js";
import * as show from "/page/results.js";
import { at, make } from "/page/results.js";
import { decode, startRecording, wav } from "/page/sound.js";
import { Wave } from "/page/wave.js";
import { percent, save, seconds, srt } from "/page/words.js";

let service = null; // what /v1/models said
let sound = null; // { blob, samples, length }: what is shown or was asked last
let result = null; // { recognition, timeline }
let busy = null; // a recording or a live stream that goes on
const wave = new Wave(at("canvas"), at("player"));

const say = (text) => { at("status").textContent = text; };
const calm = () => { at("problem").hidden = true; };

function complain(error) {
  const lines = {
    too_large: "The file is too large", too_long: "The recording is too long",
    bad_audio: "The file cannot be read", busy: "The service is busy",
  };
  const trouble = error instanceof api.Trouble ? error : new api.Trouble("internal", `Something went wrong in this page: ${error.message}`);
  const box = at("problem");
  const head = lines[trouble.code];
  const line = trouble.code === "unauthorised" ? "The service wants an API key." : trouble.message;
  box.replaceChildren(head ? `${head}: ${line}` : line);
  if (["busy", "lost", "timeout", "stopping"].includes(trouble.code) && sound) {
    const again = make("button", { type: "button", text: "Try again" });
    again.addEventListener("click", run);
    box.append(again);
  }
  if (trouble.code === "unauthorised") at("key-field").hidden = false;
  box.hidden = false;
  say("");
}

async function greet() {
  try {
    service = await api.models();
  } catch (error) {
    complain(error);
    return;
  }
  const [model] = service.models;
  at("model").textContent = `${model.id}: ${model.classes.join(", ")}`;
  at("licence").textContent = model.licence;
  calm();
}

async function take(blob) {
  calm();
  if (!service) await greet();
  if (!service) return;
  const { limits, models: [model] } = service;
  at("results").hidden = true;
  at("player").pause();
  say("Reading the sound ...");
  try {
    if (blob.size > 40 * limits.max_upload_bytes) throw new api.Trouble("too_large", `it has ${Math.round(blob.size / 1048576)} MB.`);
    let samples = new Float32Array(0);
    let file = blob;
    try {
      samples = await decode(blob, model.sample_rate);
      file = wav(samples, model.sample_rate);
    } catch { /* the browser does not read it; the service may */ }
    const length = samples.length / model.sample_rate;
    if (length > limits.timeline_seconds) throw new api.Trouble("too_long", `it has ${seconds(length)}; at most ${seconds(limits.timeline_seconds)} are taken.`);
    if (file.size > limits.max_upload_bytes) throw new api.Trouble("too_large", `it has ${(file.size / 1048576).toFixed(1)} MB; at most ${(limits.max_upload_bytes / 1048576).toFixed(1)} MB are taken.`);
    sound = { blob: file, samples, length };
  } catch (error) {
    complain(error);
    return;
  }
  await run();
}

async function run() {
  if (!sound) return;
  calm();
  say("Recognising ...");
  at("again").disabled = true;
  try {
    const short = sound.length <= service.limits.max_seconds;
    const words = at("words").value.trim();
    const [recognition, timeline] = await Promise.all([
      short ? api.recognise(sound.blob, words) : null,
      listens() ? api.timeline(sound.blob) : null,
    ]);
    present({ recognition, timeline }, words);
  } catch (error) {
    complain(error);
  } finally {
    at("again").disabled = false;
  }
}

function listens() {
  const [model] = service.models;
  return model.modalities.includes("audio") && model.needs.every((name) => name === "audio");
}

function present(found, words = "") {
  result = found;
  const { classes } = service.models[0];
  const segments = found.timeline?.segments ?? [];
  const answer = found.recognition ?? whole(segments, classes);
  const length = found.timeline?.seconds || sound.length;
  at("results").hidden = false;
  if (answer) show.headline(answer);
  else at("headline").textContent = "No speech was found.";
  show.notes([...(answer?.notes ?? []), ...(found.timeline?.notes ?? [])]);
  show.legend(classes);
  show.shares(answer?.probabilities ?? {}, classes);
  show.weights(answer?.weights);
  show.segments(segments, classes, (time) => wave.seek(time));
  show.plane(segments.length ? segments : answer ? [answer] : [], classes, service.models[0].scale);
  const heard = segments.filter((one) => one.text);
  const given = words && answer ? [{ text: words, emotion: answer.emotion }] : [];
  show.said(heard.length ? heard : given, classes);
  at("player").hidden = sound.samples.length === 0;
  if (sound.samples.length) {
    URL.revokeObjectURL(at("player").src);
    at("player").src = URL.createObjectURL(sound.blob);
  } else {
    at("player").removeAttribute("src");
  }
  wave.show(sound.samples, service.models[0].sample_rate, length, segments, classes);
  at("again").disabled = false;
  say(answer ? `Done: ${answer.emotion} with ${percent(answer.confidence)}, ${segments.length} segments.` : "Done: no speech was found.");
}

// Where there is no answer for the whole: the mean of the segments, each by its length.
function whole(segments, classes) {
  const total = segments.reduce((sum, one) => sum + one.end - one.start, 0);
  if (!total) return null;
  const mean = (pick) => segments.reduce((sum, one) => sum + (pick(one) * (one.end - one.start)) / total, 0);
  const probabilities = Object.fromEntries(classes.map((name) => [name, mean((one) => one.probabilities[name])]));
  const emotion = classes.reduce((best, name) => (probabilities[name] > probabilities[best] ? name : best));
  const names = Object.keys(segments[0].weights);
  const weights = Object.fromEntries(names.map((name) => [name, mean((one) => one.weights[name] ?? 0)]));
  const calibrated = Boolean(service.models[0].calibrated);
  return { emotion, probabilities, confidence: probabilities[emotion], weights, calibrated, notes: ["the mean of the segments, each by its length"] };
}

function hold(button, work, label, other) {
  busy = work;
  button.setAttribute("aria-pressed", "true");
  button.textContent = label;
  for (const id of [other, "choose", "again"]) at(id).disabled = true;
}

function free(button, label, other) {
  busy = null;
  button.setAttribute("aria-pressed", "false");
  button.textContent = label;
  for (const id of [other, "choose"]) at(id).disabled = false;
  at("again").disabled = !sound;
}

async function record() {
  const button = at("record");
  calm();
  try {
    if (!busy) {
      hold(button, await startRecording(), "Stop recording", "live");
      say("Recording.");
      return;
    }
    const blob = await busy.stop();
    free(button, "Record", "live");
    await take(blob);
  } catch (error) {
    free(button, "Record", "live");
    complain(error);
  }
}

async function live() {
  const button = at("live");
  calm();
  if (busy) {
    busy.stop();
    say("Waiting for the last segments ...");
    return;
  }
  if (!service) await greet();
  if (!service) return;
  const rate = service.models[0].sample_rate;
  const found = [];
  const parts = [];
  const classes = service.models[0].classes;
  const join = (some) => {
    const samples = new Float32Array(some.reduce((sum, one) => sum + one.length, 0));
    some.reduce((place, one) => { samples.set(one, place); return place + one.length; }, 0);
    return samples;
  };
  const draw = () => {
    const samples = join(parts);
    wave.show(samples, rate, samples.length / rate, found, classes);
  };
  try {
    const talk = await startLive(rate, {
      ready: ({ latency }) => say(`Listening. A segment comes at most ${seconds(latency)} after its end.`),
      chunk: (data) => parts.push(data),
      heard: draw,
      segment: (one) => {
        found.push(one);
        show.segments(found, classes, () => {});
        show.headline({ ...one, calibrated: service.models[0].calibrated });
        show.shares(one.probabilities, classes);
        show.weights(one.weights);
        show.plane(found, classes, service.models[0].scale);
        say(`${one.emotion} ${percent(one.confidence)}, ${seconds(one.start)} to ${seconds(one.end)}`);
      },
      final: () => {},
      end: (all, trouble) => {
        free(button, "Listen live", "record");
        const samples = join(all);
        if (samples.length) {
          sound = { blob: wav(samples, rate), samples, length: samples.length / rate };
          present({ recognition: null, timeline: { id: "live", seconds: sound.length, classes, segments: found } });
        }
        if (trouble) complain(trouble);
      },
    });
    hold(button, talk, "Stop listening", "record");
    at("results").hidden = false;
    at("headline").textContent = "Listening ...";
    show.legend(classes);
    for (const clear of [show.shares, show.weights]) clear({}, classes);
    show.segments([], classes, () => {});
    show.notes([]);
    show.said([], classes);
    at("player").hidden = true;
    wave.show(new Float32Array(0), rate, 1, [], classes);
  } catch (error) {
    free(button, "Listen live", "record");
    complain(error);
  }
}

function follow() {
  const slow = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let shown = -1;
  const step = () => {
    wave.move(at("player").currentTime);
    const here = wave.at(at("player").currentTime);
    if (here !== shown) show.mark(here);
    shown = here;
    if (at("player").paused) return;
    if (slow) setTimeout(step, 250);
    else requestAnimationFrame(step);
  };
  step();
}

function listen() {
  const drop = at("drop");
  at("choose").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => { if (at("file").files[0]) take(at("file").files[0]); at("file").value = ""; });
  at("record").addEventListener("click", record);
  at("live").addEventListener("click", live);
  at("again").addEventListener("click", run);
  at("words").addEventListener("keydown", (event) => { if (event.key === "Enter") run(); });
  at("key-field").addEventListener("submit", (event) => {
    event.preventDefault();
    api.useKey(at("key").value);
    greet();
  });
  for (const name of ["play", "seeked"]) at("player").addEventListener(name, follow);
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0] && !busy) take(event.dataTransfer.files[0]);
    });
  }
  at("save-json").addEventListener("click", () => save("emotions.json", JSON.stringify(result, null, 2), "application/json"));
  at("save-srt").addEventListener("click", () => save("emotions.srt", srt(result?.timeline?.segments ?? []), "application/x-subrip"));
}

listen();
greet();
