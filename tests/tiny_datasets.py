"""Tiny real LeRobot datasets for tests: real h264 mp4 files, real parquet, v3.0 and v2.1.

Every picture says which frame it shows: its upper half holds the episode and its lower half the frame, as
eight black or white bars (bits, most significant first). `read_bars` reads them back after codec and resize.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.stream import VideoStream
from PIL import Image

TOP, WRIST = "observation.images.top", "observation.images.wrist"
CHUNK = 1000  # episodes per folder (v2.1)


@dataclass
class Tiny:
    """What to make. `columns` adds frame columns [N], `metadata` adds episode columns [E]."""

    lengths: Sequence[int] = (12, 7, 9, 10, 8, 11)
    tasks: Sequence[str] = ("push the puck", "open the drawer")
    episode_tasks: Sequence[int] = ()  # task of each episode; alternating when empty
    success: Sequence[bool] = ()  # every third episode fails when empty
    outcome: str | None = "next.success"  # frame column for the outcome; None writes none
    cameras: dict[str, tuple[int, int]] = field(default_factory=lambda: {TOP: (48, 64), WRIST: (64, 48)})
    image_cameras: tuple[str, ...] = ()  # of `cameras`: stored in parquet
    fps: int = 10
    state_size: int = 3
    files: int = 2  # data and video files (v3.0)
    version: str = "v3.0"
    gop: int = 10
    columns: dict[str, list] = field(default_factory=dict)
    metadata: dict[str, list] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.episode_tasks:
            self.episode_tasks = [i % len(self.tasks) for i in range(len(self.lengths))]
        if not self.success:
            self.success = [i % 3 != 2 for i in range(len(self.lengths))]


def make_dataset(root: Path, **options) -> Path:
    """Write a dataset with the given `Tiny` options into `root`, and return it."""
    tiny = Tiny(**options)
    frames = _frame_table(tiny)
    (root / "meta").mkdir(parents=True, exist_ok=True)
    if tiny.version == "v3.0":
        _write_v30(root, tiny, frames)
    else:
        _write_v21(root, tiny, frames)
    _write_info(root, tiny)
    return root


def bars(episode: int, frame: int, height: int, width: int) -> np.ndarray:
    """The picture of a frame, uint8 [height, width, 3]."""
    bits = np.array([[value >> bit & 1 for bit in range(7, -1, -1)] for value in (episode, frame)])
    columns = np.minimum(np.arange(width) * 8 // width, 7)
    lines = (np.arange(height) * 2 // height).clip(0, 1)
    gray = np.where(bits[lines[:, None], columns[None, :]] == 1, 220, 30)
    return np.repeat(gray[:, :, None], 3, axis=2).astype(np.uint8)


def read_bars(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(episode, frame) that each picture [n, 3, H, W] shows."""
    n, _, height, width = images.shape
    gray = images.mean(axis=1)
    centres = ((np.arange(8) + 0.5) * width / 8).astype(int)
    upper = gray[:, height // 4, :][:, centres] > 125
    lower = gray[:, height * 3 // 4, :][:, centres] > 125
    weights = 2 ** np.arange(7, -1, -1)
    return upper @ weights, lower @ weights


def write_video(
    path: Path,
    images: Sequence[np.ndarray],
    fps: int,
    gop: int = 10,
    movflags: str = "",
    codec: str = "libx264",
) -> None:
    """Encode pictures [H, W, 3], by default as h264, with reordered (B) frames as encoders make them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"g": str(gop), "crf": "18"}
    if codec == "libx264":  # its AVX-512 code writes other bytes each time on some processors
        options["x264-params"] = "asm=0"
    with av.open(str(path), "w", container_options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def edit_json(path: Path, **changes) -> None:
    """Change top-level keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_parquet(path: Path, name: str, change) -> None:
    """Replace a column of a parquet file by `change(list of its values)`."""
    table = pq.read_table(path)
    column = pa.array(change(table[name].to_pylist()))
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


def _frame_table(tiny: Tiny) -> pa.Table:
    lengths = np.asarray(tiny.lengths)
    episode = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    last = frame == np.repeat(lengths, lengths) - 1
    generator = np.random.default_rng(0)
    state = generator.normal(size=(len(frame), tiny.state_size)).astype(np.float32)
    columns = {
        "action": pa.array(list(state)),
        "timestamp": pa.array((frame / tiny.fps).astype(np.float32)),
        "frame_index": pa.array(frame),
        "episode_index": pa.array(episode),
        "index": pa.array(np.arange(len(frame))),
        "task_index": pa.array(np.repeat(tiny.episode_tasks, lengths)),
    }
    if tiny.state_size:
        columns["observation.state"] = pa.array(list(state))
    if tiny.outcome:
        columns[tiny.outcome] = pa.array(last & np.repeat(tiny.success, lengths))
    for key in tiny.image_cameras:
        size = tiny.cameras[key]
        columns[key] = pa.array(
            [
                {"bytes": _png(bars(e, f, *size)), "path": None}
                for e, f in zip(episode.tolist(), frame.tolist(), strict=True)
            ]
        )
    columns.update({name: pa.array(values) for name, values in tiny.columns.items()})
    return pa.table(columns)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def _pictures(tiny: Tiny, key: str, episodes: Sequence[int]) -> list[np.ndarray]:
    return [bars(e, f, *tiny.cameras[key]) for e in episodes for f in range(tiny.lengths[e])]


def _video_keys(tiny: Tiny) -> list[str]:
    return [key for key in tiny.cameras if key not in tiny.image_cameras]


def _write_v30(root: Path, tiny: Tiny, frames: pa.Table) -> None:
    groups = np.array_split(np.arange(len(tiny.lengths)), tiny.files)
    starts = np.cumsum(tiny.lengths) - np.asarray(tiny.lengths)
    rows = []
    for file, group in enumerate(groups):
        begin, count = int(starts[group[0]]), int(sum(tiny.lengths[e] for e in group))
        path = root / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(frames.slice(begin, count), path)
        for key in _video_keys(tiny):
            path = root / f"videos/{key}/chunk-000/file-{file:03d}.mp4"
            write_video(path, _pictures(tiny, key, group.tolist()), tiny.fps, tiny.gop)
        for e in group.tolist():
            since = (int(starts[e]) - begin) / tiny.fps
            row = {
                "episode_index": e,
                "tasks": [tiny.tasks[tiny.episode_tasks[e]]],
                "length": tiny.lengths[e],
                "data/chunk_index": 0,
                "data/file_index": file,
                "stats/action/mean": [0.0],
            }
            for key in _video_keys(tiny):
                row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"] = 0, file
                row[f"videos/{key}/from_timestamp"] = since
                row[f"videos/{key}/to_timestamp"] = since + tiny.lengths[e] / tiny.fps
            rows.append({**row, **{name: values[e] for name, values in tiny.metadata.items()}})
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    index = pa.array(range(len(tiny.tasks)), pa.int64())
    pq.write_table(pa.table({"task_index": index, "task": list(tiny.tasks)}), root / "meta/tasks.parquet")


def _write_v21(root: Path, tiny: Tiny, frames: pa.Table) -> None:
    begin = 0
    rows = []
    for e, length in enumerate(tiny.lengths):
        path = root / f"data/chunk-{e // CHUNK:03d}/episode_{e:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(frames.slice(begin, length), path)
        begin += length
        for key in _video_keys(tiny):
            path = root / f"videos/chunk-{e // CHUNK:03d}/{key}/episode_{e:06d}.mp4"
            write_video(path, _pictures(tiny, key, [e]), tiny.fps, tiny.gop)
        row = {"episode_index": e, "tasks": [tiny.tasks[tiny.episode_tasks[e]]], "length": length}
        rows.append({**row, **{name: values[e] for name, values in tiny.metadata.items()}})
    _write_jsonl(root / "meta/episodes.jsonl", rows)
    tasks = [{"task_index": i, "task": task} for i, task in enumerate(tiny.tasks)]
    _write_jsonl(root / "meta/tasks.jsonl", tasks)


def _write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_info(root: Path, tiny: Tiny) -> None:
    features: dict = {}
    for key, (height, width) in tiny.cameras.items():
        kind = "image" if key in tiny.image_cameras else "video"
        names = ["height", "width", "channels"]
        features[key] = {"dtype": kind, "shape": [height, width, 3], "names": names}
    if tiny.state_size:
        names = ["x", "y", "z"] if tiny.state_size == 3 else None
        features["observation.state"] = {"dtype": "float32", "shape": [tiny.state_size], "names": names}
    features["action"] = {"dtype": "float32", "shape": [tiny.state_size], "names": None}
    if tiny.outcome:
        features[tiny.outcome] = {"dtype": "bool", "shape": [1], "names": None}
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        kind = "float32" if name == "timestamp" else "int64"
        features[name] = {"dtype": kind, "shape": [1], "names": None}
    if tiny.version == "v3.0":
        data = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        video = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    else:
        data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        video = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    info = {
        "codebase_version": tiny.version,
        "robot_type": "test",
        "total_episodes": len(tiny.lengths),
        "total_frames": int(sum(tiny.lengths)),
        "total_tasks": len(tiny.tasks),
        "chunks_size": CHUNK,
        "fps": tiny.fps,
        "splits": {"train": f"0:{len(tiny.lengths)}"},
        "data_path": data,
        "video_path": video if _video_keys(tiny) else None,
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(info, indent=2))
