/** The conversation on the screen. */

import { UserEntry } from "./transcript.js";
import { drawWaterfall } from "./waterfall.js";

/**
 * @typedef {import("./transcript.js").Entry} Entry
 * @typedef {import("./transcript.js").AgentEntry} AgentEntry
 */

/** Nearer to the end than this, the view follows what is added, pixels. */
const FOLLOW_PX = 80;

/**
 * @param {string} tag
 * @param {string} name its class
 */
function element(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

class UserView {
  root = element("li", "entry");
  #words = element("p", "words");

  constructor() {
    this.root.dataset.speaker = "user";
    const who = element("span", "who");
    who.textContent = "You";
    this.root.append(who, this.#words);
  }

  /** @param {UserEntry} entry */
  show(entry) {
    this.root.dataset.state = entry.partial ? "partial" : "final";
    this.#words.textContent = entry.text;
  }
}

class AgentView {
  root = element("li", "entry");
  #spoken = element("span", "spoken");
  #unspoken = document.createElement("s");
  #latency = /** @type {HTMLButtonElement} */ (element("button", "latency"));
  #waterfall = element("div", "breakdown");
  /** @type {AgentEntry | null} */
  #entry = null;

  constructor() {
    this.root.dataset.speaker = "agent";
    const who = element("span", "who");
    who.textContent = "Agent";
    const words = element("p", "words");
    words.append(this.#spoken, " ", this.#unspoken);
    this.#latency.type = "button";
    this.#latency.hidden = this.#waterfall.hidden = true;
    this.#latency.setAttribute("aria-expanded", "false");
    this.#latency.onclick = () => {
      this.#waterfall.hidden = !this.#waterfall.hidden;
      this.#latency.setAttribute("aria-expanded", String(!this.#waterfall.hidden));
      this.#draw();
    };
    this.root.append(who, words, this.#latency, this.#waterfall);
  }

  /** @param {AgentEntry} entry */
  show(entry) {
    this.#entry = entry;
    const { spoken, unspoken, latencyMs } = entry;
    if (this.#spoken.textContent !== spoken) this.#spoken.textContent = spoken;
    this.#unspoken.textContent = unspoken.trim();
    if (latencyMs !== null) {
      const seconds = (latencyMs / 1000).toFixed(2);
      this.#latency.hidden = false;
      this.#latency.dataset.ms = latencyMs.toFixed(1);
      this.#latency.textContent = `${seconds} s`;
      this.#latency.ariaLabel = `${seconds} s until the answer: where the time went`;
    }
    this.#draw();
  }

  #draw() {
    if (this.#waterfall.hidden || !this.#entry) return;
    this.#waterfall.replaceChildren(drawWaterfall(this.#entry.steps ?? {}, this.#entry.latencyMs));
  }
}

export class TranscriptView {
  #log;
  #list;
  /** @type {Map<Entry, UserView | AgentView>} */
  #views = new Map();

  /**
   * @param {HTMLElement} log scrolls
   * @param {HTMLElement} list holds the entries
   */
  constructor(log, list) {
    this.#log = log;
    this.#list = list;
  }

  /**
   * @param {Entry} entry new, or changed
   * @param {boolean} removed
   */
  show(entry, removed) {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const follow = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
    let view = this.#views.get(entry);
    if (removed) {
      view?.root.remove();
      this.#views.delete(entry);
      return;
    }
    if (!view) {
      view = entry instanceof UserEntry ? new UserView() : new AgentView();
      this.#views.set(entry, view);
      this.#list.append(view.root);
    }
    if (entry instanceof UserEntry) /** @type {UserView} */ (view).show(entry);
    else /** @type {AgentView} */ (view).show(entry);
    if (follow) this.#log.scrollTop = this.#log.scrollHeight;
  }

  clear() {
    this.#list.replaceChildren();
    this.#views.clear();
  }
}
