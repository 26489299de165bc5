// The cameras of an episode as one clock: all show the same frame, and the page hears which.
//
// A video has exactly one picture for each frame, so frame t is on the screen from t / fps to (t + 1) / fps. Seeking
// aims at its middle, which no rounding takes to a neighbour. The first camera that plays is the clock; the others
// are brought back to it when they drift. While it plays, the frame is that of the picture on the screen
// (requestVideoFrameCallback), or, where the browser does not tell (or shows none: the video may be scrolled
// out of sight), that of its time. Without any video (or with none that this browser plays) a timer runs.

const SILENCE = 1000; // milliseconds without a picture, after which the time of the video counts

/**
 * @param {HTMLVideoElement[]} cameras
 * @param {number} fps
 * @param {number} frames
 * @param {(frame: number) => void} onFrame called when another frame is shown
 * @param {(playing: boolean) => void} onState called when playing starts or stops
 */
function createClock(cameras, fps, frames, onFrame, onState) {
  let frame = 0;
  let playing = false;
  let rate = 1;
  let timer = null; // {from: frame, at: milliseconds}, while the clock runs without a video
  let closed = false;
  let pictured = -Infinity; // when a picture was last told
  const wanted = new Map(); // camera -> seconds that it still has to be sought to
  const corrected = new Map(); // camera -> when it was last brought back to the clock

  const usable = () => cameras.filter((camera) => !camera.error);
  const master = () => usable()[0];
  const frameAt = (seconds) => Math.min(Math.max(Math.floor(seconds * fps + 1e-3), 0), frames - 1);
  const middle = (t) => (t + 0.5) / fps;

  function show(t) {
    if (t === frame) return;
    frame = t;
    onFrame(t);
  }

  function seekCamera(camera, seconds) {
    if (camera.readyState < 1 || camera.seeking) {
      wanted.set(camera, seconds); // done when the camera is ready: seeks never pile up while a finger drags
    } else {
      wanted.delete(camera);
      camera.currentTime = seconds;
    }
  }

  function seek(t) {
    const target = Math.min(Math.max(Math.round(t), 0), frames - 1);
    if (timer) timer = { from: target, at: performance.now() };
    for (const camera of usable()) seekCamera(camera, middle(target));
    show(target);
  }

  function setPlaying(now) {
    if (playing === now) return;
    playing = now;
    onState(now);
    if (now) requestAnimationFrame(tick);
  }

  function play() {
    if (frame >= frames - 1) seek(0);
    const clock = master();
    if (!clock) timer = { from: frame, at: performance.now() };
    for (const camera of usable()) {
      camera.playbackRate = rate;
      camera.play().catch(() => camera === clock && !camera.error && setPlaying(false));
    }
    setPlaying(true);
  }

  function pause() {
    timer = null;
    for (const camera of cameras) camera.pause();
    setPlaying(false);
    for (const camera of usable()) seekCamera(camera, middle(frame)); // all on the same frame
  }

  function follow(clock) {
    for (const camera of usable()) {
      const drift = Math.abs(camera.currentTime - clock.currentTime);
      const lately = performance.now() - (corrected.get(camera) ?? -Infinity) < 500;
      if (camera === clock || camera.seeking || lately || drift < Math.max(1 / fps, 0.1)) continue;
      corrected.set(camera, performance.now());
      camera.currentTime = clock.currentTime;
    }
  }

  function tick() {
    if (!playing || closed) return;
    const clock = master();
    if (clock && !clock.seeking && !wanted.has(clock)) {
      if (performance.now() - pictured > SILENCE) show(frameAt(clock.currentTime));
      follow(clock);
    } else if (!clock) {
      timer = timer || { from: frame, at: performance.now() };
      const now = timer.from + ((performance.now() - timer.at) / 1000) * fps * rate;
      show(Math.min(Math.floor(now), frames - 1));
      if (now >= frames) return pause();
    }
    requestAnimationFrame(tick);
  }

  function hear(camera) {
    camera.requestVideoFrameCallback?.((_, { mediaTime }) => {
      if (closed) return;
      hear(camera);
      if (!playing || camera !== master() || camera.seeking || wanted.has(camera)) return;
      pictured = performance.now();
      show(frameAt(mediaTime + 0.5 / fps));
    });
  }

  for (const camera of cameras) {
    hear(camera);
    const settle = () => wanted.has(camera) && seekCamera(camera, wanted.get(camera));
    camera.addEventListener("loadedmetadata", () => {
      if (!wanted.has(camera)) wanted.set(camera, middle(frame)); // shows its first picture everywhere
      settle();
    });
    camera.addEventListener("seeked", settle);
    camera.addEventListener("ended", () => {
      if (camera !== master()) return;
      show(frames - 1);
      pause();
    });
    camera.addEventListener("pause", () => camera === master() && !camera.ended && playing && pause());
    camera.addEventListener("play", () => camera === master() && setPlaying(true));
  }

  return {
    seek,
    play,
    pause,
    toggle: () => (playing ? pause() : play()),
    setRate(value) {
      if (timer) timer = { from: frame, at: performance.now() };
      rate = value;
      for (const camera of cameras) camera.playbackRate = value;
    },
    get frame() {
      return frame;
    },
    close() {
      closed = true;
      playing = false;
      for (const camera of cameras) {
        camera.pause();
        camera.removeAttribute("src");
        camera.load();
      }
    },
  };
}
