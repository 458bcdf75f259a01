// The microphone over the WebSocket: segments come back as they settle.

import { keyInUse, Trouble } from "/page/api.js";
import { microphone, pcm16 } from "/page/sound.js";

const KEPT = 600; // seconds of sound kept for playing it afterwards

export async function startLive(rate, on) {
  const source = await microphone();
  const context = new AudioContext({ sampleRate: rate });
  const parts = [];
  let socket = null;
  let ended = false;

  const letGo = () => {
    source.getTracks().forEach((track) => track.stop());
    if (context.state !== "closed") context.close();
  };
  const end = (trouble) => {
    if (ended) return;
    ended = true;
    letGo();
    on.end(parts, trouble);
  };

  try {
    await context.audioWorklet.addModule("/page/worklet.js").catch(() => { throw lost(); });
    socket = await open(rate, on, end);
  } catch (error) {
    letGo();
    throw error;
  }
  const node = new AudioWorkletNode(context, "chunks", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  let kept = 0;
  node.port.onmessage = ({ data }) => {
    if (socket.readyState !== WebSocket.OPEN || ended) return;
    socket.send(pcm16(data).buffer);
    if (kept < KEPT * rate) { parts.push(data); kept += data.length; }
    on.chunk(data);
  };
  context.createMediaStreamSource(source).connect(node);
  return {
    stop: () => {
      node.port.onmessage = null;
      letGo();
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "end"}');
    },
  };
}

const lost = () => new Trouble("lost", "The connection to the service was lost.");

function open(rate, on, end) {
  const place = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`;
  const socket = new WebSocket(place);
  return new Promise((resolve, reject) => {
    let final = false;
    socket.onopen = () => socket.send(JSON.stringify({ rate, encoding: "pcm16", ...(keyInUse() ? { key: keyInUse() } : {}) }));
    socket.onclose = () => { reject(lost()); end(final ? null : lost()); };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "ready") resolve(socket);
      if (message.type === "ready") on.ready(message);
      if (message.type === "segment") on.segment(message.segment);
      if (message.type === "heard") on.heard(message.seconds);
      if (message.type === "final") { final = true; on.final(message); }
      if (message.type === "error") {
        const trouble = new Trouble(message.error.code, message.error.message);
        reject(trouble);
        end(trouble);
      }
    };
  });
}
