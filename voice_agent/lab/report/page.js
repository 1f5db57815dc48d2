"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const config = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
  const drawn = new Map(); // element -> function that gives its figure in the colours of now

  const palette = () => {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue("--" + name).trim();
  };

  // Plotly does not know the variables of CSS.
  const coloured = (value, colour) => {
    if (typeof value === "string") return value.replace(/^var\(--(\w+)\)$/, (_, name) => colour(name));
    if (Array.isArray(value)) return value.map((one) => coloured(one, colour));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, colour)]));
    return value;
  };

  const axis = (colour, given) => ({
    automargin: true, fixedrange: true, zeroline: false, gridcolor: colour("rule"), linecolor: colour("rule"),
    tickfont: { size: 12 }, ...given,
    title: { text: typeof given?.title === "string" ? given.title : given?.title?.text, font: { size: 12 }, standoff: 8 },
  });

  const themed = ({ data, layout }) => {
    const colour = palette();
    const { xaxis, yaxis, ...rest } = layout;
    return coloured({
      data,
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
        font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 12, color: colour("muted") },
        margin: { l: 8, r: 12, t: 24, b: 8 },
        hoverlabel: { bgcolor: colour("paper"), bordercolor: colour("rule"), font: { color: colour("ink") } },
        legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 },
        ...rest, xaxis: axis(colour, xaxis), yaxis: axis(colour, yaxis),
      },
    }, colour);
  };

  const draw = (element, figure) => {
    drawn.set(element, figure);
    const { data, layout } = themed(figure());
    // Plotly forgets a height of its own when the window changes, and takes the element's.
    if (layout.height) element.style.height = `${layout.height}px`;
    return Plotly.react(element, data, layout, config);
  };
  const redraw = () => { for (const [element, figure] of drawn) draw(element, figure); };

  const waterfall = (turn, range) => () => {
    const shown = turn.bars;
    const lasted = shown.map((bar) => Math.max(0, bar.end - bar.start));
    const fill = shown.map((bar) => (bar.place === "server" ? "var(--accent)" : `var(--${bar.place})`));
    const low = Math.min(0, ...shown.map((bar) => Math.min(bar.start, bar.end)));
    const high = range ?? Math.max(100, ...shown.map((bar) => bar.end));
    return {
      data: [{
        type: "bar", orientation: "h", y: shown.map((bar) => bar.label), x: lasted,
        base: shown.map((bar) => Math.min(bar.start, bar.end)),
        text: lasted.map((ms, n) => (shown[n].end < shown[n].start ? "ready" : Math.round(ms).toString())),
        textposition: "outside", cliponaxis: false, constraintext: "none",
        textfont: { color: "var(--muted)", size: 11 },
        marker: {
          color: fill.map((colour, n) => (shown[n].decisive ? colour : "rgba(0,0,0,0)")),
          line: { color: fill, width: 1.5 },
        },
        customdata: shown.map((bar) => [bar.start, bar.end]),
        hovertemplate: "%{y}: from %{customdata[0]:.0f} to %{customdata[1]:.0f} ms<extra></extra>",
      }],
      layout: {
        height: 56 + 21 * shown.length, bargap: 0.32, margin: { l: 8, r: 34, t: 4, b: 8 }, showlegend: false,
        xaxis: { range: [low, high * 1.04], ticksuffix: " ms", nticks: 5 },
        yaxis: { autorange: "reversed", showgrid: false },
      },
    };
  };

  for (const element of document.querySelectorAll("[data-plot]"))
    draw(element, () => data.plots[element.dataset.plot]);
  const notable = [...document.querySelectorAll("[data-waterfall]")];
  const longest = Math.max(100, ...notable.flatMap((e) => data.turns[e.dataset.waterfall].bars.map((bar) => bar.end)));
  for (const element of notable) draw(element, waterfall(data.turns[element.dataset.waterfall], longest));

  // One turn, opened: its waterfall, and what was heard of it.
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

  const paint = (canvas, channels) => {
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d"), colour = palette();
    const loudest = Math.max(0.01, ...channels.map((samples) => samples.reduce((most, s) => Math.max(most, Math.abs(s)), 0)));
    channels.forEach((samples, lane) => {
      context.fillStyle = colour(lane ? "accent" : "client");
      const middle = height * (lane ? 0.75 : 0.25), step = samples.length / width;
      for (let x = 0; x < width; x++) {
        let peak = 0;
        for (let n = Math.floor(x * step); n < (x + 1) * step; n++) peak = Math.max(peak, Math.abs(samples[n] ?? 0));
        const tall = Math.max(scale, (peak / loudest) * height * 0.45);
        context.fillRect(x, middle - tall / 2, 1, tall);
      }
    });
  };

  const player = (place, turn, plot) => {
    const audio = document.createElement("audio");
    audio.controls = true; audio.preload = "auto";
    audio.src = "data:audio/mpeg;base64," + turn.audio;
    const wave = document.createElement("div");
    wave.className = "wave"; wave.hidden = true;
    const canvas = document.createElement("canvas"), cursor = document.createElement("i"), inPlot = document.createElement("i");
    const names = ["the user", "the agent"].map((name) => Object.assign(document.createElement("span"), { textContent: name }));
    wave.append(...names, canvas, cursor);
    place.append(wave, audio); plot.append(inPlot);
    place.hidden = false;

    const follow = () => {
      const at = audio.currentTime;
      cursor.style.left = `${(at / (audio.duration || 1)) * 100}%`;
      const axis = plot._fullLayout?.xaxis, ms = at * 1000 - turn.zero;
      const inside = axis && ms >= axis.range[0] && ms <= axis.range[1];
      inPlot.hidden = !inside;
      if (inside) inPlot.style.left = `${axis._offset + axis.l2p(ms)}px`;
      if (!audio.paused) requestAnimationFrame(follow);
    };
    for (const event of ["play", "seeked", "pause", "loadedmetadata"]) audio.addEventListener(event, follow);
    wave.addEventListener("click", (event) => {
      const box = wave.getBoundingClientRect();
      audio.currentTime = ((event.clientX - box.left) / box.width) * audio.duration;
      audio.play();
    });
    follow();

    // The picture is an extra: where it can't be had, the player is still there.
    new OfflineAudioContext(2, 1, 24000).decodeAudioData(bytes(turn.audio).buffer).then((sound) => {
      wave.hidden = false;
      const channels = [0, Math.min(1, sound.numberOfChannels - 1)].map((n) => sound.getChannelData(n));
      const repaint = () => canvas.clientWidth && paint(canvas, channels);
      new ResizeObserver(repaint).observe(canvas);
      scheme.addEventListener("change", repaint);
      repaint();
    }, () => {});
    return audio;
  };

  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const players = new Map();
  document.querySelector(".turns").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const detail = button.nextElementSibling, open = detail.hidden;
    const turn = data.turns[button.dataset.turn];
    button.setAttribute("aria-expanded", open);
    detail.hidden = !open;
    for (const audio of players.values()) audio.pause();
    if (!open) return;
    const plot = detail.querySelector(".plot");
    if (turn.bars.length) draw(plot, waterfall(turn));
    else plot.hidden = true;
    if (!turn.audio) return;
    if (!players.has(turn)) players.set(turn, player(detail.querySelector(".player"), turn, plot));
    players.get(turn).play().catch(() => {}); // a browser may want another click first
  });

  document.getElementById("failed")?.addEventListener("change", (event) =>
    document.body.classList.toggle("only-failed", event.target.checked));

  scheme.addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", () => {
    redraw();
    for (const element of drawn.keys()) if (element.offsetParent) Plotly.Plots.resize(element);
  });
})();
