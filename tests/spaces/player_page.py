"""A page with nothing but the player: payloads of known content, videos that show their frame number.

The page is a real Gradio app in this process; `?payload=NAME` chooses what is shown.
"""

import base64
from fractions import Fraction
from pathlib import Path

import av
import gradio as gr
import numpy as np
from player import player

FPS, FRAMES, BINS = 10.0, 60, 41
CELL, BITS = 16, 8  # a video is BITS cells wide: the frame number in binary, white is 1


def write_numbered_video(path: Path, frames: int = FRAMES, fps: float = FPS) -> Path:
    """An H.264 mp4 whose picture t is the number t in binary, lowest bit on the left."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps), options={"crf": "12", "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = CELL * BITS, 64, "yuv420p"
        for t in range(frames):
            bits = (t >> np.arange(BITS)) & 1
            row = np.repeat(bits * 255, CELL).astype(np.uint8)
            picture = np.broadcast_to(row[None, :, None], (64, CELL * BITS, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode(None))
    return path


def model_of(
    value: np.ndarray, name: str = "value-tiny", width: float = 0.06, scale: float | None = 120.0
) -> dict:
    """A model of the payload whose distributions are bells of `width` around its values."""
    centres = np.linspace(-1, 0, BINS)
    p = np.exp(-0.5 * ((centres - value[:, None]) / width) ** 2)
    p /= p.sum(1, keepdims=True)
    peaks = p.max(1)
    heat = np.round(p / peaks[:, None] * 255).astype(np.uint8)
    return {
        "name": name,
        "value": value.tolist(),
        "lower": np.clip(value - 1.28 * width, -1, 0).tolist(),
        "upper": np.clip(value + 1.28 * width, -1, 0).tolist(),
        "std": np.full(len(value), width).tolist(),
        "v_min": -1.0,
        "v_max": 0.0,
        "bins": BINS,
        "scale_steps": scale,
        "scale_seconds": None if scale is None else scale / FPS,
        "heat": base64.b64encode(heat.tobytes()).decode(),
        "heat_max": peaks.tolist(),
    }


def wavy(frames: int, seed: int = 0) -> np.ndarray:
    """Values that rise with a dip in the middle and a little noise, float64 `[frames]`."""
    t = np.linspace(0, 1, frames)
    dip = 0.3 * np.exp(-(((t - 0.55) / 0.08) ** 2))
    noise = np.random.default_rng(seed).normal(0, 0.008, frames)
    return np.clip(-0.75 + 0.7 * t - dip + noise, -1, 0)


def make_payload(frames: int = FRAMES, videos: list[dict] | None = None, **fields) -> dict:
    value = wavy(frames)
    payload = {
        "id": "a1",
        "task": "push the puck to the goal",
        "dataset": "metaworld_push",
        "episode": 12,
        "fps": FPS,
        "frames": frames,
        "success": True,
        "videos": videos or [],
        "target": np.linspace(-0.5, 0, frames).tolist(),
        "models": [model_of(value)],
        "horizon": 20,
        "positive_fraction": 0.3,
        "alarm": -0.7,
    }
    return payload | fields


def make_payloads(folder: Path) -> dict[str, dict | None]:
    """Payloads by name; their videos lie in `folder`."""
    files = {name: write_numbered_video(folder / f"{name}.mp4") for name in ("front", "side")}
    videos = [{"name": name, "url": f"gradio_api/file={path}"} for name, path in files.items()]
    (folder / "broken.mp4").write_bytes(b"not a video")
    other = model_of(wavy(FRAMES, seed=1) * 0.9 - 0.05, "value-other")
    broken = f"gradio_api/file={folder / 'broken.mp4'}"
    evil = (
        '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> ${window.hacked=1} {{value}}'
    )
    return {
        "empty": None,
        "usual": make_payload(videos=videos),
        "two": make_payload(id="b2", videos=videos[:1], models=[model_of(wavy(FRAMES)), other]),
        "failure": make_payload(id="c3", videos=videos, success=False, target=None),
        "upload": make_payload(
            id="d4", videos=videos, success=None, target=None, dataset=None, episode=None, alarm=None,
            models=[model_of(wavy(FRAMES), scale=None)],
        ),
        "hopeless": make_payload(
            id="g7", success=False, target=None, models=[model_of(-1 + 0.004 * np.abs(wavy(FRAMES)))]
        ),
        "long": make_payload(20_000, id="e5"),
        "one": make_payload(1, id="f6", models=[model_of(np.array([-0.5]))], horizon=50),
        "evil": make_payload(
            id=evil, task=evil, dataset=evil, videos=[{"name": evil, "url": broken}],
            models=[model_of(wavy(FRAMES), evil), model_of(wavy(FRAMES), evil)],
        ),
    }  # fmt: skip


def make_page(payloads: dict[str, dict | None]) -> gr.Blocks:
    """The app. `#next` shows the payload whose name is in `#name`, in the same component."""
    with gr.Blocks(title="Player", analytics_enabled=False) as page:
        shown = player(elem_id="player")
        name = gr.Textbox(elem_id="name", show_label=False)
        button = gr.Button("Show", elem_id="next")
        button.click(lambda name: payloads[name], name, shown)

        def opened(request: gr.Request):
            return payloads[request.query_params.get("payload", "empty")]

        page.load(opened, None, shown)
    return page


def launch(page: gr.Blocks, folder: Path) -> str:
    """Starts the page in threads of this process; returns its address."""
    _, url, _ = page.launch(
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        server_name="127.0.0.1",
        allowed_paths=[str(folder)],
    )
    return url
