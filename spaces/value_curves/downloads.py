"""Files of a result: served to whoever has its address, and made when they are first asked for.

results/<token>/video-0.mp4        the frames, for the player
results/<token>/scores.csv …       downloads
"""

import csv
import io
import json
import math
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from analysis import HORIZON_SECONDS, POSITIVE_FRACTION, Scored
from player import episode_advantages
from results import Result, Results
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from valuecurve.evaluation import Curve, pick_thumbnails, write_overlay
from valuecurve.evaluation.pictures import plot_curve

DRAWING = threading.Lock()  # matplotlib and the encoder: one at a time
PATIENCE = 120  # seconds that a download waits for the others
MAKING = 4  # threads for downloads that are not made yet: the rest of the server never waits for them
KINDS = {
    "scores.csv": "text/csv; charset=utf-8",
    "scores.parquet": "application/vnd.apache.parquet",
    "curve.png": "image/png",
    "curve.svg": "image/svg+xml",
    "overlay.mp4": "video/mp4",
}


def serve(results: Results) -> Callable[[Request], Awaitable[Response]]:
    """The route `results/{token}/{name}`."""
    own_threads = anyio.CapacityLimiter(MAKING)

    async def respond(request: Request) -> Response:
        result = results.get(request.path_params["token"])
        name = request.path_params["name"]
        if result is None:
            return PlainTextResponse("This result is gone: results are kept for an hour.", status_code=404)
        path = result.folder / name
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
        if name in KINDS:
            made = path.is_file() or await anyio.to_thread.run_sync(make, result, name, limiter=own_threads)
            if not made:
                return PlainTextResponse("Many pictures are being made: try again soon.", status_code=503)
            return FileResponse(
                path,
                media_type=KINDS[name],
                filename=f"value-curve-{result.token[:6]}.{name.split('.')[1]}",
                headers=headers,
            )
        if name in _about(result)["videos"]:
            return FileResponse(path, media_type="video/mp4", headers=headers)
        return PlainTextResponse("There is no such file.", status_code=404)

    return respond


def make(result: Result, name: str) -> bool:
    """Make a file of a result if it is not there; False when too many others are being made."""
    path = result.folder / name
    with result.lock:
        if path.is_file():
            return True
        if not DRAWING.acquire(timeout=PATIENCE):
            return False
        temporary = path.with_name(f"new-{os.getpid()}-{name}")
        try:
            MAKERS[name](result, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
            DRAWING.release()
    return True


# -- what a result holds -----------------------------------------------------------------------------------


def _about(result: Result) -> dict:
    return json.loads((result.folder / "about.json").read_text())


def load(result: Result) -> tuple[dict, list[Scored], np.ndarray | None]:
    """What the result is about, its scores, and its target if there is one."""
    about = _about(result)
    with np.load(result.folder / "scores.npz", allow_pickle=False) as arrays:
        models = [
            Scored(
                value=arrays[f"value{i}"],
                std=arrays[f"std{i}"],
                probabilities=arrays[f"probabilities{i}"],
                **model,
            )
            for i, model in enumerate(about["models"])
        ]
        target = arrays["target"] if "target" in arrays else None
    return about, models, target


def columns(result: Result) -> dict[str, np.ndarray]:
    """The table of scores: one row a frame and model; numbers, and the name of the model."""
    about, models, target = load(result)
    parts: list[dict[str, np.ndarray]] = []
    for scored in models:
        T = len(scored.value)
        low, high = scored.interval()
        part = {
            "frame_index": np.arange(T),
            "timestamp": np.arange(T) / about["fps"],
            "model": np.full(T, scored.name, object),
            "value": scored.value,
            "value_std": scored.std,
            "value_q10": low.astype(np.float32),
            "value_q90": high.astype(np.float32),
        }
        seconds = scored.seconds_to_success(about["success"])
        if seconds is not None:
            part["seconds_to_success"] = seconds
        if target is not None:
            part["target"] = target.astype(np.float32)
        parts.append(part)
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def curve_of(result: Result) -> Curve:
    """The result as the package's pictures and videos know it: of its first model."""
    about, models, target = load(result)
    scored = models[0]
    images = np.stack(list(read_video(result.folder / about["videos"][0])))
    thumbnails, frames = pick_thumbnails(images)
    horizon = max(1, round(HORIZON_SECONDS * about["fps"]))
    advantage, _, positive = episode_advantages(
        scored.value,
        horizon,
        success=about["success"],
        scale=scored.scale_steps,
        v_min=scored.v_min,
        positive_fraction=POSITIVE_FRACTION,
    )
    return Curve(
        episode_index=about["episode"],
        task=about["task"],
        success=about["success"],
        fps=about["fps"],
        value=scored.value,
        probabilities=scored.probabilities,
        target=target,
        scale_seconds=scored.scale_seconds,
        thumbnails=thumbnails,
        thumbnail_frames=frames,
        v_min=scored.v_min,
        v_max=scored.v_max,
        positive=positive,
        advantage=advantage,
    )


def read_video(path: Path, widest: int = 320) -> Iterator[np.ndarray]:
    """Frames of a video that this app has made, uint8 [3, H, W], no wider than `widest`."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            scale = min(1.0, widest / frame.width)
            width, height = round(frame.width * scale), round(frame.height * scale)
            yield frame.reformat(width, height, "rgb24").to_ndarray().transpose(2, 0, 1)


# -- the files ---------------------------------------------------------------------------------------------


def _csv(result: Result, path: Path) -> None:
    table = columns(result)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table)
    for row in zip(*(array.tolist() for array in table.values()), strict=True):
        writer.writerow([_cell(cell) for cell in row])
    path.write_text(text.getvalue(), encoding="utf-8")


def _cell(cell: object) -> object:
    """Numbers with seven digits; empty where there is none."""
    if not isinstance(cell, float):
        return cell
    return "" if math.isnan(cell) else f"{cell:.7g}"


def _parquet(result: Result, path: Path) -> None:
    about, models, _ = load(result)
    table = pa.table({name: pa.array(array, from_pandas=True) for name, array in columns(result).items()})
    if len({scored.probabilities.shape[1] for scored in models}) == 1:
        together = np.concatenate([scored.probabilities for scored in models])
        flat = pa.array(together.reshape(-1))
        table = table.append_column(
            "distribution", pa.FixedSizeListArray.from_arrays(flat, together.shape[1])
        )
    metadata = {"task": about["task"], "fps": str(about["fps"]), "models": json.dumps(about["models"])}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def _picture(result: Result, path: Path) -> None:
    plot_curve(curve_of(result), path)


def _overlay(result: Result, path: Path) -> None:
    about = _about(result)
    cameras = dict(zip(about["cameras"], about["videos"], strict=True))
    frames = {name: read_video(result.folder / file, widest=640) for name, file in cameras.items()}
    write_overlay(curve_of(result), frames, path)


MAKERS = {
    "scores.csv": _csv,
    "scores.parquet": _parquet,
    "curve.png": _picture,
    "curve.svg": _picture,
    "overlay.mp4": _overlay,
}
