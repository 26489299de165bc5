"""Scoring a dataset: by any number of processes, which may be killed and started again.

Each process takes a part that nobody has taken, scores it and renames its file into place. The main process
stays until all parts are there, takes over those of processes that died, and completes the manifest.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from filelock import FileLock

from ..episodes import DatasetError, EpisodeDataset
from ..episodes.progress import frame_bar
from .checkpoint import Checkpoint
from .claims import Claims, is_finished
from .forward import Forward
from .job import Job, Settings
from .passes import PairResults, Results, Values, ahead, score_frames, score_pairs
from .pictures import CameraThreads, Part
from .scores import (
    check_dataset,
    is_sound,
    part_path,
    read_manifest,
    tag_folder,
    write_manifest,
    write_part,
    writing,
)

FAILED = b"failed_episodes"  # in the metadata of a part file: lines of "episode message"
WAIT = 0.2  # seconds between two looks at parts that other processes work on
LOOK = 2.0  # seconds between two counts of what other processes have finished, for the progress bar


@dataclass
class Summary:
    """What a run leaves: the folder, and the episodes that could not be read, with the reasons."""

    folder: Path
    manifest: dict
    frames: int  # that went through the model now: in the main process those of all, else this one's
    seconds: float

    @property
    def failed(self) -> dict[int, str]:
        return {int(episode): text for episode, text in self.manifest["scores"]["failed_episodes"].items()}


def score_dataset(
    checkpoint: Checkpoint,
    dataset: EpisodeDataset,
    tag: str,
    values: str | Path | None = None,
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: bool = False,
    threads: int | None = None,
) -> Summary:
    """Score the frames of a dataset, or go on where an earlier run with the same settings was interrupted.

    Args:
        values: folder of all tags; `values` below the dataset when None.
        overwrite: remove what is there under this tag first, labels too.
        threads: forward passes at a time on a CPU; torch's number of threads when None.

    Raises:
        DatasetError, ConfigError: what cannot be scored, or written. An episode whose video cannot be read is
            none: the others are scored, and `Summary.failed` names it.
    """
    state = PartialState(
        cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    )
    device = torch.device(state.device or "cpu")
    if device.type == "cpu":
        device = torch.device("cpu")  # to "cpu:0" weights would be copied; sums depend on where they lie
    threads = (threads or torch.get_num_threads()) if device.type == "cpu" else 1
    job = Job(dataset, checkpoint, settings or Settings(), device)
    folder = tag_folder(dataset, tag, values)
    if state.is_main_process:
        try:
            _begin(folder, job, overwrite)
        finally:
            state.wait_for_everyone()  # they would wait in vain for a process that is gone
    else:
        state.wait_for_everyone()
        _begin(folder, job, overwrite=False)
    todo = [part for part in job.parts if not is_finished(folder, part)]
    began = time.monotonic()
    total = sum(len(part.rows) for part in todo)
    with (
        single_threaded(),
        frame_bar("scoring", total, progress and state.is_main_process) as advance,
        Forward(
            checkpoint, device, job.dtype, threads, job.settings.quantiles, job.settings.distribution
        ) as forward,
    ):
        count = _Count(folder, todo, advance)
        while todo:
            _score_parts(folder, job, forward, todo, count)
            count.look()
            todo = [part for part in todo if not is_finished(folder, part)] if state.is_main_process else []
            if todo:
                time.sleep(WAIT)  # others are at work on them
    manifest = _complete(folder, job) if state.is_main_process else read_manifest(folder)
    scored = total if state.is_main_process else count.own
    return Summary(folder, manifest, scored, time.monotonic() - began)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Torch uses one thread for each operation: those that wait for the next one would spin meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Count:
    """Frames done by this process and by others, for the progress bar."""

    def __init__(self, folder: Path, parts: list[Part], advance: Callable[[int], None]):
        self.folder, self.parts, self.advance = folder, parts, advance
        self.mine: set[int] = set()
        self.own = self.shown = 0
        self.looked = time.monotonic()

    def __call__(self, frames: int) -> None:
        self.own += frames
        self.shown += frames
        self.advance(frames)
        if time.monotonic() - self.looked > LOOK:
            self.look()

    def look(self) -> None:
        others = [part for part in self.parts if part.number not in self.mine]
        done = self.own + sum(len(part.rows) for part in others if is_finished(self.folder, part))
        self.advance(max(0, done - self.shown))
        self.shown, self.looked = max(done, self.shown), time.monotonic()


# -- beginning and end -------------------------------------------------------------------------------------


def _begin(folder: Path, job: Job, overwrite: bool) -> None:
    """Make the manifest, or see that what is there is of the same run; parts that are damaged are removed."""
    if not overwrite:
        _check_same(folder, _read(folder), job)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if overwrite:
                _remove_scores(folder, labels=True)
            manifest = _read(folder)
            if not manifest.get("scores"):
                _remove_scores(folder)
                write_manifest(folder, manifest | job.manifest())
                return
            failed = {int(episode) for episode in manifest["scores"]["failed_episodes"]}
            for part in job.parts:  # the files of a failed episode may have been copied anew
                path = part_path(folder, part.number)
                if path.is_file() and (failed.intersection(part.episodes) or not is_sound(path)):
                    path.unlink()
            if not all(is_finished(folder, part) for part in job.parts):
                write_manifest(folder, manifest | {"scores": job.manifest()["scores"]})


def _read(folder: Path) -> dict:
    """The manifest, or an empty one."""
    return read_manifest(folder) if (folder / "manifest.json").is_file() else {}


def _remove_scores(folder: Path, labels: bool = False) -> None:
    """Remove the scores of a tag, and with `labels` all that was made of them."""
    shutil.rmtree(folder / "scores", ignore_errors=True)
    if labels:
        for name in ("labels.parquet", "labels.png", "manifest.json"):
            (folder / name).unlink(missing_ok=True)


def _check_same(folder: Path, manifest: dict, job: Job) -> None:
    """Raises DatasetError when what is there is of other data, another checkpoint or other settings."""
    if manifest:
        check_dataset(folder, manifest, job.dataset)
    seen, wanted = manifest.get("scores"), job.manifest()["scores"]
    if not seen:
        return
    names = [name for name in {**seen, **wanted} if name not in ("failed_episodes", "complete")]
    differences = [
        f"{name} {_short(seen.get(name))}, now {_short(wanted.get(name))}"
        for name in names
        if seen.get(name) != wanted.get(name)
    ]
    if differences:
        raise DatasetError(
            f"{folder} is there already, made differently ({'; '.join(differences)}). Choose another --tag, "
            "or replace it, and labels made of it, with --overwrite"
        )


def _short(value: object, width: int = 60) -> str:
    text = str(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _complete(folder: Path, job: Job) -> dict:
    """Complete the manifest, now that all parts are there, and tidy up."""
    failed = {}
    for part in job.parts:
        metadata = pq.read_schema(part_path(folder, part.number)).metadata or {}
        for line in metadata.get(FAILED, b"").decode().splitlines():
            episode, message = line.split(" ", 1)
            failed[episode] = message
    manifest = read_manifest(folder)
    scores = manifest["scores"] | {"failed_episodes": failed, "complete": True}
    if scores != manifest["scores"]:
        manifest["scores"] = scores
        write_manifest(folder, manifest)
    killed = [*(folder / "scores").glob(".part-*"), *folder.glob(".manifest.json.*.tmp")]
    for left_over in [folder / ".lock", *killed]:
        left_over.unlink(missing_ok=True)
    return manifest


# -- parts -------------------------------------------------------------------------------------------------


def _score_parts(folder: Path, job: Job, forward: Forward, parts: list[Part], count: _Count) -> None:
    """Score those of the parts that no other process has taken."""
    processor, settings = job.checkpoint.processor, job.settings
    score = score_pairs if job.pairs else score_frames

    def finish(number: int, part: Part, results: Results | PairResults, failed: dict[int, str]) -> None:
        rows, values = results.all()
        write_part(part_path(folder, part.number), part_table(job, part, rows, values, failed))
        claims.release(number)

    with Claims(folder, parts) as claims:
        if claims.get(0) is None:
            return
        # on a CPU decoders share the cores with the forward passes; beside an accelerator they have them all
        threads = max(1, forward.threads // len(job.cameras)) if job.device.type == "cpu" else 0
        with CameraThreads(
            job.dataset, job.cameras, claims.get, processor.image_size, processor.resample, threads
        ) as cameras:
            number, last = 0, None
            while (part := claims.get(number)) is not None:
                count.mine.add(part.number)
                failed: dict[int, str] = {}
                results = score(forward, job, cameras.batches(part, settings.batch_size, failed), count)
                if last:  # no sooner, so that no core waits for the end of a part
                    finish(*last)
                last = number, part, results, failed
                number += 1
            if last:
                finish(*last)


def part_table(job: Job, part: Part, rows: np.ndarray, values: Values, failed: dict[int, str]) -> pa.Table:
    """What is written of a part: all frames of its episodes but the failed ones; frames that were passed over
    are interpolated linearly between their neighbours."""
    dataset = job.dataset
    read = ~np.isin(dataset.episode_index[rows], list(failed))
    rows, values = rows[read], {name: array[read] for name, array in values.items()}
    kept = dataset.episode_rows([episode for episode in part.episodes if episode not in failed])
    columns: dict[str, np.ndarray] = {
        "index": dataset.frames["index"].to_numpy()[kept] if "index" in dataset.frames.column_names else kept,
        "episode_index": dataset.episode_index[kept],
        "frame_index": dataset.frame_index[kept],
    }
    columns |= {name: interpolate(kept, rows, array) for name, array in values.items()}
    if job.pairs and len(kept):
        value = columns["absolute_value"]
        later = np.searchsorted(kept, job.partners(kept))
        columns["absolute_advantage"] = ahead(job, kept, value[later] - value)
    for name in job.columns if not len(kept) else ():
        columns.setdefault(name, _no_values(job, name))
    arrays = {name: _column(columns[name]) for name in job.columns}
    lines = "\n".join(f"{episode} {' '.join(text.split())}" for episode, text in sorted(failed.items()))
    return pa.table(arrays, metadata={FAILED: lines.encode()})


def interpolate(rows: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values float32 [n, …] at ascending rows [n], linear between those at known rows, which enclose them."""
    if np.array_equal(rows, known):
        return values
    right = np.searchsorted(known, rows)
    left = np.where(known[right] == rows, right, right - 1)
    share = (rows - known[left]) / np.maximum(known[right] - known[left], 1)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (values[left] + share * (values[right].astype(np.float64) - values[left])).astype(np.float32)


def _no_values(job: Job, name: str) -> np.ndarray:
    """A column without rows, of the shape that it would have."""
    bins = job.checkpoint.model.config.num_bins
    widths = {"quantiles": (len(job.settings.quantiles),), "distribution": (bins,)}
    return np.zeros((0, *widths.get(name, ())), np.float32)


def _column(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
