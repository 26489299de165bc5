// The player: one analysed episode (docs/space.md: the payload), its videos and its curve bound together.

const COLORS = ["ink", "muted", "line", "paper", "accent", "second", "positive", "negative", "alarm"];

/** The colours of the page as it is now, light or dark, from player.css. */
function colorsOf(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--vc-${name}`).trim();
  return { ...Object.fromEntries(COLORS.map((name) => [name, read(name)])), ramp: read("ramp").split(/\s+/) };
}

/** What is drawn, from the payload: everything that sliders and themes change lies here, and only here. */
function viewOf(payload, root) {
  const view = {
    frames: payload.frames,
    fps: payload.fps,
    success: payload.success,
    target: payload.target,
    alarm: payload.alarm,
    heatOf: -1,
    horizon: Math.min(Math.max(Math.round(payload.horizon), 1), payload.frames),
    fraction: payload.positive_fraction,
    colors: colorsOf(root),
  };
  view.models = payload.models.map((model, i) => ({
    ...model,
    distributions: distributions(model),
    color: () => (i ? view.colors.second : view.colors.accent),
  }));
  const main = view.models[0];
  view.low = Math.min(...view.models.map((model) => model.v_min));
  view.high = Math.max(...view.models.map((model) => model.v_max));
  view.scaleSeconds = main.scale_seconds;
  view.alarms = payload.alarm == null ? [] : spans(view.frames, (t) => main.value[t] < payload.alarm);
  const images = new Map();
  view.heatImage = (model, columns) => {
    const key = `${model.name} ${view.models.indexOf(model)} ${columns} ${view.colors.ramp}`;
    if (!images.has(key)) images.set(key, heatMap(model.distributions, columns, view.colors.ramp));
    return images.get(key);
  };
  return view;
}

/** Advantages, threshold and positive spans for the sliders as they are now. */
function label(view) {
  const { value, scale_steps: scale, v_min: vMin } = view.models[0];
  view.advantage = advantages(value, view.horizon, { success: view.success, scale, vMin });
  view.level = positiveFrom(view.advantage, view.fraction);
  view.isPositive = (t) => view.level !== null && view.advantage[t] >= view.level;
  view.positive = spans(view.frames, view.isPositive);
  view.positiveFrames = view.positive.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

/** Sliders and the choice between band and heat map. */
function createControls(view, payload, redraw) {
  const name = (model) => (view.models.length > 1 ? `Heat map · ${model.name}` : "Heat map");
  const choices = [[-1, "Interval"], ...view.models.map((model, i) => [i, name(model)])];
  const look = segments("How to show uncertainty", choices, -1, (value) => {
    view.heatOf = value;
    redraw();
  });
  const horizon = slider({
    name: "horizon",
    label: "Horizon",
    note: "How far ahead the consequences of a moment count.",
    min: 1,
    max: payload.frames,
    step: 1,
    value: view.horizon,
    words: (n) => (n >= payload.frames ? "whole episode" : `${count(n, "frame")} · ${seconds(n / payload.fps)}`),
    onInput: (n) => redraw((view.horizon = n)),
  });
  const fraction = slider({
    name: "positive_fraction",
    label: "Positive fraction",
    note: "The share of this episode's moments, the best ones, called positive.",
    min: 0,
    max: 1,
    step: 0.01,
    value: view.fraction,
    words: (f) => `${Math.round(100 * f)}%`,
    onInput: (f) => redraw((view.fraction = f)),
  });
  return { look, sliders: make("div.vc-sliders", {}, horizon, fraction) };
}

/** Numbers of the frame under the cursor. */
function createStats(view) {
  const main = view.models[0];
  const two = view.models.length > 1;
  const value = stat(two ? main.name : "Value");
  const other = stat(two ? view.models[1].name : "80% interval");
  const left = main.scale_seconds != null && view.success !== false ? stat("To success") : null;
  const advantage = stat("Advantage");
  const element = make("dl.vc-stats", {}, value.element, other.element, left?.element, advantage.element);
  function show(t) {
    value.value.textContent = signed(main.value[t]);
    other.value.textContent = two ? signed(view.models[1].value[t]) : interval(main, t);
    if (left) left.value.textContent = toGo(view, main, t)?.replace(/^/, "≈ ") ?? "–";
    const positive = view.isPositive(t);
    advantage.value.textContent = withSign(view.advantage[t]);
    advantage.element.classList.toggle("vc-positive", positive);
    advantage.element.title = positive ? "positive" : "not positive";
  }
  return { element, show };
}

/** Builds the page of one payload inside `root`; returns {redraw, close}. */
function createEpisode(root, payload) {
  const view = viewOf(payload, root);
  label(view);
  const { tiles, cameras } = cameraTiles(payload);
  const play = playButton();
  const now = make("b", {}, seconds(0));
  const summary = make("span.vc-summary", { role: "status" }, "");
  const stats = createStats(view);
  const clock = createClock(cameras, payload.fps, payload.frames, showFrame, (playing) => {
    play.classList.toggle("vc-playing", playing);
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
  });
  const chart = createChart(view, clock.seek, clock.toggle);
  const controls = createControls(view, payload, redraw);
  const speeds = [[0.5, "½×"], [1, "1×"], [2, "2×"]];

  function showFrame(t) {
    now.textContent = seconds(t / payload.fps);
    stats.show(t);
    chart.placeCursor(t);
  }

  function redraw() {
    view.colors = colorsOf(root);
    label(view);
    root.classList.toggle("vc-shows-heat", view.heatOf >= 0);
    root.dataset.positive = view.positive.map((run) => run.join("-")).join(" ");
    const share = Math.round((100 * view.positiveFrames) / view.frames);
    const best = `positive: the best ${share}% of this episode's moments, in ${count(view.positive.length, "span")}`;
    const moments = view.level === null ? "hardly any difference between this episode's moments" : best;
    const alarm = view.alarms.length ? ` · failure alarm at ${seconds(view.alarms[0][0] / view.fps)}` : "";
    summary.textContent = moments + alarm;
    root.classList.toggle("vc-no-positive", view.level === null);
    chart.draw();
    showFrame(clock.frame);
  }

  play.addEventListener("click", clock.toggle);
  tiles.addEventListener("click", clock.toggle);
  const time = make("div.vc-time", {}, now, ` / ${seconds(payload.frames / payload.fps)}`);
  const transport = make("div.vc-transport", {}, play, time, segments("Speed", speeds, 1, clock.setRate));
  const watch = make("div.vc-watch", {}, cameras.length ? tiles : null, transport);
  const under = make("div.vc-under", {}, controls.look, summary);
  const reading = [under, explanation(), legend(payload, view.alarms.length > 0), controls.sliders];
  const side = make("div.vc-side", {}, stats.element, chart.element, ...reading);
  const body = make(`div.vc-body${cameras.length ? "" : ".vc-body-single"}`, {}, watch, side);
  root.replaceChildren(header(payload), body);
  root.dataset.frames = payload.frames;
  redraw();
  return { redraw, close: clock.close };
}

/**
 * A player inside `element`: `show(payload)` shows an episode, `show(null)` what a value curve is.
 * Follows the size of the page and its theme (the class `dark` of Gradio).
 */
function createPlayer(element) {
  const root = make("section.vc", { "aria-label": "Value curve" });
  let episode = null;
  element.replaceChildren(root);

  function show(payload) {
    episode?.close();
    episode = null;
    delete root.dataset.positive;
    root.dataset.state = payload ? "ready" : "empty";
    root.dataset.id = payload?.id ?? "";
    if (payload) episode = createEpisode(root, payload);
    else root.replaceChildren(emptyState());
  }

  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.floor(entry.contentRect.width) === width) return;
    width = Math.floor(entry.contentRect.width);
    episode?.redraw();
  }).observe(root);
  const themes = new MutationObserver(() => episode?.redraw());
  for (const place of [document.documentElement, document.body]) {
    themes.observe(place, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
  // Words on a canvas do not change by themselves when their font arrives.
  document.fonts?.addEventListener("loadingdone", () => episode?.redraw());
  show(null);
  return { show };
}
