/** Where the time of a turn went: a bar for each step, from the moment that it waited for. */

/**
 * @typedef {import("./session.js").Steps} Steps
 * @typedef {keyof typeof LABELS} Shown
 *
 * A step, in milliseconds from the user's last speech. `decisive`: the reply waited for it; the others went on beside
 * it and cost nothing.
 * @typedef {{step: Shown, label: string, start: number, end: number, decisive: boolean}} Bar
 */

const LABELS = {
  vad_stop: "Silence noticed",
  transcript: "Words recognized",
  end_of_turn: "End of turn judged",
  llm_first_token: "First word thought of",
  first_chunk: "First clause written",
  tts_first_audio: "First sound made",
  first_audio_sent: "Sent",
  heard: "Heard",
};

/** The first of these that was reached is where a step's bar begins. @type {Partial<Record<Shown, Shown[]>>} */
const WAITS_FOR = {
  transcript: ["vad_stop"],
  end_of_turn: ["vad_stop"],
  llm_first_token: ["transcript", "vad_stop"],
  first_chunk: ["llm_first_token", "transcript"],
  tts_first_audio: ["first_chunk", "llm_first_token"],
  heard: ["first_audio_sent", "tts_first_audio", "end_of_turn"],
};

/**
 * The bars of a turn, in the order of the pipeline.
 * @param {Steps} steps as the server has them
 * @param {number | null} heard when the first sound was heard
 * @returns {Bar[]}
 */
function bars(steps, heard) {
  /** @type {Partial<Record<Shown, number>>} */
  const moments = { ...steps, ...(heard !== null && { heard }) };
  /** @param {Shown | undefined} step */
  const moment = (step) => (step && moments[step]) || 0;
  // What came later than the first sound is of a reply that was bridged by a filler: nobody waited for it.
  const reached = /** @type {Shown[]} */ (Object.keys(LABELS)).filter(
    (step) => moments[step] !== undefined && (heard === null || moment(step) <= heard),
  );
  /** @param {Shown} step */
  const before = (step) =>
    step === "first_audio_sent" // it goes out once it is made and the turn is over: the later one held it
      ? /** @type {Shown[]} */ (["end_of_turn", "tts_first_audio"]).reduce((a, b) => (moment(b) > moment(a) ? b : a))
      : WAITS_FOR[step]?.find((earlier) => reached.includes(earlier));
  const decisive = new Set();
  for (let step = reached.at(-1); step; step = before(step)) decisive.add(step);
  return reached.map((step) => ({
    step,
    label: LABELS[step],
    start: Math.min(moment(before(step)), moment(step)),
    end: moment(step),
    decisive: decisive.has(step),
  }));
}

/**
 * The bars as a table to look at or to have read.
 * @param {Steps} steps
 * @param {number | null} heard
 */
export function drawWaterfall(steps, heard) {
  const rows = bars(steps, heard);
  const whole = Math.max(...rows.map(({ end }) => end), 1);
  const table = document.createElement("table");
  table.className = "waterfall";
  const caption = table.createCaption();
  caption.textContent = "From your last word, in milliseconds. Pale: done meanwhile, at no cost.";
  const body = table.createTBody();
  for (const { step, label, start, end, decisive } of rows) {
    const row = body.insertRow();
    row.dataset.step = step;
    row.classList.toggle("beside", !decisive);
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = label;
    const bar = document.createElement("i");
    bar.style.left = `${(start / whole) * 100}%`;
    bar.style.width = `${((end - start) / whole) * 100}%`;
    row.append(name);
    row.insertCell().append(bar);
    row.insertCell().textContent = String(Math.round(end));
  }
  return table;
}
