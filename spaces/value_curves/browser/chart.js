// The chart that a person uses: what is drawn, the cursor above it, pointer, finger and keyboard.

/** Seconds to success in words; null where none can be told: of failures, below the alarm, without a known scale. */
function toGo(view, model, t) {
  if (model.scale_seconds == null || view.success === false) return null;
  if (view.alarm != null && model.value[t] < view.alarm) return null; // close to the floor a value is no time
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
    {
      role: "slider",
      tabindex: "0",
      "aria-label": "Moment of the episode",
      "aria-valuemin": 0,
      "aria-valuemax": view.frames - 1,
    },
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
    rows.push(["advantage", withSign(view.advantage[t]) + (view.isPositive(t) ? ", positive" : "")]);
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
    element.addEventListener(kind, (event) => {
      if (kind === "pointerleave" || event.pointerType !== "mouse") showTip(null); // a mouse stays, a finger is gone
    });
  }
  element.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const page = Math.max(Math.round(view.frames / 10), 1);
    const arrows = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step };
    const moves = { ...arrows, PageDown: -page, PageUp: page };
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
