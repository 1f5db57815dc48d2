/** The level of one side, as it was over the last seconds. */

const BAR_PX = 3;
const GAP_PX = 2;
/** How much time a bar stands for, and how often the levels are drawn, milliseconds: more often is no clearer, and costs. */
export const BAR_MS = 60;
/** What is drawn as nothing and as a full bar, dB of full scale. Speech reaches -12 dB, a quiet room has -60. */
const DB = { least: -56, most: -8 };

/** @param {number} level root mean square of full scale; from 0 to 1 as it is drawn */
function loudness(level) {
  const share = (20 * Math.log10(level + 1e-9) - DB.least) / (DB.most - DB.least);
  return Math.max(0, Math.min(1, share)) ** 1.5; // so that syllables can be told from each other
}

export class Meter {
  #canvas;
  #towards;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  /** Newest first. @type {number[]} */
  #history = [];

  /**
   * @param {HTMLCanvasElement} canvas drawn in its own text colour
   * @param {"left" | "right"} towards where the past goes
   */
  constructor(canvas, towards) {
    this.#canvas = canvas;
    this.#towards = towards;
  }

  /**
   * Draw the next bar.
   * @param {number} level root mean square of full scale
   * @returns {boolean} whether there is anything to be seen
   */
  draw(level) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * scale)) this.#canvas.width = Math.round(width * scale);
    if (this.#canvas.height !== Math.round(height * scale)) this.#canvas.height = Math.round(height * scale);
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(this.#canvas).color;
    const bars = Math.floor((width + GAP_PX) / (BAR_PX + GAP_PX));
    this.#history.unshift(loudness(level));
    this.#history.length = Math.min(this.#history.length, bars);
    for (let n = 0; n < bars; n++) {
      // Without motion: as many bars as it is loud now, and none of them moves.
      const value = this.#still.matches ? (n / bars < (this.#history[0] ?? 0) ? 0.5 : 0) : (this.#history[n] ?? 0);
      const tall = Math.max(BAR_PX, value * height);
      const left = this.#towards === "right" ? n * (BAR_PX + GAP_PX) : width - BAR_PX - n * (BAR_PX + GAP_PX);
      context.globalAlpha = (value > 0.02 ? 1 : 0.35) * (1 - (0.8 * n) / bars);
      context.beginPath();
      context.roundRect(left, (height - tall) / 2, BAR_PX, tall, BAR_PX / 2);
      context.fill();
    }
    return this.#history.some((value) => value > 0);
  }
}
