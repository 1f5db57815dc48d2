/** The speaker's worklet: one ring buffer, from the wire's rate to the context's, and an account of what was played. */

import { Resampler } from "./resampler.js";

/**
 * What the page tells it. `begin`: what comes is of another response. `pause`: fall silent at this sample and keep
 * the rest. `flush`: drop the rest. `latency`: from here to the ear, in seconds.
 * @typedef {{type: "begin", response: string} | {type: "audio", pcm: Int16Array<ArrayBuffer>} | {type: "pause"}
 *   | {type: "resume"} | {type: "flush"} | {type: "close"} | {type: "latency", seconds: number}} Order
 */

/**
 * What it tells the page, every `REPORT_S` while it plays. `ms`: how much of the response was heard. `level`: of what
 * sounds, as a root mean square. `audible`: when the first audible sample of the response was heard, in seconds on the
 * context's clock. `playing`: more is to be heard.
 * @typedef {{response: string, ms: number, level: number, audible: number | null, playing: boolean}} Report
 */

const REPORT_S = 0.04;
/** Room for audio: the server sends three seconds ahead. */
const CAPACITY_S = 10;
/** Audio that is gathered before it plays. It grows when the line was late, and shrinks while it is not. */
const PREFILL_S = { least: 0.06, most: 0.3, grows: 1.5, shrinks: 0.8 };
/** How long it takes to fall silent and to come back: less can be heard as a click. */
const FADE_S = 0.005;
/** What is left of the last sample after each one that is missing. */
const DECAY = 0.95;
/** -50 dBFS: as quiet as the lab takes for a sound. */
const AUDIBLE = 0.00316;

class SpeakerProcessor extends AudioWorkletProcessor {
  #ring = new Float32Array(CAPACITY_S * sampleRate);
  /** Samples ever put into the ring, and ever taken out of it. */
  #written = 0;
  #read = 0;
  #resampler;
  #rate;
  #response = "";
  /** Where the response's audio begins and how much of it was played, in samples. */
  #begins = 0;
  #played = 0;
  /** Up to here the ring is dropped as soon as the fade is over. */
  #dropTo = 0;
  #paused = false;
  #gain = 1;
  #last = 0;
  /** Gathering until the prefill is there, or has had the time to be. */
  #gathering = true;
  #gathered = 0;
  #prefill = PREFILL_S.least;
  /** Whether the line was late with this response. */
  #late = false;
  /** From here to the ear; and how much of what was played is still on that way, in samples. */
  #latency = 0;
  #lag = 0;
  /** @type {number | null} */
  #audible = null;
  #squares = 0;
  /** Samples since the last report, and whether that said that nothing is left. */
  #since = 0;
  #told = true;
  #closed = false;

  /** @param {{processorOptions: {rate: number}}} options the wire's rate, hertz */
  constructor({ processorOptions: { rate } }) {
    super();
    this.#rate = rate;
    this.#resampler = new Resampler(rate, sampleRate);
    this.port.onmessage = ({ data }) => this.#obey(data);
  }

  /** @param {Order} order */
  #obey(order) {
    switch (order.type) {
      case "begin":
        if (this.#response && !this.#late) this.#prefill = Math.max(PREFILL_S.least, this.#prefill * PREFILL_S.shrinks);
        this.#late = false;
        this.#response = order.response;
        this.#resampler = new Resampler(this.#rate, sampleRate);
        this.#dropTo = this.#begins = this.#written;
        this.#played = this.#lag = this.#gathered = 0;
        this.#audible = null;
        this.#gathering = true;
        this.#paused = false;
        break;
      case "audio":
        this.#take(this.#resampler.feed(Float32Array.from(order.pcm, (sample) => sample / 32768)));
        break;
      case "pause":
        this.#paused = true;
        break;
      case "resume":
        this.#paused = false;
        break;
      case "flush":
        this.#dropTo = this.#written;
        this.#paused = false;
        break;
      case "latency":
        this.#latency = Math.round(order.seconds * sampleRate);
        break;
      case "close":
        this.#closed = true;
    }
  }

  /** @param {Float32Array} samples */
  #take(samples) {
    if (this.#gathering && this.#played && this.#written === this.#read && !this.#late) {
      this.#late = true;
      this.#prefill = Math.min(PREFILL_S.most, this.#prefill * PREFILL_S.grows);
    }
    for (const sample of samples) this.#ring[this.#written++ % this.#ring.length] = sample;
    this.#read = Math.max(this.#read, this.#written - this.#ring.length); // more than anyone may send: the oldest goes
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   * @returns {boolean}
   */
  process(_inputs, [output]) {
    if (this.#told && this.#read === this.#written) return !this.#closed; // most of the time: the output is silent as it is
    const channel = /** @type {Float32Array} */ (output?.[0]);
    const before = this.#played;
    this.#gather(channel.length);
    for (let n = 0; n < channel.length; n++) {
      const sample = this.#sample();
      channel[n] = sample;
      this.#squares += sample * sample;
      if (this.#audible === null && this.#played && Math.abs(sample) > AUDIBLE) {
        this.#audible = (currentFrame + n + this.#latency) / sampleRate;
      }
    }
    const sounded = this.#played - before;
    this.#lag = Math.max(0, Math.min(this.#latency, this.#lag + sounded - (channel.length - sounded)));
    this.#since += channel.length;
    this.#report();
    return !this.#closed;
  }

  /** @param {number} passed samples of time */
  #gather(passed) {
    if (!this.#gathering || this.#written === this.#read) return;
    this.#gathered += passed;
    const enough = this.#prefill * sampleRate;
    if (this.#written - this.#read >= enough || this.#gathered >= enough) this.#gathering = false;
  }

  #sample() {
    const silent = this.#paused || this.#read < this.#dropTo;
    this.#gain = Math.max(0, Math.min(1, this.#gain + (silent ? -1 : 1) / (FADE_S * sampleRate)));
    if (this.#gain === 0 && this.#read < this.#dropTo) this.#read = this.#dropTo;
    if (this.#gathering || this.#gain === 0 || this.#read === this.#written) {
      if (this.#read === this.#written && !this.#gathering) {
        this.#gathering = true;
        this.#gathered = 0;
      }
      return (this.#last *= DECAY);
    }
    if (this.#read >= this.#begins) this.#played++;
    this.#last = /** @type {number} */ (this.#ring[this.#read++ % this.#ring.length]) * this.#gain;
    return this.#last;
  }

  #report() {
    const playing = this.#read < this.#written || this.#lag > 0;
    if (this.#since < REPORT_S * sampleRate || (!playing && this.#told)) return;
    this.#told = !playing;
    /** @type {Report} */
    const report = {
      response: this.#response,
      ms: ((this.#played - this.#lag) * 1000) / sampleRate,
      level: Math.sqrt(this.#squares / this.#since),
      audible: this.#audible,
      playing,
    };
    this.port.postMessage(report);
    this.#since = this.#squares = 0;
  }
}

registerProcessor("voice-agent-speaker", SpeakerProcessor);
