// Sound in the browser: any format it reads becomes one channel at the model's rate, and a WAV file.

import { Trouble } from "/page/api.js";

export async function decode(blob, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  const whole = await context.decodeAudioData(await blob.arrayBuffer()); // resamples to `rate`
  const mono = new Float32Array(whole.length);
  for (let c = 0; c < whole.numberOfChannels; c += 1) {
    const channel = whole.getChannelData(c);
    for (let n = 0; n < mono.length; n += 1) mono[n] += channel[n] / whole.numberOfChannels;
  }
  return mono;
}

export function pcm16(samples) {
  const found = new Int16Array(samples.length);
  for (let n = 0; n < samples.length; n += 1) {
    found[n] = Math.max(-32768, Math.min(32767, Math.round(samples[n] * 32768)));
  }
  return found;
}

export function wav(samples, rate) {
  const head = new DataView(new ArrayBuffer(44));
  const mark = (place, text) => { for (let n = 0; n < 4; n += 1) head.setUint8(place + n, text.charCodeAt(n)); };
  const bytes = samples.length * 2;
  mark(0, "RIFF"); head.setUint32(4, 36 + bytes, true); mark(8, "WAVE"); mark(12, "fmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true); mark(36, "data"); head.setUint32(40, bytes, true);
  return new Blob([head.buffer, pcm16(samples).buffer], { type: "audio/wav" });
}

export async function microphone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Trouble("microphone", "This browser gives a page a microphone only over https or on localhost.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    const why = {
      NotFoundError: "No microphone was found.",
      NotAllowedError: "The microphone was not allowed. Allow it in the browser's settings of this page.",
      NotReadableError: "The microphone is in use by another program.",
    };
    throw new Trouble("microphone", why[error.name] ?? "The microphone cannot be used.");
  }
}

export async function startRecording() {
  const source = await microphone();
  const recorder = new MediaRecorder(source);
  const parts = [];
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  recorder.start(500);
  return {
    stop: () => new Promise((resolve) => {
      recorder.addEventListener("stop", () => {
        source.getTracks().forEach((track) => track.stop());
        resolve(new Blob(parts, { type: recorder.mimeType }));
      });
      recorder.stop();
    }),
  };
}
