/** One call: the microphone, the speaker and the session together, and who has the floor. */

import { Microphone, NoMicrophone } from "./microphone.js";
import { Session } from "./session.js";
import { Speaker } from "./speaker.js";

/**
 * @typedef {import("./session.js").Choices} Choices
 * @typedef {import("./session.js").ServerMessage} ServerMessage
 * @typedef {import("./session.js").SessionState} SessionState
 * @typedef {import("./microphone.js").Batch} Batch
 * @typedef {import("./speaker.js").Report} Report
 * @typedef {import("./transcript.js").Transcript} Transcript
 *
 * Listening: the user may speak, or does. Thinking: the user is done, and waits. Away: the server is.
 * @typedef {"connecting" | "listening" | "thinking" | "speaking" | "away" | "ended"} Floor
 *
 * @typedef {object} Owner
 * @property {() => Choices} choices asked at each connection
 * @property {() => void} changed who has the floor, or whether there is a microphone
 * @property {(code: string, words: string) => void} notice a code of `notices.js`
 * @property {(...codes: string[]) => void} over these notices are true no more
 */

/** Notices of which the latest is true. */
const ABOUT_THE_LINE = ["server_gone", "offline", "server_full", "not_ready", "slow_client", "internal_error"];
/** The microphone stays open for this long after the button was let go, milliseconds: the last sound is on its way. */
const RELEASE_MS = 150;
/** How often the server is told what was heard, milliseconds; it costs both sides a message. */
const PLAYED_EVERY_MS = 100;
/** A browser that lets the sound begin does so within this, milliseconds. */
const SOUND_WITHIN_MS = 1000;

export class Call {
  #owner;
  #transcript;
  #context;
  #speaker;
  #session;
  /** @type {Microphone | null} */
  #microphone = null;
  /** The id of the one that is wanted; null as long as none is. @type {string | null} */
  #device = null;
  #pushToTalk = false;
  #pressed = false;
  #muted = false;
  /** @type {SessionState} */
  #state = "connecting";
  /** It was open before: what is still unanswered was said in this call, and is asked again. */
  #wasOpen = false;
  /** @type {string | null} */
  #unanswered = null;
  #thinking = false;
  /** The response that has the floor. @type {{id: string, origin: number | null, heard: boolean, told: number} | null} */
  #response = null;
  #paused = false;
  /** When the audio began that the server counts in, and when the user's last word ended: on the context's clock. */
  #zero = 0;
  /** @type {number | null} */
  #origin = null;
  #levels = { you: 0, agent: 0 };
  /** @type {WakeLockSentinel | null} */
  #awake = null;

  /**
   * Call the server. To be called while a click or a key is handled, or the browser gives no sound.
   * @param {string} url of the server's `/ws`
   * @param {Transcript} transcript goes on where it was
   * @param {Owner} owner
   * @throws {Error} the browser can't make sound of it
   */
  static async begin(url, transcript, owner) {
    const context = new AudioContext({ latencyHint: "interactive" });
    context.resume(); // no await: it waits for as long as the browser blocks the sound
    try {
      await Promise.all(
        ["speaker", "microphone"].map((name) =>
          context.audioWorklet.addModule(new URL(`worklets/${name}.js`, import.meta.url)),
        ),
      );
      return new Call(context, url, transcript, owner);
    } catch (error) {
      context.close();
      throw error;
    }
  }

  /**
   * @param {AudioContext} context with both worklets
   * @param {string} url
   * @param {Transcript} transcript
   * @param {Owner} owner
   */
  constructor(context, url, transcript, owner) {
    this.#context = context;
    this.#transcript = transcript;
    this.#owner = owner;
    this.#speaker = new Speaker(context, (report) => this.#played(report));
    this.#session = new Session(url, {
      start: () => this.#start(),
      message: (message) => this.#take(message),
      audio: (pcm) => this.#speaker.play(pcm),
      state: (state, notice, words) => this.#become(state, notice, words),
    });
    context.onstatechange = () => this.#watchSound();
    setTimeout(this.#watchSound, SOUND_WITHIN_MS);
    navigator.mediaDevices?.addEventListener("devicechange", this.#devicesChanged);
    document.addEventListener("visibilitychange", this.#stayAwake);
    this.#stayAwake();
  }

  /** @returns {Floor} */
  get floor() {
    if (this.#state === "closed") return "ended";
    if (this.#state !== "open") return this.#state;
    if (this.#response?.heard) return this.#paused ? "listening" : "speaking";
    return this.#thinking ? "thinking" : "listening";
  }

  /** Of what goes out and what comes in, as root mean squares of full scale. */
  get levels() {
    return this.#levels;
  }

  get hasMicrophone() {
    return this.#microphone !== null;
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    if (this.#microphone) this.#microphone.muted = muted;
    this.#owner.changed();
  }

  /** Whether the button of push-to-talk is held. */
  get pressed() {
    return this.#pressed;
  }

  /** Whether the microphone is heard only while `press`ed. */
  set pushToTalk(/** @type {boolean} */ on) {
    if (this.#pressed) this.press(false);
    this.#pushToTalk = on;
    if (this.#microphone) this.#microphone.open = !on;
  }

  /**
   * Listen to a microphone, in place of the one before.
   * @param {string} device its id; empty for the browser's choice
   * @returns {Promise<boolean>} whether there is one
   */
  async listen(device) {
    this.#device = device;
    try {
      const microphone = await Microphone.open(
        this.#context,
        device,
        (batch) => this.#heard(batch),
        (code) => this.#trouble(code),
      );
      this.#microphone?.close();
      if (this.#state === "closed") {
        microphone.close(); // the call ended while leave was asked for
        return false;
      }
      this.#microphone = microphone;
    } catch (error) {
      if (!(error instanceof NoMicrophone)) throw error;
      this.#owner.notice(error.code, "");
      return false;
    }
    this.#microphone.muted = this.#muted;
    this.#microphone.open = !this.#pushToTalk || this.#pressed;
    const troubles = ["no_microphone", "permission_denied", "microphone_busy", "microphone_failed", "microphone_lost"];
    this.#owner.over(...troubles, "silent_microphone");
    if (this.#microphone.settings.echoCancellation === false) this.#owner.notice("no_echo_cancellation", "");
    this.#owner.changed();
    return true;
  }

  /** The button of push-to-talk: what is said from now on is a turn, until it is let go. @param {boolean} pressed */
  press(pressed) {
    if (pressed === this.#pressed) return;
    this.#pressed = pressed;
    if (pressed) this.#talk(true);
    else setTimeout(() => !this.#pressed && this.#talk(false), RELEASE_MS);
  }

  /** @param {string} text */
  type(text) {
    this.#origin = this.#context.currentTime;
    this.#thinking = true;
    this.#session.send({ type: "text", text });
    this.#owner.changed();
  }

  /** Stop the reply. */
  interrupt() {
    this.#session.send({ type: "interrupt" });
  }

  /** Have the session begin anew, as what the user chooses has changed. */
  restart() {
    this.#session.restart();
  }

  /** The click that a browser wants before it lets sound out. */
  sound() {
    this.#context.resume();
  }

  close() {
    this.#session.close();
  }

  #start() {
    const { history, unanswered } = this.#transcript.resume(this.#wasOpen);
    this.#unanswered = unanswered;
    return { ...this.#owner.choices(), history };
  }

  /**
   * @param {SessionState} state
   * @param {string | null} notice
   * @param {string} words
   */
  #become(state, notice, words) {
    const came = state === "open" && this.#state !== "open";
    const went = this.#state === "open" && state !== "open";
    const back = came && this.#state === "away";
    this.#state = state;
    if (came) this.#arrive();
    if (back) this.#owner.notice("back", "");
    if (went) this.#lose();
    if (notice) {
      this.#owner.over(...ABOUT_THE_LINE.filter((code) => code !== notice));
      this.#owner.notice(notice, words);
    }
    if (state === "closed") this.#release();
    this.#owner.changed();
  }

  #arrive() {
    this.#wasOpen = true;
    if (this.#unanswered) this.type(this.#unanswered);
    if (this.#pressed) this.#session.send({ type: "push_to_talk", pressed: true });
    this.#owner.over(...ABOUT_THE_LINE);
  }

  /** The connection is gone, and with it what the server was about to say. */
  #lose() {
    this.#speaker.flush();
    this.#transcript.lose();
    this.#response = this.#origin = null;
    this.#thinking = this.#paused = false;
    this.#levels.agent = 0;
  }

  #release() {
    this.#microphone?.close();
    this.#microphone = null;
    this.#speaker.close();
    this.#context.onstatechange = null;
    this.#context.close();
    navigator.mediaDevices?.removeEventListener("devicechange", this.#devicesChanged);
    document.removeEventListener("visibilitychange", this.#stayAwake);
    this.#awake?.release();
  }

  /** @param {ServerMessage} message */
  #take(message) {
    switch (message.type) {
      case "speech_stopped":
        this.#origin = this.#zero + message.ms / 1000;
        break;
      case "transcript":
        this.#transcript.hear(message);
        if (message.final && message.text) this.#thinking = true;
        if (message.final && !message.text) this.#origin = null;
        break;
      case "response_started":
        this.#response = { id: message.response, origin: this.#origin, heard: false, told: 0 };
        this.#origin = null;
        this.#paused = false;
        this.#transcript.begin(message.response);
        this.#speaker.begin(message.response);
        break;
      case "response_text":
        this.#transcript.read(message);
        break;
      case "response_text_ended":
        this.#transcript.readTo(message);
        break;
      case "pause":
        this.#paused = true;
        this.#speaker.pause();
        break;
      case "resume":
        this.#paused = false;
        this.#speaker.resume();
        break;
      case "response_ended":
        this.#endResponse(message);
        break;
      case "timeline":
        this.#transcript.time(message.response, { steps: message.steps });
        break;
      case "error":
        this.#owner.notice(message.code, message.message);
    }
    this.#owner.changed();
  }

  /** @param {ServerMessage & {type: "response_ended"}} message */
  #endResponse(message) {
    if (message.reason === "completed") this.#speaker.finish();
    else this.#speaker.flush();
    this.#response = null;
    this.#thinking = this.#paused = false;
    this.#levels.agent = 0;
    this.#transcript.end(message);
  }

  /** @param {Batch} batch */
  #heard({ pcm, level, time }) {
    const audible = !this.#muted && (!this.#pushToTalk || this.#pressed);
    this.#levels.you = audible ? level : 0;
    this.#session.hear(pcm);
    this.#zero = time - this.#session.sentSeconds;
  }

  /** @param {Report} report */
  #played({ response, ms, level, audible, playing }) {
    const current = this.#response;
    this.#levels.agent = playing ? level : 0;
    if (!current || current.id !== response || ms <= 0) return;
    if (ms - current.told >= PLAYED_EVERY_MS || !playing || !current.told) {
      this.#session.send({ type: "played", response, ms });
      current.told = ms;
    }
    this.#transcript.heard(response, ms);
    if (audible !== null && current.origin !== null) {
      this.#transcript.time(response, { latencyMs: (audible - current.origin) * 1000 });
      current.origin = null;
    }
    if (!current.heard) {
      current.heard = true;
      this.#thinking = false;
      this.#owner.changed();
    }
  }

  /** @param {boolean} pressed */
  #talk(pressed) {
    if (this.#microphone) this.#microphone.open = pressed;
    this.#session.send({ type: "push_to_talk", pressed });
    this.#owner.changed();
  }

  /** @param {string | null} code */
  #trouble(code) {
    if (code === "microphone_lost") {
      this.#microphone?.close();
      this.#microphone = null;
      this.listen(this.#device ?? ""); // another one may be there
    }
    if (code) this.#owner.notice(code, "");
    else this.#owner.over("silent_microphone");
    this.#owner.changed();
  }

  /** A microphone was plugged in: if there was none, it is what we waited for. */
  #devicesChanged = () => {
    if (!this.#microphone && this.#device !== null) this.listen(this.#device);
    this.#owner.changed();
  };

  #watchSound = () => {
    if (this.#state === "closed") return;
    if (this.#context.state === "running") this.#owner.over("autoplay_blocked");
    else this.#owner.notice("autoplay_blocked", "");
  };

  /** A phone that locks its screen ends the call; one that is taken up again may have stopped the sound. */
  #stayAwake = async () => {
    if (document.visibilityState !== "visible") return;
    this.#context.resume();
    try {
      this.#awake = (await navigator.wakeLock?.request("screen")) ?? null;
    } catch {
      // on an empty battery, or in a frame that may not: the call goes on as long as the screen does
    }
    if (this.#state === "closed") this.#awake?.release();
  };
}
