/**
 * `<voice-agent>`: a voice chat with the server that this file came from, or with the one that `url` names
 * (`wss://host/ws`). `voice`, `language` and `instructions` are what it begins with where the user chose nothing.
 */

import { Call } from "./call.js";
import { MARKUP } from "./markup.js";
import { BAR_MS, Meter } from "./meter.js";
import { Notices } from "./notices.js";
import { SettingsDialog, loadSettings } from "./settings.js";
import { TranscriptView } from "./transcript-view.js";
import { Transcript } from "./transcript.js";

/**
 * @typedef {import("./call.js").Floor} Floor
 * @typedef {import("./session.js").Choices} Choices
 * @typedef {import("./settings.js").Settings} Settings
 */

const STATES = /** @type {const} */ ({
  idle: "Ready",
  connecting: "Connecting",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  away: "Reconnecting",
  // Listening, to nothing: the microphone is not open.
  deaf: "Your turn",
  muted: "Muted",
});

/** The server's `/ws`, where no other is named. */
function ownServer() {
  const url = new URL("ws", import.meta.url);
  url.protocol = url.protocol === "http:" ? "ws:" : "wss:";
  return url;
}

/** Fonts that a shadow tree names are looked for in the document. */
function loadFont() {
  const name = "Voice Agent";
  for (const { family } of document.fonts) if (family.replaceAll('"', "") === name) return;
  const source = new URL("fonts/figtree.woff2", import.meta.url);
  document.fonts.add(new FontFace(name, `url("${source}")`, { weight: "300 900", display: "swap" }));
}

export class VoiceAgent extends HTMLElement {
  #root = this.attachShadow({ mode: "open" });
  #settings = loadSettings();
  /** @type {Call | null} */
  #call = null;
  /** A call that was begun, and is not there yet. @type {Promise<Call | null> | null} */
  #calling = null;
  #transcript;
  #view;
  #meters;
  #notices;
  /** @type {SettingsDialog | null} */
  #dialog = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #beat;

  constructor() {
    super();
    loadFont();
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("voice-agent.css", import.meta.url).href;
    this.#root.innerHTML = MARKUP;
    this.#root.prepend(sheet);
    this.#view = new TranscriptView(this.#find(".log", HTMLElement), this.#find(".entries", HTMLElement));
    this.#transcript = new Transcript((entry, removed) => {
      this.#view.show(entry, removed);
      if (this.#transcript.entries.length < 2) this.#draw(); // the first one takes the place of the welcome
    });
    this.#meters = {
      you: new Meter(this.#find("canvas.you", HTMLCanvasElement), "left"),
      agent: new Meter(this.#find("canvas.agent", HTMLCanvasElement), "right"),
    };
    this.#notices = new Notices(this.#find(".notices", HTMLElement), {
      start: () => this.#start(),
      sound: () => this.#call?.sound(),
    });
    new ResizeObserver(() => this.#animate()).observe(this.#find(".floor", HTMLElement));
    this.#listen();
  }

  connectedCallback() {
    const options = new URL("options", this.#url);
    options.protocol = options.protocol === "ws:" ? "http:" : "https:";
    const dialog = this.#find("dialog", HTMLDialogElement);
    this.#dialog ??= new SettingsDialog(dialog, this.#settings, options, (settings) => this.#choose(settings));
  }

  disconnectedCallback() {
    clearTimeout(this.#beat);
    this.#call?.close();
  }

  get #url() {
    const named = this.getAttribute("url");
    return named ? new URL(named, location.href) : ownServer();
  }

  /** @returns {Choices} */
  get #choices() {
    /** @type {Choices} */
    const choices = {};
    for (const name of /** @type {const} */ (["voice", "language", "instructions"])) {
      const chosen = this.#settings[name] || this.getAttribute(name);
      if (chosen) choices[name] = chosen;
    }
    return choices;
  }

  /** @returns {Promise<Call | null>} null where the browser can't */
  async #open() {
    if (this.#call) return this.#call;
    this.#calling ??= this.#dial();
    this.#draw();
    this.#call = await this.#calling;
    this.#calling = null;
    this.#draw();
    this.#animate();
    return this.#call;
  }

  /** @returns {Promise<Call | null>} */
  async #dial() {
    if (!isSecureContext) {
      this.#notices.show("insecure");
      return null;
    }
    try {
      const call = await Call.begin(this.#url.href, this.#transcript, {
        choices: () => this.#choices,
        changed: () => this.#draw(),
        notice: (code, words) => this.#notices.show(code, words),
        over: (...codes) => this.#notices.dismiss(...codes),
      });
      call.pushToTalk = this.#settings.pushToTalk;
      return call;
    } catch (error) {
      console.warn(error);
      const refused = error instanceof DOMException && ["SyntaxError", "SecurityError"].includes(error.name);
      this.#notices.show(refused ? "bad_address" : "no_worklet");
      return null;
    }
  }

  async #start() {
    this.#notices.clear();
    const typing = this.#call !== null;
    const call = await this.#open();
    if (!call) return;
    if (!(await call.listen(this.#settings.device)) && !typing) call.close();
    this.#draw();
    if (call.hasMicrophone) this.#button(this.#settings.pushToTalk ? "hold" : "mute").focus();
  }

  /** @param {string} text */
  async #type(text) {
    (await this.#open())?.type(text);
  }

  /** @param {Settings} settings */
  #choose(settings) {
    const before = { ...this.#choices };
    const { device } = this.#settings;
    this.#settings = settings;
    const call = this.#call;
    if (!call) return;
    call.pushToTalk = settings.pushToTalk;
    if (call.hasMicrophone && device !== settings.device) call.listen(settings.device);
    if (JSON.stringify(before) !== JSON.stringify(this.#choices)) call.restart();
    this.#draw();
  }

  #save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([String(this.#transcript)], { type: "text/plain" }));
    link.download = `conversation-${new Date().toISOString().slice(0, 16).replace(":", "")}.txt`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  #renew() {
    this.#transcript.clear();
    this.#view.clear();
    this.#call?.restart();
    this.#draw();
  }

  // What is on the screen.

  #draw() {
    if (this.#call?.floor === "ended") this.#call = null;
    const call = this.#call;
    const floor = /** @type {keyof typeof STATES} */ (call?.floor ?? (this.#calling ? "connecting" : "idle"));
    const live = call?.hasMicrophone ?? false;
    const { pushToTalk } = this.#settings;
    const deaf = floor === "listening" && (!live || (pushToTalk && !call?.pressed));
    const muted = floor === "listening" && !pushToTalk && call?.muted;
    const state = STATES[deaf ? "deaf" : muted ? "muted" : floor];
    const panel = this.#find(".panel", HTMLElement);
    this.#announce(panel.dataset.floor ?? "", floor);
    panel.dataset.floor = floor;
    const shown = this.#find(".state", HTMLElement);
    if (shown.textContent !== state) shown.textContent = state;
    this.#button("start").hidden = live || this.#calling !== null;
    this.#button("hold").hidden = !live || !pushToTalk;
    this.#button("mute").hidden = !live || pushToTalk;
    this.#button("mute").ariaPressed = String(call?.muted ?? false);
    this.#button("stop").hidden = !call;
    this.#button("stop").disabled = floor !== "speaking";
    this.#button("end").hidden = !call;
    const said = this.#transcript.entries.length > 0;
    this.#find(".welcome", HTMLElement).hidden = said;
    this.#button("save").hidden = this.#button("renew").hidden = !said;
  }

  /**
   * Tell a screen reader what cannot be heard. Who speaks and who is silent can: to read that out would be to speak
   * over the agent, into the microphone.
   * @param {string} before the floor
   * @param {string} now
   */
  #announce(before, now) {
    if (before === now) return;
    const begins = now === "listening" && (before === "connecting" || before === "away");
    const words = begins ? "The call has begun." : now === "idle" ? "The call has ended." : null;
    if (words) this.#find("[role=status].unseen", HTMLElement).textContent = words;
  }

  /** Draw the levels, for as long as there are any. */
  #animate() {
    clearTimeout(this.#beat);
    const { you, agent } = this.#call?.levels ?? { you: 0, agent: 0 };
    const seen = [this.#meters.you.draw(you), this.#meters.agent.draw(agent)];
    if (this.#call || seen.includes(true)) this.#beat = setTimeout(() => this.#animate(), BAR_MS);
  }

  // What the user does.

  #listen() {
    this.#button("start").onclick = () => this.#start();
    this.#button("end").onclick = () => {
      this.#call?.close();
      this.#button("start").focus();
    };
    this.#button("mute").onclick = () => this.#call && (this.#call.muted = !this.#call.muted);
    this.#button("stop").onclick = () => this.#call?.interrupt();
    this.#button("settings").onclick = () => this.#dialog?.open();
    this.#button("save").onclick = () => this.#save();
    this.#button("renew").onclick = () => this.#renew();
    this.#listenToHold(this.#button("hold"));
    const form = this.#find("form.typing", HTMLFormElement);
    form.onsubmit = (event) => {
      event.preventDefault();
      const field = /** @type {HTMLInputElement} */ (form.elements.namedItem("text"));
      const text = field.value.trim();
      if (!text || this.#call?.floor === "away") return;
      field.value = "";
      this.#type(text);
    };
    this.addEventListener("keydown", ({ key }) => {
      const inDialog = this.#find("dialog", HTMLDialogElement).open;
      if (key === "Escape" && !inDialog && this.#call?.floor === "speaking") this.#call.interrupt();
    });
  }

  /** @param {HTMLButtonElement} button */
  #listenToHold(button) {
    /** @param {boolean} pressed */
    const press = (pressed) => {
      button.ariaPressed = String(pressed);
      this.#call?.press(pressed);
    };
    button.onpointerdown = (event) => {
      button.setPointerCapture(event.pointerId);
      press(true);
    };
    button.onpointerup = button.onpointercancel = () => press(false);
    /** @param {KeyboardEvent} event */
    const onKey = (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (!event.repeat) press(event.type === "keydown");
    };
    button.onkeydown = button.onkeyup = onKey;
    button.onblur = () => press(false);
    button.oncontextmenu = (event) => event.preventDefault(); // a long touch
  }

  /**
   * @template {HTMLElement} T
   * @param {string} selector
   * @param {new () => T} type
   */
  #find(selector, type) {
    const found = this.#root.querySelector(selector);
    if (!(found instanceof type)) throw new TypeError(`markup.js has no ${selector}`);
    return found;
  }

  /** @param {string} does */
  #button(does) {
    return this.#find(`[data-does="${does}"]`, HTMLButtonElement);
  }
}

customElements.define("voice-agent", VoiceAgent);
