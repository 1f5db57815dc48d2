/** What was said: the user's words as they are recognized, the agent's as they are spoken. */

/**
 * @typedef {import("./session.js").Said} Said
 * @typedef {import("./session.js").Steps} Steps
 *
 * A piece of a reply, and where its audio lies in that of the response, in milliseconds. `end` is null until it is
 * known.
 * @typedef {{text: string, start: number, end: number | null}} Piece
 */

/** How long speech takes for a character, milliseconds, while the audio is still being made; as the server has it. */
const MS_PER_CHARACTER = 65;

/** What a server takes of a conversation; the model remembers less. */
const HISTORY = { messages: 500, characters: 200_000 };

/** What the user said in one turn. */
export class UserEntry {
  speaker = /** @type {const} */ ("user");
  at = new Date();
  /** As far as it is understood now. */
  text = "";
  /** As it was understood when the turn was last over; empty before. */
  settled = "";

  get partial() {
    return this.text !== this.settled;
  }
}

/** What the agent said in one response. */
export class AgentEntry {
  speaker = /** @type {const} */ ("agent");
  at = new Date();
  /** @type {Piece[]} */
  pieces = [];
  /** How much of its audio was heard, milliseconds. */
  heardMs = 0;
  /** As the server remembers it, once it is over. @type {string | null} */
  remembered = null;
  interrupted = false;
  /** From the user's last word to the first sound of the reply, as heard here, milliseconds. @type {number | null} */
  latencyMs = null;
  /** @type {Steps | null} */
  steps = null;

  /** All of its words so far, spoken or not. */
  get text() {
    return this.pieces.map(({ text }) => text).join("");
  }

  /** The words that were spoken so far: a word is shown when it begins. */
  get spoken() {
    if (this.remembered === null) return this.pieces.map((piece) => spokenOf(piece, this.heardMs)).join("");
    if (!this.interrupted) return this.text;
    const begins = this.text.indexOf(this.remembered);
    return this.text.slice(0, begins < 0 ? 0 : begins + this.remembered.length);
  }

  /** The words that were not spoken, and never will be. */
  get unspoken() {
    return this.interrupted ? this.text.slice(this.spoken.length) : "";
  }
}

/**
 * @param {Piece} piece
 * @param {number} heardMs of the response
 */
function spokenOf({ text, start, end }, heardMs) {
  if (heardMs <= start) return "";
  const reached = (text.length * (heardMs - start)) / ((end ?? start + text.length * MS_PER_CHARACTER) - start);
  if (reached >= text.length) return text;
  const [begun] = text.slice(Math.ceil(reached)).match(/^\S*/) ?? [""];
  return text.slice(0, Math.ceil(reached)) + begun;
}

/** @typedef {UserEntry | AgentEntry} Entry */

export class Transcript {
  /** @type {Entry[]} */
  entries = [];
  #changed;
  /** Of this connection, by the server's number of the turn or id of the response. @type {Map<number, UserEntry>} */
  #turns = new Map();
  /** @type {Map<string, AgentEntry>} */
  #responses = new Map();

  /** @param {(entry: Entry, removed: boolean) => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** The user's words. @param {{turn: number, text: string, final: boolean}} message */
  hear({ turn, text, final }) {
    const entry = this.#turns.get(turn) ?? new UserEntry();
    if (final && text) entry.settled = text;
    entry.text = text || entry.settled; // a cough takes nothing back that was said
    if (!entry.text) {
      this.#turns.delete(turn);
      this.#remove(entry);
      return;
    }
    this.#turns.set(turn, entry);
    this.#put(entry);
  }

  /** A response begins. @param {string} response */
  begin(response) {
    this.#responses.set(response, new AgentEntry());
  }

  /** The next of its words. @param {{response: string, text: string, start_ms: number}} message */
  read({ response, text, start_ms }) {
    this.#responses.get(response)?.pieces.push({ text, start: start_ms, end: null });
  }

  /** The last of its words end there. @param {{response: string, end_ms: number}} message */
  readTo({ response, end_ms }) {
    const piece = this.#responses.get(response)?.pieces.at(-1);
    if (piece) piece.end = end_ms;
  }

  /**
   * So much of it was heard.
   * @param {string} response
   * @param {number} ms
   */
  heard(response, ms) {
    const entry = this.#responses.get(response);
    if (!entry || entry.remembered !== null || ms <= entry.heardMs) return;
    if (!entry.heardMs) entry.at = new Date();
    const before = entry.spoken;
    entry.heardMs = ms;
    if (entry.spoken !== before) this.#put(entry);
  }

  /** It is over. @param {{response: string, reason: string, heard: string}} message */
  end({ response, reason, heard }) {
    const entry = this.#responses.get(response);
    if (!entry) return;
    entry.interrupted = reason !== "completed";
    entry.remembered = heard;
    if (entry.spoken || !entry.interrupted) this.#put(entry);
    else this.#remove(entry);
  }

  /**
   * Where its time went.
   * @param {string} response
   * @param {Partial<Pick<AgentEntry, "latencyMs" | "steps">>} timing
   */
  time(response, timing) {
    const entry = this.#responses.get(response);
    if (!entry) return;
    Object.assign(entry, timing);
    if (this.entries.includes(entry)) this.#changed(entry, false);
  }

  /** The connection is lost: what was begun is as over as it will ever be. */
  lose() {
    for (const [response, entry] of this.#responses) {
      if (entry.remembered === null) this.end({ response, reason: "lost", heard: entry.spoken.trim() });
    }
    for (const [turn, entry] of this.#turns) {
      if (entry.partial) this.hear({ turn, text: "", final: true });
    }
    this.#turns.clear();
    this.#responses.clear();
  }

  /**
   * The conversation so far, for a server that does not know of it. What the user said last and was not answered will
   * be part of the server's first turn; with `again` it is told apart, to be asked again.
   * @param {boolean} again
   * @returns {{history: Said[], unanswered: string | null}}
   */
  resume(again) {
    /** @type {Said[]} */
    const history = this.entries
      .map((entry) =>
        entry instanceof UserEntry
          ? { role: /** @type {const} */ ("user"), text: entry.settled }
          : { role: /** @type {const} */ ("assistant"), text: entry.remembered ?? "" },
      )
      .filter(({ text }) => text);
    const last = this.entries.at(-1);
    if (last instanceof UserEntry) this.#turns.set(1, last);
    const unanswered = again && last instanceof UserEntry ? last.settled : null;
    if (unanswered) history.pop();
    let room = HISTORY.characters;
    const kept = history.slice(-HISTORY.messages).reverse();
    return { history: kept.filter(({ text }) => (room -= text.length) > 0).reverse(), unanswered };
  }

  /** Forget all of it. */
  clear() {
    this.entries = [];
    this.#turns.clear();
    this.#responses.clear();
  }

  /** As plain text, to keep. */
  toString() {
    const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
    return this.entries
      .map((entry) => {
        const said = entry instanceof UserEntry ? entry.text : entry.spoken.trim();
        const cut = entry instanceof AgentEntry && entry.unspoken ? " [interrupted]" : "";
        const waited =
          entry instanceof AgentEntry && entry.latencyMs ? ` (after ${(entry.latencyMs / 1000).toFixed(2)} s)` : "";
        return `[${time.format(entry.at)}] ${entry.speaker === "user" ? "You" : "Agent"}${waited}: ${said}${cut}\n`;
      })
      .join("");
  }

  /** @param {Entry} entry */
  #put(entry) {
    if (!this.entries.includes(entry)) this.entries.push(entry);
    this.#changed(entry, false);
  }

  /** @param {Entry} entry */
  #remove(entry) {
    const at = this.entries.indexOf(entry);
    if (at < 0) return;
    this.entries.splice(at, 1);
    this.#changed(entry, true);
  }
}
