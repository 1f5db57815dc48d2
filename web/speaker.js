/** The speaker: plays responses, and knows how much of each was heard. */

import { OUTPUT_RATE } from "./session.js";

/** @typedef {import("./worklets/speaker.js").Report} Report */
/** @typedef {import("./worklets/speaker.js").Order} Order */

export class Speaker {
  #context;
  #node;
  /** The response that plays; what comes of any other is late, and is dropped. */
  #response = "";

  /**
   * @param {AudioContext} context with the speaker's worklet
   * @param {(report: Report) => void} report of the response that plays
   */
  constructor(context, report) {
    this.#context = context;
    this.#node = new AudioWorkletNode(context, "voice-agent-speaker", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { rate: OUTPUT_RATE },
    });
    this.#node.port.onmessage = ({ data }) => {
      if (data.response === this.#response) report(data);
    };
    this.#node.connect(context.destination);
  }

  /** @param {string} response what comes is of this one; the one before falls silent */
  begin(response) {
    this.#response = response;
    // Safari knows no outputLatency.
    this.#order({ type: "latency", seconds: this.#context.outputLatency || this.#context.baseLatency || 0 });
    this.#order({ type: "begin", response });
  }

  /** @param {Int16Array<ArrayBuffer>} pcm at `OUTPUT_RATE` */
  play(pcm) {
    if (this.#response) this.#order({ type: "audio", pcm }, [pcm.buffer]);
  }

  /** Fall silent at this sample, and keep the rest. */
  pause() {
    this.#order({ type: "pause" });
  }

  /** Go on from there. */
  resume() {
    this.#order({ type: "resume" });
  }

  /** The response was heard to its end: drop what comes late. */
  finish() {
    this.#response = "";
  }

  /** The response is over: fall silent at once, and drop what has not been heard, too. */
  flush() {
    this.finish();
    this.#order({ type: "flush" });
  }

  close() {
    this.#order({ type: "close" });
    this.#node.disconnect();
  }

  /**
   * @param {Order} order
   * @param {Transferable[]} [transfer]
   */
  #order(order, transfer = []) {
    this.#node.port.postMessage(order, transfer);
  }
}
