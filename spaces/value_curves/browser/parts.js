// The elements of the page. Text of the payload (task, dataset, names) is only ever set as textContent.

/** make("p.vc-note", {title: "…"}, "text", child, …): an element with its class, attributes and children. */
function make(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) if (value != null) element.setAttribute(key, value);
  element.append(...children.filter((child) => child != null));
  return element;
}

function drawing(viewBox, ...shapes) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", viewBox);
  svg.setAttribute("aria-hidden", "true");
  for (const [name, attributes, words] of shapes) {
    const shape = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    if (words) shape.textContent = words;
    svg.append(shape);
  }
  return svg;
}

const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const seconds = (value) => `${value.toFixed(value < 99.95 ? 1 : 0)} s`;

/** What a person sees before anything has run: what a value curve is, in one picture. */
function emptyState() {
  const curve = "M44 140 C90 132 120 112 160 104 S226 84 250 92 S286 138 318 130 S400 78 452 58 S540 36 596 30";
  const picture = drawing(
    "0 0 640 190",
    ["line", { x1: 44, y1: 30, x2: 596, y2: 30, class: "vc-sketch-line" }],
    ["line", { x1: 44, y1: 160, x2: 596, y2: 160, class: "vc-sketch-line" }],
    ["path", { d: `${curve} L596 160 L44 160 Z`, class: "vc-sketch-area" }],
    ["path", { d: curve, class: "vc-sketch-curve" }],
    ["circle", { cx: 596, cy: 30, r: 6, class: "vc-sketch-dot" }],
    ["text", { x: 36, y: 34, "text-anchor": "end" }, "0"],
    ["text", { x: 36, y: 164, "text-anchor": "end" }, "−1"],
    ["text", { x: 596, y: 16, "text-anchor": "end", class: "vc-sketch-word" }, "success"],
    ["text", { x: 50, y: 112, class: "vc-sketch-word" }, "far away"],
    ["text", { x: 312, y: 150, "text-anchor": "middle", class: "vc-sketch-word" }, "a slip"],
    ["text", { x: 596, y: 180, "text-anchor": "end" }, "time"],
  );
  return make(
    "div.vc-empty",
    {},
    picture,
    make("p.vc-empty-title", {}, "A value curve says how close a robot is to success"),
    make(
      "p.vc-empty-text",
      {},
      "A model watches the video and reads the task. For every moment it tells how long success is still away: " +
        "0 is success, −1 is far away or failing. Up is progress, down is a mistake.",
    ),
    make("p.vc-empty-text.vc-next", {}, "Choose an episode to see its curve here."),
  );
}

function pill(words, kind = "") {
  return make(`span.vc-pill${kind && `.vc-${kind}`}`, {}, words);
}

function header(payload) {
  const outcome = { true: ["✓ Success", "good"], false: ["✗ Failure", "bad"] }[payload.success];
  const episode = payload.episode == null ? "" : ` · episode ${payload.episode}`;
  const place = payload.dataset && `${payload.dataset}${episode}`;
  return make(
    "header.vc-head",
    {},
    make("h3.vc-task", {}, payload.task || "No task given"),
    make(
      "div.vc-pills",
      {},
      outcome ? pill(...outcome) : pill("Outcome not known"),
      place ? pill(place) : null,
      pill(`${count(payload.frames, "frame")} · ${seconds(payload.frames / payload.fps)}`),
    ),
  );
}

/** The cameras, and their <video> elements. */
function cameraTiles(payload) {
  const tiles = make("div.vc-cameras", { "data-count": payload.videos.length });
  const cameras = payload.videos.map((video) => {
    const camera = make("video", {
      src: video.url || video.file?.url,
      preload: "auto",
      playsinline: "",
      disablepictureinpicture: "",
      tabindex: "-1",
      "aria-label": `camera ${video.name}`,
    });
    camera.muted = true;
    const note = make("p.vc-broken", { hidden: "" }, "This browser cannot play the video. The curve works without it.");
    camera.addEventListener("error", () => (note.hidden = false));
    tiles.append(make("figure.vc-camera", {}, camera, note, make("figcaption", {}, video.name)));
    return camera;
  });
  return { tiles, cameras };
}

function playButton() {
  const icon = drawing(
    "0 0 24 24",
    ["path", { d: "M8 5v14l11.5-7z", class: "vc-icon-play" }],
    ["path", { d: "M7 5h3.4v14H7zM13.6 5H17v14h-3.4z", class: "vc-icon-pause" }],
  );
  return make("button.vc-play", { type: "button", "aria-label": "Play" }, icon);
}

/** Radio buttons that look like one segmented control; `choices` are [value, words]. */
function segments(label, choices, chosen, onChoice) {
  const group = make("div.vc-segments", { role: "group", "aria-label": label });
  choices.forEach(([value, words]) => {
    const button = make("button", { type: "button", "aria-pressed": String(value === chosen) }, words);
    button.addEventListener("click", () => {
      for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
      onChoice(value);
    });
    group.append(button);
  });
  return group;
}

/** A labelled slider with its value in words; `onInput` hears every change at once. */
function slider({ name, label, note, min, max, step, value, words, onInput }) {
  const input = make("input", { type: "range", name, min, max, step, "aria-label": label });
  input.value = value; // after min, max and step, which would clamp it
  const output = make("output", {}, "");
  const update = () => {
    output.textContent = words(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    const share = (Number(input.value) - min) / Math.max(max - min, 1e-9);
    input.style.setProperty("--vc-share", `${100 * share}%`);
  };
  input.addEventListener("input", () => {
    update();
    onInput(Number(input.value));
  });
  update();
  const title = make("span.vc-slider-title", {}, make("b", {}, label), output);
  return make("label.vc-slider", {}, title, input, make("small", {}, note));
}

function stat(label) {
  const value = make("dd", {}, "");
  return { element: make("div", {}, make("dt", {}, label), value), value };
}

function legendItem(kind, words, color = null) {
  const swatch = make(`i.vc-swatch.vc-swatch-${kind}`);
  if (color) swatch.style.setProperty("--vc-swatch", `var(${color})`);
  return make(`li.vc-legend-${kind}`, {}, swatch, words);
}

/** The marks of this chart, each in the words of somebody who has never seen one. */
function legend(payload, fires) {
  const alarm = fires && `failure alarm: value below ${signed(payload.alarm)}, success is hardly expected any more`;
  const names = payload.models.map((model) => model.name);
  const two = names.length > 1;
  return make(
    "ul.vc-legend",
    {},
    ...names.map((name, i) => {
      return legendItem("line", two ? name : "value: the best guess", i ? "--vc-second" : "--vc-accent");
    }),
    legendItem("band", "where the model is 80% sure it lies", two ? "--vc-muted" : "--vc-accent"),
    legendItem("heat", "how likely the model finds each value"),
    payload.target ? legendItem("dashed", "target: what really happened", "--vc-muted") : null,
    legendItem("block", "positive: the best of this episode's moments", "--vc-positive"),
    alarm ? legendItem("alarm", alarm, "--vc-alarm") : null,
  );
}

function explanation() {
  return make(
    "p.vc-explain",
    {},
    "How to read it: ",
    make("b", {}, "0 is success reached, −1 is far away or failing."),
    " The curve climbs when the robot gets closer to finishing its task and falls when something goes wrong.",
  );
}
