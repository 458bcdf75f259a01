// Gathers the microphone's samples into chunks of about a tenth of a second.

class Chunks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 10);
    this.chunk = new Float32Array(this.size);
    this.filled = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.chunk[this.filled] = sample;
      this.filled += 1;
      if (this.filled === this.size) {
        this.port.postMessage(this.chunk);
        this.chunk = new Float32Array(this.size);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("chunks", Chunks);
