/** The microphone's worklet: from the context's rate to the wire's, in batches of 20 ms. */

import { Resampler } from "./resampler.js";

/**
 * A batch: 20 ms of PCM16 at the wire's rate; its level and loudest sample before the gate; and when it ended, in
 * seconds on the context's clock.
 * @typedef {{pcm: Int16Array<ArrayBuffer>, level: number, peak: number, time: number}} Batch
 */

const BATCH_S = 0.02;

class MicrophoneProcessor extends AudioWorkletProcessor {
  /** Whether what is heard goes out; otherwise silence does, so that the server's count of samples goes on. */
  #open = true;
  #closed = false;
  #resampler;
  #size;
  #batch;
  #filled = 0;
  #squares = 0;
  #peak = 0;
  #heard = 0;

  /** @param {{processorOptions: {rate: number}}} options the wire's rate, hertz */
  constructor({ processorOptions: { rate } }) {
    super();
    this.#resampler = new Resampler(sampleRate, rate);
    this.#size = Math.round(rate * BATCH_S);
    this.#batch = new Int16Array(this.#size);
    this.port.onmessage = ({ data }) => {
      if (data === "close") this.#closed = true;
      else this.#open = data === "open";
    };
  }

  /**
   * @param {Float32Array[][]} inputs
   * @returns {boolean}
   */
  process([input]) {
    const heard = input?.[0] ?? new Float32Array(128); // a microphone that was unplugged is silent
    for (const sample of heard) {
      this.#squares += sample * sample;
      this.#peak = Math.max(this.#peak, Math.abs(sample));
    }
    this.#heard += heard.length;
    for (const sample of this.#resampler.feed(heard)) {
      this.#batch[this.#filled++] = this.#open ? Math.max(-1, Math.min(1, sample)) * 32767 : 0;
      if (this.#filled === this.#size) this.#post();
    }
    return !this.#closed;
  }

  #post() {
    const pcm = this.#batch;
    /** @type {Batch} */
    const batch = { pcm, level: Math.sqrt(this.#squares / this.#heard), peak: this.#peak, time: currentTime };
    this.port.postMessage(batch, [pcm.buffer]);
    this.#batch = new Int16Array(this.#size);
    this.#filled = this.#squares = this.#peak = this.#heard = 0;
  }
}

registerProcessor("voice-agent-microphone", MicrophoneProcessor);
