/** What `<voice-agent>` consists of. */

/**
 * An icon of 24 by 24, drawn in lines.
 * @param {string} path
 */
const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;

const MICROPHONE = "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21";
const MUTED = `${MICROPHONE}M4 4l16 16`;
const HANG_UP = "M3.5 14.5c5-5 12-5 17 0l-2 2.5-4-1.5V13a9 9 0 0 0-5 0v2.5L5.5 17z";
const STOP = "M7 7h10v10H7z";
const SAVE = "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 20h14";
const RENEW = "M12 5v14M5 12h14";
const ADJUST = "M4 8h9m5 0h2M4 16h2m5 0h9M15.5 5.5v5M8.5 13.5v5";
const SEND = "M12 19V5m-6 6 6-6 6 6";

export const MARKUP = `
<section class="panel" data-floor="idle" aria-label="Voice Agent">
  <header>
    <p class="name">Voice Agent</p>
    <button type="button" class="icon" data-does="renew" aria-label="New conversation" title="New conversation" hidden>${icon(RENEW)}</button>
    <button type="button" class="icon" data-does="save" aria-label="Download transcript" title="Download transcript" hidden>${icon(SAVE)}</button>
    <button type="button" class="icon" data-does="settings" aria-label="Settings" title="Settings">${icon(ADJUST)}</button>
  </header>

  <div class="log" role="log" aria-live="off" aria-label="Conversation" tabindex="0">
    <div class="welcome">
      <h1>Just talk.</h1>
      <p>It listens while you speak, answers when you are done, and stops when you interrupt.</p>
    </div>
    <ol class="entries"></ol>
  </div>

  <p class="unseen" role="status"></p>

  <footer>
    <div class="notices"></div>
    <div class="floor">
      <canvas class="you" role="img" aria-label="Your level"></canvas>
      <p class="state">Ready</p>
      <canvas class="agent" role="img" aria-label="The agent's level"></canvas>
    </div>
    <div class="controls">
      <button type="button" data-does="mute" aria-pressed="false" hidden>${icon(MICROPHONE)}${icon(MUTED)}<span>Mute</span></button>
      <button type="button" class="primary" data-does="start">${icon(MICROPHONE)}<span>Start talking</span></button>
      <button type="button" class="primary" data-does="hold" aria-pressed="false" hidden>${icon(MICROPHONE)}<span>Hold to talk</span></button>
      <button type="button" data-does="stop" hidden>${icon(STOP)}<span>Stop</span></button>
      <button type="button" data-does="end" hidden>${icon(HANG_UP)}<span>End call</span></button>
    </div>
    <form class="typing">
      <input name="text" autocomplete="off" maxlength="20000" aria-label="Message" placeholder="Or type a message" />
      <button class="icon" aria-label="Send" title="Send">${icon(SEND)}</button>
    </form>
  </footer>

  <dialog aria-label="Settings">
    <form method="dialog">
      <h2>Settings</h2>
      <label>Microphone <select name="device"></select></label>
      <label>Voice <select name="voice"></select></label>
      <label>Language <select name="language"></select></label>
      <label>Instructions
        <textarea name="instructions" rows="4" maxlength="20000" placeholder="The server's. For example: You answer the phone of a bakery, in one or two sentences."></textarea>
      </label>
      <label class="check"><input type="checkbox" name="pushToTalk" /> Push to talk</label>
      <p class="hint">The microphone is heard only while you hold the button, or the space bar on it.</p>
      <button class="primary">Done</button>
    </form>
  </dialog>
</section>
`;
