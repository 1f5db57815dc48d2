/** The microphone: audio at the wire's rate, in batches. */

import { INPUT_RATE } from "./session.js";

/** @typedef {import("./worklets/microphone.js").Batch} Batch */

/** Batches of digital silence from the start, 4 s: no microphone that works is that quiet. */
const SILENT_BATCHES = 200;

/** By the name of what `getUserMedia` throws, a code of `notices.js`. */
const REASONS = /** @type {Record<string, string>} */ ({
  NotAllowedError: "permission_denied",
  SecurityError: "permission_denied",
  NotFoundError: "no_microphone",
  OverconstrainedError: "no_microphone",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
});

/** There is no microphone to be had; `code` says why. */
export class NoMicrophone extends Error {
  /**
   * @param {string} code of `notices.js`
   * @param {unknown} [cause]
   */
  constructor(code, cause) {
    super(code, { cause });
    this.code = code;
  }
}

/** The microphones that there are. Without leave to use them, browsers tell neither their names nor their ids. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId);
}

export class Microphone {
  #stream;
  #source;
  #node;
  #tellBatch;
  #tellTrouble;
  #quiet = true;
  #batches = 0;
  #muted = false;

  /**
   * Ask for a microphone, and begin to listen.
   * @param {AudioContext} context with the microphone's worklet
   * @param {string} device its id; empty for the browser's choice
   * @param {(batch: Batch) => void} batch
   * @param {(code: string | null) => void} trouble a code of `notices.js`; null when it is over
   * @throws {NoMicrophone}
   */
  static async open(context, device, batch, trouble) {
    if (!navigator.mediaDevices) throw new NoMicrophone("no_microphone"); // in a frame that may not, say
    // The context has the output's rate and the worklet resamples: Firefox refuses a context of another one.
    const audio = {
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      channelCount: 1,
      ...(device && { deviceId: { ideal: device } }),
    };
    try {
      return new Microphone(context, await navigator.mediaDevices.getUserMedia({ audio }), batch, trouble);
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      throw new NoMicrophone(REASONS[name] ?? "microphone_failed", error);
    }
  }

  /**
   * @param {AudioContext} context
   * @param {MediaStream} stream
   * @param {(batch: Batch) => void} batch
   * @param {(code: string | null) => void} trouble
   */
  constructor(context, stream, batch, trouble) {
    this.#stream = stream;
    this.#tellBatch = batch;
    this.#tellTrouble = trouble;
    this.#source = context.createMediaStreamSource(stream);
    this.#node = new AudioWorkletNode(context, "voice-agent-microphone", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { rate: INPUT_RATE },
    });
    this.#node.port.onmessage = ({ data }) => this.#take(data);
    this.#source.connect(this.#node);
    for (const track of stream.getAudioTracks()) {
      track.onended = () => trouble("microphone_lost");
      track.onmute = () => trouble("silent_microphone");
      track.onunmute = () => trouble(null);
    }
  }

  /** What the browser does to the sound: it may have refused to cancel echo. */
  get settings() {
    return this.#stream.getAudioTracks()[0]?.getSettings() ?? {};
  }

  /** Silence goes out, and the browser shows that the microphone is off. */
  set muted(/** @type {boolean} */ muted) {
    this.#muted = muted;
    for (const track of this.#stream.getAudioTracks()) track.enabled = !muted;
  }

  /** Silence goes out unless this is open: push to talk, which must be quicker than a microphone is switched on. */
  set open(/** @type {boolean} */ open) {
    this.#node.port.postMessage(open ? "open" : "shut");
  }

  close() {
    this.#node.port.onmessage = null;
    this.#node.port.postMessage("close");
    this.#source.disconnect();
    for (const track of this.#stream.getTracks()) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
  }

  /** @param {Batch} batch */
  #take(batch) {
    this.#tellBatch(batch);
    if (!this.#quiet || this.#muted) return;
    if (batch.peak > 0) {
      if (this.#batches >= SILENT_BATCHES) this.#tellTrouble(null);
      this.#quiet = false;
    } else if (++this.#batches === SILENT_BATCHES) {
      this.#tellTrouble("silent_microphone");
    }
  }
}
