/** What the user chose, kept in the browser; and the dialog where they choose it. */

import { microphones } from "./microphone.js";

/**
 * Empty: the browser's or the server's choice.
 * @typedef {{device: string, voice: string, language: string, instructions: string, pushToTalk: boolean}} Settings
 * @typedef {{voices: string[], voice: string | null, languages: string[], language: string | null}} Options
 */

const KEY = "voice-agent";

/** @type {Settings} */
const DEFAULTS = { device: "", voice: "", language: "", instructions: "", pushToTalk: false };

/** @returns {Settings} */
export function loadSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return { ...DEFAULTS }; // a browser that keeps nothing, or what it kept is broken
  }
}

/** @param {Settings} settings */
function save(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // kept until the page is closed
  }
}

/** The language's name in the user's own. @param {string} code */
function languageName(code) {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

/**
 * @param {HTMLSelectElement} select
 * @param {string} auto what no choice means
 * @param {{value: string, text: string}[]} options
 * @param {string} chosen
 */
function fill(select, auto, options, chosen) {
  const all = [{ value: "", text: auto }, ...options];
  if (chosen && !options.some(({ value }) => value === chosen)) all.push({ value: chosen, text: `${chosen} (not there)` });
  select.replaceChildren(...all.map(({ value, text }) => new Option(text, value, false, value === chosen)));
}

export class SettingsDialog {
  #dialog;
  #form;
  #settings;
  #optionsUrl;
  #changed;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {Settings} settings
   * @param {URL} optionsUrl the server's `/options`
   * @param {(settings: Settings) => void} changed
   */
  constructor(dialog, settings, optionsUrl, changed) {
    this.#dialog = dialog;
    this.#form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
    this.#settings = settings;
    this.#optionsUrl = optionsUrl;
    this.#changed = changed;
    dialog.addEventListener("close", () => this.#take());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    navigator.mediaDevices?.addEventListener("devicechange", () => dialog.open && this.#fillMicrophones());
  }

  async open() {
    this.#field("instructions").value = this.#settings.instructions;
    /** @type {HTMLInputElement} */ (this.#field("pushToTalk")).checked = this.#settings.pushToTalk;
    this.#fillServer({ voices: [], voice: null, languages: [], language: null });
    await this.#fillMicrophones();
    this.#dialog.showModal();
    try {
      this.#fillServer(await (await fetch(this.#optionsUrl)).json());
    } catch {
      // the server is away: what was chosen before can still be seen
    }
  }

  /** @param {Options} options */
  #fillServer({ voices, voice, languages, language }) {
    const known = languages.map((code) => ({ value: code, text: languageName(code) }));
    const named = voices.map((name) => ({ value: name, text: name }));
    const settings = this.#settings;
    fill(this.#select("voice"), voice ? `The server's (${voice})` : "The server's", named, settings.voice);
    const auto = language ? `The server's (${languageName(language)})` : "The server's";
    fill(this.#select("language"), auto, known, settings.language);
  }

  async #fillMicrophones() {
    const found = (await microphones()).filter(({ deviceId }) => deviceId !== "default");
    const named = found.map(({ deviceId, label }, n) => ({ value: deviceId, text: label || `Microphone ${n + 1}` }));
    fill(this.#select("device"), "The system's", named, this.#settings.device);
  }

  #take() {
    const settings = {
      device: this.#field("device").value,
      voice: this.#field("voice").value,
      language: this.#field("language").value,
      instructions: this.#field("instructions").value.trim(),
      pushToTalk: /** @type {HTMLInputElement} */ (this.#field("pushToTalk")).checked,
    };
    this.#settings = settings;
    save(settings);
    this.#changed(settings);
  }

  /** @param {keyof Settings} name */
  #field(name) {
    return /** @type {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} */ (
      this.#form.elements.namedItem(name)
    );
  }

  /** @param {keyof Settings} name */
  #select(name) {
    return /** @type {HTMLSelectElement} */ (this.#field(name));
  }
}
