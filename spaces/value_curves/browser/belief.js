// Distributions as pictures: the heat map behind the curve, and the histogram beside it. Sizes are CSS pixels.

const ROWS = 70; // of the heat map
const BARS = 40; // of the histogram: single bins of 201 would be a comb

/**
 * A picture of the distributions, one column a frame (or a pixel), the highest value on top. Most is twice the typical
 * peak: a few frames of which the model is very sure do not make all others pale.
 */
function heatMap(heat, columns, ramp) {
  const frames = heat.peaks.length;
  const width = Math.min(frames, columns);
  const size = Math.ceil(heat.bins / ROWS);
  const rows = Math.ceil(heat.bins / size);
  const density = new Float64Array(width * rows);
  const peaks = new Float64Array(width);
  for (let column = 0; column < width; column++) {
    const from = Math.floor((column * frames) / width);
    const to = Math.max(Math.floor(((column + 1) * frames) / width), from + 1);
    for (let t = from; t < to; t++) {
      const share = heat.peaks[t] / 255 / (to - from);
      for (let bin = 0; bin < heat.bins; bin++) {
        density[(rows - 1 - Math.floor(bin / size)) * width + column] += heat.bytes[t * heat.bins + bin] * share;
      }
    }
    for (let row = 0; row < rows; row++) peaks[column] = Math.max(peaks[column], density[row * width + column]);
  }
  const most = 2 * peaks.slice().sort()[Math.floor(width / 2)] || 1;
  const colors = ramp.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, rows];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, rows);
  for (let i = 0; i < density.length; i++) {
    const place = Math.sqrt(Math.min(density[i] / most, 1)) * (colors.length - 1); // the root shows faint tails as well
    const k = Math.min(Math.floor(place), colors.length - 2);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = colors[k][c] + (place - k) * (colors[k + 1][c] - colors[k][c]);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Probabilities as at most `bars` bars of whole bins: [[lowest bin, highest bin, sum], …]. */
function bars(row, most) {
  const size = Math.ceil(row.length / most);
  const result = [];
  for (let bin = 0; bin < row.length; bin += size) {
    const part = row.subarray(bin, bin + size);
    result.push([bin, bin + part.length - 1, part.reduce((sum, p) => sum + p, 0)]);
  }
  return result;
}

/** The distributions at frame t as histograms on their side, at the right of the curve, on its axis. */
function drawBelief(canvas, view, places, t) {
  const box = places.belief;
  const context = prepare(canvas, box.w, box.h + 8);
  const inside = { y: 4, h: box.h };
  const all = view.models.map((model) => bars(model.distributions.at(t), BARS));
  const most = Math.max(...all.flat().map(([, , sum]) => sum), 1e-9);
  all.forEach((histogram, i) => {
    const model = view.models[i];
    const step = (model.v_max - model.v_min) / Math.max(model.bins - 1, 1);
    const yAt = (bin) => Math.min(Math.max(yOf(inside, model.v_min + bin * step, view.low, view.high), 4), 4 + box.h);
    context.fillStyle = model.color();
    context.globalAlpha = view.models.length > 1 ? 0.55 : 0.75;
    for (const [from, to, sum] of histogram) {
      const top = yAt(to + 0.5);
      const height = Math.max(yAt(from - 0.5) - top, 1.5);
      context.fillRect(0, top + 0.5, Math.max((sum / most) * (box.w - 2), sum > 1e-3 ? 1 : 0), Math.max(height - 1, 1));
    }
    context.globalAlpha = 1;
    const value = yOf(inside, model.value[t], view.low, view.high);
    rule(context, 0, value, box.w, value, view.models.length > 1 ? model.color() : view.colors.ink, [3, 3], 1);
  });
}
