// Advantages, thresholds and spans, in the browser, so that sliders redraw without the model.
//
// Operation by operation what valuecurve.advantages and valuecurve.labels.rewards do (fail="floor"), so that the
// numbers are the same to the last bit; tests/spaces/test_player_maths.py holds the two against each other.
// Time: an episode of length L has frames t = 0 ... T, T = L - 1; values and rewards are in value units.

/**
 * n-step advantage of every frame: A_t = sum_{k=t}^{min(t+N, L)-1} r_k + (V(t+N) if t+N <= T else 0) - V(t).
 *
 * r_t = -1 / scale for t < T. The last reward is 0 for a success and v_min for a failure, whose time goes on after
 * its end. Where the outcome is not known it is V(T): a horizon beyond the last frame stops there and believes the
 * model. Where the scale is not known a step costs nothing, and A_t is the change of the value.
 *
 * @param {number[]} values V(t), [L]
 * @param {number} horizon N >= 1, in frames
 * @param {{success: ?boolean, scale: ?number, vMin: number}} episode scale: steps that one value unit stands for
 * @returns {Float64Array} A_t, [L]
 */
function advantages(values, horizon, { success, scale, vMin }) {
  const last = values.length - 1;
  const step = scale ? -1 / scale : 0;
  const end = success === true ? 0 : success === false ? vMin : values[last];
  const returns = new Float64Array(values.length);
  const result = new Float64Array(values.length);
  for (let t = last, sum = 0; t >= 0; t--) {
    sum += t === last ? end : step;
    returns[t] = sum;
  }
  for (let t = 0; t <= last; t++) {
    result[t] = returns[t] - values[t];
    if (t + horizon <= last) result[t] += values[t + horizon] - returns[t + horizon];
    if (success === false && scale) result[t] -= Math.max(horizon - (last - t), 0) / scale;
  }
  return result;
}

/** quantile(A, 1 - f), linear between neighbours: the advantage from which on a frame is positive. */
function threshold(advantage, fraction) {
  const ordered = Float64Array.from(advantage).sort();
  const count = ordered.length;
  let position = (1 - fraction) * (count - 1);
  const whole = Math.round(position);
  if (Math.abs(position - whole) < 1e-12 * count + 1e-12) position = whole;
  const below = Math.floor(position);
  const above = Math.min(below + 1, count - 1);
  return ordered[below] + (position - below) * (ordered[above] - ordered[below]);
}

const HARDLY = 0.02; // value units, as in player.py: advantages that differ less are noise

/** The threshold; null where the advantages hardly differ (5% to 95% quantile), and no frame is positive. */
function positiveFrom(advantage, fraction) {
  const spread = threshold(advantage, 0.05) - threshold(advantage, 0.95);
  return spread >= HARDLY ? threshold(advantage, fraction) : null;
}

/** Runs of frames for which `holds(t)`, as [first, last] pairs, ascending. */
function spans(count, holds) {
  const runs = [];
  for (let t = 0; t < count; t++) {
    if (!holds(t)) continue;
    const run = runs[runs.length - 1];
    if (run && run[1] === t - 1) run[1] = t;
    else runs.push([t, t]);
  }
  return runs;
}

/**
 * Frames to draw a line through: all of them, or, where there are more than two a pixel, the lowest and the highest of
 * each of `columns` parts, in order of time. A spike of one frame stays visible in an episode of any length.
 */
function decimate(values, columns) {
  const count = values.length;
  if (count <= 2 * columns) return Array.from(values, (_, t) => t);
  const kept = [0];
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column * count) / columns);
    const to = Math.floor(((column + 1) * count) / columns);
    let low = from;
    let high = from;
    for (let t = from; t < to; t++) {
      if (values[t] < values[low]) low = t;
      if (values[t] > values[high]) high = t;
    }
    for (const t of [Math.min(low, high), Math.max(low, high)]) if (t > kept[kept.length - 1]) kept.push(t);
  }
  if (kept[kept.length - 1] < count - 1) kept.push(count - 1);
  return kept;
}

/** "Nice" ticks (1, 2, 5 times a power of ten) from 0 to `end`, about `wanted` of them. */
function ticksTo(end, wanted) {
  const rough = end / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough * 0.999);
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** The distributions of one model, [T, K]: `at(t)` gives row t as probabilities, float64 [K]. */
function distributions(model) {
  const bytes = Uint8Array.from(atob(model.heat), (c) => c.charCodeAt(0));
  const bins = model.bins;
  return {
    bins,
    bytes,
    peaks: model.heat_max,
    at: (t) => Float64Array.from(bytes.subarray(t * bins, (t + 1) * bins), (b) => (b / 255) * model.heat_max[t]),
  };
}
