// The player: one analysed episode (see /docs/space.md for the payload), its videos and its curve bound together.

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
  view.level = threshold(view.advantage, view.fraction);
  view.positive = spans(view.frames, (t) => view.advantage[t] >= view.level);
  view.positiveFrames = view.positive.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

/** Seconds to success in words; null where none can be told: of failures, and where the scale is not known. */
function toGo(view, model, t) {
  if (model.scale_seconds == null || view.success === false) return null;
  return seconds((model.v_max - model.value[t]) * model.scale_seconds);
}

function interval(model, t) {
  return `${signed(model.lower[t])} … ${signed(model.upper[t])}`;
}

/** The chart with its cursor: draws, follows the pointer and the keyboard, calls `onSeek(frame)`. */
function createChart(view, onSeek, onToggle) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const belief = make("canvas.vc-belief", { "aria-hidden": "true" });
  const cursor = make("div.vc-cursor");
  const hover = make("div.vc-hover", { hidden: "" });
  const dots = view.models.map((_, i) => make(`i.vc-dot${i ? ".vc-dot-second" : ""}`));
  const tip = make("div.vc-tip", { hidden: "", role: "presentation" });
  const element = make(
    "div.vc-chart",
    { role: "slider", tabindex: "0", "aria-label": "Moment of the episode", "aria-valuemin": 0, "aria-valuemax": view.frames - 1 },
    canvas,
    belief,
    hover,
    cursor,
    ...dots,
    tip,
  );
  let places = null;
  let frame = 0;
  let pointed = null; // the frame under the pointer

  function frameAt(event) {
    const box = places.curve;
    const share = (event.clientX - element.getBoundingClientRect().left - box.x) / box.w;
    return Math.min(Math.max(Math.floor(share * view.frames), 0), view.frames - 1);
  }

  function describe(t) {
    const model = view.models[0];
    const left = toGo(view, model, t);
    return `${seconds(t / view.fps)}, value ${signed(model.value[t])}${left ? `, about ${left} to success` : ""}`;
  }

  function showTip(t) {
    pointed = t;
    tip.hidden = hover.hidden = t === null;
    if (t === null) return placeCursor(frame);
    const x = xOf(places.curve, t, view.frames);
    const rows = view.models.flatMap((model) => {
      const left = toGo(view, model, t);
      const words = `${signed(model.value[t])}  (${interval(model, t)})`;
      const name = view.models.length > 1 ? model.name : "value";
      return [[name, words], left ? ["to success", `about ${left}`] : null];
    });
    rows.push(["advantage", withSign(view.advantage[t]) + (view.advantage[t] >= view.level ? ", positive" : "")]);
    tip.replaceChildren(
      make("b", {}, `${seconds(t / view.fps)}`),
      ...rows.filter(Boolean).map(([name, words]) => make("span", {}, make("em", {}, name), words)),
    );
    hover.style.left = `${x}px`;
    const width = tip.offsetWidth;
    const side = x + 14 + width > places.width ? x - 14 - width : x + 14;
    tip.style.left = `${Math.max(side, 0)}px`;
    const y = yOf(places.curve, view.models[0].value[t], view.low, view.high);
    const below = y < places.curve.y + places.curve.h / 2; // never over the curve where the pointer is
    tip.style.top = `${below ? places.curve.y + places.curve.h - tip.offsetHeight - 8 : places.curve.y + 8}px`;
    drawBelief(belief, view, places, t);
  }

  function placeCursor(t) {
    frame = t;
    element.setAttribute("aria-valuenow", t);
    element.setAttribute("aria-valuetext", describe(t));
    if (!places) return;
    const x = xOf(places.curve, t, view.frames);
    cursor.style.left = `${x}px`;
    view.models.forEach((model, i) => {
      dots[i].style.left = `${x}px`;
      dots[i].style.top = `${yOf(places.curve, model.value[t], view.low, view.high)}px`;
    });
    if (pointed === null) drawBelief(belief, view, places, t);
  }

  function draw() {
    const width = Math.floor(element.clientWidth);
    if (width < 120) return; // hidden, or not in the page yet
    places = layout(width, view.scaleSeconds != null && view.success !== false);
    canvas.dataset.font = getComputedStyle(element).fontFamily;
    element.style.height = `${places.height}px`;
    Object.assign(belief.style, { left: `${places.belief.x}px`, top: `${places.belief.y - 4}px` });
    cursor.style.top = hover.style.top = `${places.curve.y - 4}px`;
    cursor.style.height = hover.style.height = `${places.advantage.y + places.advantage.h - places.curve.y + 4}px`;
    const gap = [places.bar.y + places.bar.h + 4, places.advantage.y - 4].map((y) => `${y - places.curve.y + 4}px`);
    cursor.style.setProperty("--vc-gap-from", gap[0]); // words stand between the two panels
    cursor.style.setProperty("--vc-gap-to", gap[1]);
    drawChart(canvas, view, places);
    placeCursor(frame);
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !places) return;
    element.setPointerCapture(event.pointerId);
    onSeek(frameAt(event));
    showTip(frameAt(event));
  });
  element.addEventListener("pointermove", (event) => {
    if (!places) return;
    const t = frameAt(event);
    if (element.hasPointerCapture(event.pointerId)) onSeek(t);
    showTip(t);
  });
  for (const kind of ["pointerleave", "pointerup", "pointercancel"]) {
    element.addEventListener(kind, (event) => (kind === "pointerleave" || event.pointerType !== "mouse") && showTip(null));
  }
  element.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const page = Math.max(Math.round(view.frames / 10), 1);
    const moves = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -page, PageUp: page };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) onSeek(frame + moves[event.key]);
    else if (event.key === "Home") onSeek(0);
    else if (event.key === "End") onSeek(view.frames - 1);
    else if (event.key === " ") onToggle();
    else return;
    event.preventDefault();
  });
  return { element, draw, placeCursor };
}

/** Sliders and the choice between band and heat map. */
function createControls(view, payload, redraw) {
  const choices = [[-1, "Interval"], ...view.models.map((model, i) => [i, view.models.length > 1 ? `Heat map · ${model.name}` : "Heat map"])];
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
    note: "The share of the moments, the best ones, called positive.",
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
    if (left) left.value.textContent = `≈ ${toGo(view, main, t)}`;
    const positive = view.advantage[t] >= view.level;
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
    const alarm = view.alarms.length ? ` · failure alarm at ${seconds(view.alarms[0][0] / view.fps)}` : "";
    summary.textContent = `${share}% of the moments positive, in ${count(view.positive.length, "span")}${alarm}`;
    chart.draw();
    showFrame(clock.frame);
  }

  play.addEventListener("click", clock.toggle);
  tiles.addEventListener("click", clock.toggle);
  const time = make("div.vc-time", {}, now, ` / ${seconds(payload.frames / payload.fps)}`);
  const transport = make("div.vc-transport", {}, play, time, segments("Speed", speeds, 1, clock.setRate));
  const watch = make("div.vc-watch", {}, cameras.length ? tiles : null, transport);
  const under = make("div.vc-under", {}, controls.look, summary);
  const side = make("div.vc-side", {}, stats.element, chart.element, under, explanation(), legend(payload), controls.sliders);
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
  document.fonts?.addEventListener("loadingdone", () => episode?.redraw()); // words on a canvas do not follow by themselves
  show(null);
  return { show };
}
