/** What goes wrong, in words that a person can act on. */

/**
 * `lasting`: it stays until it is over or put away; else for a few seconds. `alert`: it is worth an interruption.
 * `action`: what a button does about it.
 * @typedef {{text: string, lasting?: boolean, alert?: boolean, action?: keyof typeof ACTIONS}} Notice
 */

/** @type {Record<string, Notice>} */
const NOTICES = {
  no_microphone: {
    text: "No microphone was found. Connect one and try again, or type your message.",
    lasting: true,
    alert: true,
    action: "start",
  },
  permission_denied: {
    text: "This page may not use the microphone. Allow it in the browser's site settings (beside the address), then try again. Or type your message.",
    lasting: true,
    alert: true,
    action: "start",
  },
  microphone_busy: {
    text: "The microphone is in use by another program. Close that and try again.",
    lasting: true,
    alert: true,
    action: "start",
  },
  microphone_failed: {
    text: "The microphone could not be started. Choose another one in the settings, or type your message.",
    lasting: true,
    alert: true,
    action: "start",
  },
  microphone_lost: {
    text: "The microphone was disconnected. Connect it again, or choose another one.",
    lasting: true,
    alert: true,
    action: "start",
  },
  silent_microphone: {
    text: "No sound comes from the microphone. Is it switched off, or muted in the system's settings? Another one can be chosen in the settings.",
    lasting: true,
    alert: true,
  },
  insecure: {
    text: "Browsers give the microphone to secure pages only. Open this one with https://, or on this machine as http://localhost.",
    lasting: true,
    alert: true,
  },
  no_worklet: {
    text: "The sound could not be set up: this browser is too old, or the page's files could not be loaded. Reload it, or use a current browser.",
    lasting: true,
    alert: true,
  },
  bad_address: {
    text: "This page may not connect to the server's address. On a page with https:// that must begin with wss://.",
    lasting: true,
    alert: true,
  },
  autoplay_blocked: {
    text: "No sound comes out: the browser holds it back, or there is no loudspeaker.",
    lasting: true,
    alert: true,
    action: "sound",
  },
  server_full: { text: "All lines are busy. You are put through as soon as one is free.", lasting: true, alert: true },
  not_ready: { text: "The server is still starting. It begins as soon as that is done.", lasting: true },
  server_gone: {
    text: "The server can't be reached. Trying again; the conversation goes on from here.",
    lasting: true,
    alert: true,
  },
  offline: { text: "You are offline. The conversation goes on when the network is back.", lasting: true, alert: true },
  gave_up: {
    text: "The server could not be reached for minutes. Start again when it is back; the conversation is kept.",
    lasting: true,
    alert: true,
    action: "start",
  },
  slow_client: { text: "The line was too slow, and was cut. Connecting again.", lasting: true },
  internal_error: { text: "The server had a fault. Connecting again.", lasting: true },
  asleep: { text: "This tab was asleep. The conversation goes on.", alert: true },
  back: { text: "Connected again. Go on where you were." },
  hung_up: {
    text: "The agent hung up, because it was quiet for long. Start again to go on where you were.",
    lasting: true,
    action: "start",
  },
  idle: {
    text: "The server heard nothing from this page for long, and hung up. Start again to go on where you were.",
    lasting: true,
    action: "start",
  },
  unknown_voice: { text: "The server does not have the voice that was chosen: it uses its own." },
  unknown_language: { text: "The server does not hear the language that was chosen: it uses its own." },
  invalid_field: { text: "The server did not take one of the settings: it uses its own." },
  transcriber_failed: { text: "What you said could not be understood. Please say it again." },
  generator_failed: { text: "The language model failed. Please try again." },
  synthesizer_failed: { text: "The voice failed: this reply could not be spoken." },
  no_echo_cancellation: { text: "This browser cancels no echo. Headphones work better than loudspeakers." },
};

/** How long a notice that does not last is shown, milliseconds. */
const SHOWN_MS = 6000;

const ACTIONS = { start: "Try again", sound: "Turn the sound on" };

/**
 * @param {string} text
 * @param {() => void} does
 */
function button(text, does) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.onclick = does;
  return made;
}

/** The notices that are on the screen: one for each code. */
export class Notices {
  #box;
  #actions;

  /**
   * @param {HTMLElement} box
   * @param {Record<keyof typeof ACTIONS, () => void>} actions
   */
  constructor(box, actions) {
    this.#box = box;
    this.#actions = actions;
  }

  /**
   * @param {string} code
   * @param {string} [words] the server's, for a code that is not known here
   */
  show(code, words) {
    const { text, lasting, alert, action } = NOTICES[code] ?? { text: words || `Something went wrong (${code}).` };
    if (lasting && this.#find(code)) return; // it would be read out again
    this.dismiss(code);
    const shown = document.createElement("div");
    shown.dataset.notice = code;
    shown.setAttribute("role", alert ? "alert" : "status");
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    shown.append(paragraph);
    if (action) shown.append(button(ACTIONS[action], this.#actions[action]));
    const close = button("×", () => shown.remove());
    close.ariaLabel = "Dismiss";
    shown.append(close);
    this.#box.append(shown);
    if (!lasting) setTimeout(() => shown.remove(), SHOWN_MS);
  }

  /** They are true no more. @param {string[]} codes */
  dismiss(...codes) {
    for (const code of codes) this.#find(code)?.remove();
  }

  clear() {
    this.#box.replaceChildren();
  }

  /** @param {string} code */
  #find(code) {
    return this.#box.querySelector(`[data-notice="${CSS.escape(code)}"]`);
  }
}
