// The drawing: the curve with its band or heat map and spans, and the advantages below (belief.js: the distributions).
//
// Everything here is in CSS pixels; a canvas has as many real pixels as the screen. The cursor is not drawn here: it is
// an element above the canvas, so that playing moves one element and redraws nothing but the small histogram.

const SMALL = "11px";

/** Where everything is, for a chart `width` pixels wide: boxes {x, y, w, h}. */
function layout(width, hasSeconds) {
  const narrow = width < 560;
  const left = narrow ? 42 : 48;
  const beside = narrow ? 44 : 92;
  const gap = narrow ? 10 : 16;
  const right = hasSeconds ? (narrow ? 38 : 46) : 2;
  const plotWidth = Math.max(width - left - gap - beside - right, 60);
  const curve = { x: left, y: 28, w: plotWidth, h: narrow ? 190 : 264 };
  const bar = { x: left, y: curve.y + curve.h + 7, w: plotWidth, h: 6 };
  const advantage = { x: left, y: bar.y + bar.h + 32, w: plotWidth, h: narrow ? 64 : 84 };
  const belief = { x: left + plotWidth + gap, y: curve.y, w: beside, h: curve.h };
  return { narrow, width, curve, bar, advantage, belief, height: advantage.y + advantage.h + 26 };
}

/** Sizes a canvas for this screen; returns its context, cleared, in CSS pixels. */
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const real = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== real[0] || canvas.height !== real[1]) [canvas.width, canvas.height] = real;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineJoin = "round";
  return context;
}

const signed = (number, digits = 2) => (Object.is(number, -0) ? 0 : number).toFixed(digits).replace("-", "−");
const withSign = (number, digits = 3) => (number > 0 ? "+" : "") + signed(number, digits);

/** x of the middle of frame t, and y of a value, in a box. */
const xOf = (box, t, frames) => box.x + ((t + 0.5) / frames) * box.w;
const yOf = (box, value, low, high) => box.y + (1 - (value - low) / (high - low)) * box.h;

function text(context, words, x, y, color, align = "left", weight = "400", size = SMALL) {
  context.font = `${weight} ${size} ${context.canvas.dataset.font}`;
  context.fillStyle = color;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillText(words, x, y);
}

function rule(context, x1, y1, x2, y2, color, dash = [], width = 1) {
  context.beginPath();
  context.setLineDash(dash);
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

function line(context, box, values, low, high, color, { width = 2, dash = [] } = {}) {
  context.beginPath();
  for (const t of decimate(values, Math.ceil(box.w))) {
    context.lineTo(xOf(box, t, values.length), yOf(box, values[t], low, high));
  }
  context.setLineDash(dash);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

function band(context, box, lower, upper, low, high, color, opacity) {
  const columns = Math.ceil(box.w);
  context.beginPath();
  for (const t of decimate(upper, columns)) context.lineTo(xOf(box, t, upper.length), yOf(box, upper[t], low, high));
  for (const t of decimate(lower, columns).reverse()) {
    context.lineTo(xOf(box, t, lower.length), yOf(box, lower[t], low, high));
  }
  context.globalAlpha = opacity;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}

/** Values and, where the scale is known, seconds beside them: grid lines and their words. */
function drawValueAxis(context, view, places) {
  const { colors, low, high } = view;
  const { curve, belief } = places;
  const end = belief.x + belief.w;
  const ticks = Array.from({ length: 5 }, (_, i) => low + ((high - low) * i) / 4);
  ticks.forEach((value, i) => {
    const y = yOf(curve, value, low, high);
    rule(context, curve.x, y, curve.x + curve.w, y, colors.line);
    rule(context, belief.x, y, end, y, colors.line);
    if (places.narrow && i % 2) return;
    text(context, signed(value), curve.x - 8, y, colors.muted, "right");
    if (view.scaleSeconds && view.success !== false && !(view.alarm != null && value < view.alarm)) {
      const seconds = (high - value) * view.scaleSeconds;
      const digits = seconds < 10 && seconds > 0 ? 1 : 0;
      text(context, `${seconds.toFixed(digits)} s`, end + 7, y, colors.muted);
    }
  });
  const meaning = `value: ${signed(high, 0)} is success, ${signed(low, 0)} far away or failing`;
  text(context, places.narrow ? "value" : meaning, curve.x, 8, colors.muted);
  text(context, places.narrow ? "how sure" : "how sure it is", belief.x, 8, colors.muted);
  if (view.scaleSeconds && view.success !== false && !places.narrow) text(context, "to go", end + 7, 8, colors.muted);
}

function drawTimeAxis(context, view, places) {
  const box = places.advantage;
  const seconds = view.frames / view.fps;
  const y = box.y + box.h;
  rule(context, box.x, y, box.x + box.w, y, view.colors.line);
  const ticks = ticksTo(seconds, Math.min(box.w / 70, 12, view.frames));
  ticks.forEach((tick, i) => {
    const x = box.x + (tick / seconds) * box.w;
    rule(context, x, y, x, y + 4, view.colors.line);
    const label = Number(tick.toPrecision(6)).toString() + (i === ticks.length - 1 ? " s" : "");
    text(context, label, x, y + 14, view.colors.muted, "center");
  });
}

/** The share of each column's frames that lie in `runs`, float64 [columns]. */
function coverage(runs, frames, columns) {
  const shares = new Float64Array(columns);
  for (const [first, last] of runs) {
    const from = (first / frames) * columns;
    const to = ((last + 1) / frames) * columns;
    for (let c = Math.floor(from); c < to; c++) shares[c] += Math.min(to, c + 1) - Math.max(from, c);
  }
  return shares;
}

/** Positive spans: faint behind the curve, solid in the bar below it; where many share a pixel, by their share. */
function drawSpans(context, view, places, opacity) {
  const { curve, bar } = places;
  context.fillStyle = view.colors.line;
  context.globalAlpha = 0.55;
  context.fillRect(bar.x, bar.y, bar.w, bar.h);
  context.fillStyle = view.colors.positive;
  const fill = (x, width, alpha) => {
    context.globalAlpha = opacity * alpha;
    context.fillRect(x, curve.y, width, curve.h);
    context.globalAlpha = alpha;
    context.fillRect(x, bar.y, width, bar.h);
  };
  const columns = Math.round(curve.w);
  if (view.frames <= columns) {
    for (const [first, last] of view.positive) {
      fill(curve.x + (first / view.frames) * curve.w, ((last + 1 - first) / view.frames) * curve.w, 1);
    }
  } else {
    const width = curve.w / columns;
    const shares = coverage(view.positive, view.frames, columns);
    shares.forEach((share, c) => share && fill(curve.x + c * width, width, Math.min(share, 1)));
  }
  context.globalAlpha = 1;
}

/** Where the value falls below the level of the alarm: that level, and a mark where the value falls below it; marks that would touch are one. */
function drawAlarms(context, view, box) {
  if (!view.alarms.length) return;
  const y = yOf(box, view.alarm, view.low, view.high);
  rule(context, box.x, y, box.x + box.w, y, view.colors.alarm, [2, 4], 1.2);
  let before = -Infinity;
  for (const [first] of view.alarms) {
    const x = xOf(box, first, view.frames);
    if (x - before < 12) continue;
    before = x;
    rule(context, x, box.y - 2, x, y, view.colors.alarm, [], 1);
    context.fillStyle = view.colors.alarm;
    context.beginPath();
    context.moveTo(x - 5.5, box.y - 11);
    context.lineTo(x + 5.5, box.y - 11);
    context.lineTo(x, box.y - 2);
    context.fill();
  }
}

/** Advantages as columns from zero, green from the threshold on, which is dashed; without one they hardly differ. */
function drawAdvantage(context, view, places) {
  const box = places.advantage;
  const { advantage, colors } = view;
  const level = view.level ?? Infinity;
  let low = Math.min(0, level);
  let high = Math.max(0, view.level ?? 0);
  for (const a of advantage) {
    if (a < low) low = a;
    if (a > high) high = a;
  }
  const room = 0.06 * (high - low || 1);
  const yAt = (a) => yOf(box, a, low - room, high + room);
  const columns = Math.min(Math.round(box.w), advantage.length);
  const width = box.w / columns;
  const bars = (shares, color, wanted) => {
    context.fillStyle = color;
    for (let c = 0; c < columns; c++) {
      const from = Math.floor((c * advantage.length) / columns);
      const to = Math.max(Math.floor(((c + 1) * advantage.length) / columns), from + 1);
      let strongest = null;
      for (let t = from; t < to; t++) {
        if (wanted(advantage[t]) && !(Math.abs(advantage[t]) <= Math.abs(strongest))) strongest = advantage[t];
      }
      if (strongest === null) continue;
      const y = Math.min(yAt(strongest), yAt(0));
      const height = Math.max(Math.abs(yAt(strongest) - yAt(0)), 1);
      context.globalAlpha = shares ? Math.min(shares[c], 1) : 1;
      context.fillRect(box.x + c * width, y, Math.max(width - (width > 4 ? 1 : 0), 0.75), height);
    }
    context.globalAlpha = 1;
  };
  const shares = coverage(view.positive, view.frames, columns);
  bars(null, colors.negative, columns < advantage.length ? () => true : (a) => a < level);
  bars(shares, colors.positive, (a) => a >= level);
  rule(context, box.x, yAt(0), box.x + box.w, yAt(0), colors.muted, [], 0.75);
  const meaning = places.narrow ? "advantage" : "advantage: better or worse than expected";
  text(context, meaning, box.x, box.y - 13, colors.muted);
  text(context, "0", box.x - 8, yAt(0), colors.muted, "right");
  const corner = [box.x + box.w, box.y - 13];
  if (view.level === null) return text(context, "hardly any difference", ...corner, colors.muted, "right");
  rule(context, box.x, yAt(level), box.x + box.w, yAt(level), colors.positive, [4, 3], 1.2);
  text(context, `positive from ${withSign(level)}`, ...corner, colors.positive, "right", "700");
}

/** The whole chart but for the cursor and the distribution beside it. */
function drawChart(canvas, view, places) {
  const context = prepare(canvas, places.width, places.height);
  const { curve } = places;
  const { colors, low, high, models } = view;
  const heat = models[view.heatOf];
  drawValueAxis(context, view, places);
  if (heat) {
    const columns = Math.round(curve.w * (window.devicePixelRatio || 1));
    context.imageSmoothingEnabled = false;
    const top = yOf(curve, heat.v_max, low, high);
    context.drawImage(view.heatImage(heat, columns), curve.x, top, curve.w, yOf(curve, heat.v_min, low, high) - top);
  }
  drawSpans(context, view, places, heat ? 0 : 0.13);
  context.save();
  context.beginPath();
  context.rect(curve.x - 1, curve.y - 2, curve.w + 2, curve.h + 4);
  context.clip();
  models.forEach((model, i) => {
    if (!heat) band(context, curve, model.lower, model.upper, low, high, model.color(), i ? 0.14 : 0.2);
  });
  if (view.target) {
    line(context, curve, view.target, low, high, heat ? colors.ink : colors.muted, { width: 1.5, dash: [5, 4] });
  }
  [...models].reverse().forEach((model) => {
    if (heat) line(context, curve, model.value, low, high, colors.paper, { width: 4 });
    line(context, curve, model.value, low, high, model.color(), { width: 2.25 });
  });
  context.restore();
  drawAlarms(context, view, curve);
  drawAdvantage(context, view, places);
  drawTimeAxis(context, view, places);
}
