/** A conversation on the native wire (docs/protocol.md), which outlives its WebSocket: lost, it is opened again. */

/** Rates on the wire, hertz. */
export const INPUT_RATE = 16_000;
export const OUTPUT_RATE = 24_000;

/**
 * What the user chooses; what is absent is the server's choice.
 * @typedef {{voice?: string, language?: string, instructions?: string}} Choices
 * @typedef {{role: "user" | "assistant", text: string}} Said
 *
 * @typedef {"vad_stop" | "transcript" | "end_of_turn" | "llm_first_token" | "first_chunk" | "tts_first_audio"
 *   | "first_audio_sent" | "first_audio_played" | "response_end" | "last_speech"} Step
 * @typedef {Partial<Record<Step, number>>} Steps milliseconds from the user's last speech
 *
 * @typedef {{type: "ready"}
 *   | {type: "speech_started" | "speech_stopped", ms: number}
 *   | {type: "transcript", turn: number, text: string, final: boolean}
 *   | {type: "response_started", response: string, turn: number}
 *   | {type: "response_text", response: string, text: string, start_ms: number}
 *   | {type: "response_text_ended", response: string, end_ms: number}
 *   | {type: "pause" | "resume", response: string}
 *   | {type: "response_ended", response: string, reason: "completed" | "interrupted" | "failed", heard: string}
 *   | {type: "timeline", turn: number, response: string, steps: Steps}
 *   | {type: "pong", id: number}
 *   | {type: "error", code: string, message: string, field?: string}
 *   | {type: "ended", reason: string}} ServerMessage
 *
 * @typedef {{type: "played", response: string, ms: number}
 *   | {type: "text", text: string}
 *   | {type: "interrupt"}
 *   | {type: "push_to_talk", pressed: boolean}
 *   | {type: "ping", id: number}} ClientMessage
 *
 * `connecting`, until the server is ready for the first time; `open`; `away`, while the connection is lost; `closed`.
 * @typedef {"connecting" | "open" | "away" | "closed"} SessionState
 *
 * What the session asks of its owner, and tells it. `notice` is a code of `notices.js`, with the server's own words
 * where it has some.
 * @typedef {object} Owner
 * @property {() => Choices & {history: Said[]}} start how a session is to begin, asked at each connection
 * @property {(message: ServerMessage) => void} message
 * @property {(pcm: Int16Array<ArrayBuffer>) => void} audio of the response that was started last
 * @property {(state: SessionState, notice: string | null, words: string) => void} state
 */

/** Between two attempts to connect, milliseconds: the first, what each is longer than the one before, the longest. */
const RETRY = { first: 300, grows: 1.7, longest: 3000 };
/** A server that is full or loading is asked again after this, milliseconds. */
const BUSY_RETRY_MS = 2000;
/** No longer than this is a server looked for that says nothing, milliseconds. */
const GIVE_UP_MS = 180_000;
/** How often the line is tried, and how long it may take to answer, or to be there at all, milliseconds. */
const PING_EVERY_MS = 4000;
const SILENT_MS = 10_000;
/** When nothing happened here for so long, not even the microphone, the machine or the tab was asleep, milliseconds. */
const ASLEEP_MS = 15_000;
/** Audio that waits for the line, seconds: beyond the first it is dropped, until there is no more than the second. */
const BACKLOG_S = { most: 3, enough: 0.5 };
/** The last audio from before the server was ready: who begins to speak at once is heard, seconds. */
const HELD_S = 2;
/** What a browser is told when it is this page that closes (RFC 6455: 4000 to 4999 are free). */
const LINE_IS_DEAD = 4000;
/** Errors after which the server closes, and what is to be said of it where that is more than "gone". */
const CLOSING = new Set(["server_full", "not_ready", "slow_client", "internal_error", "shutting_down", "too_large"]);
const SAID = new Set(["server_full", "not_ready", "slow_client", "internal_error"]);
/** Parts of a `start` that a server may refuse, and that a session can do without. */
const OPTIONAL = /** @type {const} */ (["voice", "language", "instructions", "history"]);

export class Session {
  /** @type {WebSocket | null} */
  #socket = null;
  #url;
  #owner;
  /** @type {SessionState} */
  #state = "connecting";
  #attempts = 0;
  #lostAt = performance.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setInterval>} */
  #watch;
  /** When this connection, or a ping, was begun that is not yet answered. @type {number | null} */
  #askedAt = null;
  #pings = 0;
  #activeAt = performance.now();
  #congested = false;
  /** What the server said before it closed. */
  #error = { code: "", message: "" };
  /** @type {Set<keyof Choices | "history">} */
  #refused = new Set();
  /** Text and audio that wait for the connection. @type {string[]} */
  #waiting = [];
  /** @type {Int16Array<ArrayBuffer>[]} */
  #held = [];
  #sent = 0;

  /**
   * @param {string} url of the server's `/ws`
   * @param {Owner} owner
   */
  constructor(url, owner) {
    this.#url = url;
    this.#owner = owner;
    this.#watch = setInterval(() => this.#look(), PING_EVERY_MS);
    addEventListener("online", this.#atOnce);
    this.#connect();
  }

  /** Audio sent over this connection, seconds: the server's clock. */
  get sentSeconds() {
    return this.#sent / INPUT_RATE;
  }

  get #ready() {
    return this.#state === "open" && this.#socket?.readyState === WebSocket.OPEN;
  }

  /** @param {Int16Array<ArrayBuffer>} pcm at `INPUT_RATE` */
  hear(pcm) {
    this.#activeAt = performance.now();
    if (!this.#socket || !this.#ready) {
      this.#held.push(pcm);
      while (this.#held.length * pcm.length > HELD_S * INPUT_RATE) this.#held.shift();
      return;
    }
    const waiting = this.#socket.bufferedAmount / 2 / INPUT_RATE;
    this.#congested = waiting > (this.#congested ? BACKLOG_S.enough : BACKLOG_S.most);
    if (this.#congested) return;
    this.#socket.send(pcm);
    this.#sent += pcm.length;
  }

  /** @param {ClientMessage} message lost while there is no connection, except for typed text, which waits */
  send(message) {
    if (this.#ready) this.#socket?.send(JSON.stringify(message));
    else if (message.type === "text") this.#waiting.push(message.text);
  }

  /** Begin anew with what `start` says now. */
  restart() {
    if (this.#state !== "open") return;
    this.#refused.clear();
    this.#drop();
    this.#become("connecting");
    this.#lostAt = performance.now();
    this.#attempts = 0;
    this.#connect();
  }

  close() {
    if (this.#ready) this.#socket?.send('{"type":"stop"}');
    this.#end(null, "");
  }

  #connect() {
    this.#error = { code: "", message: "" };
    this.#sent = 0;
    this.#congested = false;
    this.#askedAt = performance.now();
    const socket = new WebSocket(this.#url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#start();
    socket.onmessage = ({ data }) => {
      this.#askedAt = null;
      if (typeof data === "string") this.#take(JSON.parse(data));
      else this.#owner.audio(new Int16Array(data));
    };
    socket.onclose = () => this.#lost();
    this.#socket = socket;
  }

  #start() {
    /** @type {Partial<ReturnType<Owner["start"]>>} */
    const wanted = { ...this.#owner.start() };
    for (const refused of this.#refused) delete wanted[refused];
    const rates = { input_rate: INPUT_RATE, output_rate: OUTPUT_RATE };
    this.#socket?.send(JSON.stringify({ type: "start", ...rates, ...wanted }));
  }

  /** @param {ServerMessage} message */
  #take(message) {
    const field = message.type === "error" ? message.field : undefined;
    const refused = OPTIONAL.find((part) => part === field);
    if (message.type === "ready") {
      this.#attempts = 0;
      this.#become("open");
    } else if (message.type === "error" && refused && this.#state !== "open") {
      if (this.#refused.has(refused)) return; // said of an earlier start
      this.#refused.add(refused);
      this.#owner.state(this.#state, message.code, message.message);
      this.#start();
      return;
    } else if (message.type === "error" && CLOSING.has(message.code)) {
      this.#error = message;
      return;
    }
    this.#owner.message(message);
    if (message.type === "ready") {
      for (const pcm of this.#held.splice(0)) this.hear(pcm);
      for (const text of this.#waiting.splice(0)) this.send({ type: "text", text });
    } else if (message.type === "ended") {
      this.#end(message.reason === "idle" ? "idle" : "hung_up", "");
    }
  }

  #lost() {
    this.#drop();
    const { code, message } = this.#error;
    const busy = code === "server_full" || code === "not_ready";
    const now = performance.now();
    if (this.#state === "open") this.#lostAt = now;
    if (!busy && now - this.#lostAt > GIVE_UP_MS) {
      this.#end("gave_up", "");
      return;
    }
    const notice = SAID.has(code) ? code : navigator.onLine ? "server_gone" : "offline";
    this.#become(this.#state === "connecting" ? "connecting" : "away", notice, message);
    const grown = Math.min(RETRY.longest, RETRY.first * RETRY.grows ** this.#attempts++);
    this.#retry = setTimeout(() => this.#connect(), (busy ? BUSY_RETRY_MS : grown) * (0.8 + 0.4 * Math.random()));
  }

  #atOnce = () => {
    if (this.#socket || this.#state === "closed") return;
    clearTimeout(this.#retry);
    this.#connect();
  };

  /** Whether the line, and this machine, are awake. */
  #look() {
    const now = performance.now();
    const slept = now - this.#activeAt > ASLEEP_MS;
    this.#activeAt = now;
    if (slept) {
      this.#lostAt = now;
      this.#askedAt = null;
      this.#owner.state(this.#state, "asleep", "");
      this.#atOnce();
    }
    if (!this.#socket) return;
    if (this.#askedAt === null) {
      this.#askedAt = now;
      this.send({ type: "ping", id: ++this.#pings });
    } else if (now - this.#askedAt > SILENT_MS) {
      this.#lost();
    }
  }

  /** Let go of the socket; nothing more is heard of it. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.onopen = () => socket.close(); // closed earlier, it would be a fault on the console
    if (socket.readyState !== WebSocket.CONNECTING) socket.close(LINE_IS_DEAD);
  }

  /**
   * @param {string | null} notice
   * @param {string} words
   */
  #end(notice, words) {
    this.#drop();
    clearTimeout(this.#retry);
    clearInterval(this.#watch);
    removeEventListener("online", this.#atOnce);
    this.#become("closed", notice, words);
  }

  /**
   * @param {SessionState} state
   * @param {string | null} [notice]
   * @param {string} [words]
   */
  #become(state, notice = null, words = "") {
    this.#state = state;
    this.#owner.state(state, notice, words);
  }
}
