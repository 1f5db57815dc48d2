/** Changes the rate of audio that comes in pieces: a windowed sinc, one set of weights for each phase (polyphase). */

/** Zero crossings of the sinc on each side. What would fold back is 40 dB down beside the band, and 80 dB beyond 9/8 of it. */
const CROSSINGS = 16;

/** Where the pass band ends, as a share of the lower of the two Nyquist frequencies: the filter needs room to fall. */
const ROLLOFF = 0.92;

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
const divisor = (a, b) => (b ? divisor(b, a % b) : a);

/**
 * One weight of the filter.
 * @param {number} at distance from the middle, in input samples
 * @param {number} half half the filter's length, in input samples
 * @param {number} band pass band, as a share of the input's Nyquist frequency
 */
function weight(at, half, band) {
  if (Math.abs(at) >= half) return 0;
  const x = Math.PI * band * at;
  const window = 0.42 + 0.5 * Math.cos((Math.PI * at) / half) + 0.08 * Math.cos((2 * Math.PI * at) / half); // Blackman
  return band * window * (x ? Math.sin(x) / x : 1);
}

/** From one rate to another, mono, in [-1, 1]. What comes out lags by `CROSSINGS` samples of the lower rate. */
export class Resampler {
  /** @type {Float32Array[]} */
  #phases;
  #up;
  #down;
  #taps;
  #phase = 0;
  #next = 0;
  #kept;

  /**
   * @param {number} from hertz, whole
   * @param {number} to hertz, whole
   */
  constructor(from, to) {
    const common = divisor(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const band = Math.min(1, to / from) * ROLLOFF;
    const half = Math.ceil(CROSSINGS / band);
    this.#taps = 2 * half;
    this.#kept = new Float32Array(half - 1);
    this.#phases = Array.from({ length: this.#up }, (_, phase) =>
      Float32Array.from({ length: this.#taps }, (_, tap) => weight(tap - half + 1 - phase / this.#up, half, band)),
    );
  }

  /**
   * The samples that are due once this was heard.
   * @param {Float32Array} input
   * @returns {Float32Array}
   */
  feed(input) {
    if (this.#up === this.#down) return input;
    const samples = new Float32Array(this.#kept.length + input.length);
    samples.set(this.#kept);
    samples.set(input, this.#kept.length);
    const output = new Float32Array(Math.ceil(((samples.length - this.#next) * this.#up) / this.#down) + 1);
    let made = 0;
    while (this.#next + this.#taps <= samples.length) {
      const weights = /** @type {Float32Array} */ (this.#phases[this.#phase]);
      let sum = 0;
      for (let tap = 0; tap < this.#taps; tap++) {
        sum += /** @type {number} */ (weights[tap]) * /** @type {number} */ (samples[this.#next + tap]);
      }
      output[made++] = sum;
      this.#phase += this.#down;
      this.#next += Math.floor(this.#phase / this.#up);
      this.#phase %= this.#up;
    }
    const used = Math.min(this.#next, samples.length);
    this.#kept = samples.slice(used);
    this.#next -= used;
    return output.subarray(0, made);
  }
}
