"""What the page and the API both do: an episode and the names of models in, a payload for the player out."""

import os
import re
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zero
from analysis import make_payload, score, size_of
from checkpoints import Checkpoints
from decoding import Episode, Progress, Request, forget, nobody_leaves, read_episode
from limits import LEFT, Limits, VisitorError, clean_task
from results import Result, Results

from valuecurve.episodes import open_dataset, resolve_outcomes
from valuecurve.training import ConfigError

EXAMPLES = Path(__file__).parent / "examples"
SAMPLE = "metaworld_push"  # which dataset they are of
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[A-Za-z0-9][\w./-]{0,95})?")


@dataclass
class Example:
    """A shipped episode: `id` is its episode index, as text."""

    id: str
    task: str
    success: bool
    failure: str | None
    seconds: float
    source: int  # its number in the sample dataset

    @property
    def outcome(self) -> str:
        return "Success" if self.success else f"Failure: {(self.failure or 'not known').replace('_', ' ')}"


@dataclass
class Analysed:
    """What was found: the payload, notes for the visitor, and where downloads are."""

    payload: dict
    notes: list[str]
    result: Result


@dataclass
class Service:
    """The app without its page."""

    checkpoints: Checkpoints
    results: Results
    limits: Limits = field(default_factory=Limits)
    dtype: str = field(default_factory=lambda: os.environ.get("VALUECURVE_DTYPE", "auto"))

    def __post_init__(self) -> None:
        self.examples = read_examples()
        zero.CHECKPOINTS[:] = [self.checkpoints]
        self._shown: dict[tuple, Analysed] = {}
        self._locks: dict[tuple, threading.Lock] = {}
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Load the first checkpoint while nobody waits for it."""

        def load() -> None:
            try:
                self.checkpoints.load(self.checkpoints.names[0])
            except ConfigError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)

        threading.Thread(target=load, name="warm up", daemon=True).start()

    def example(self, identity: str, models: list[str], progress: Progress) -> Analysed:
        """A shipped episode; computed once for everybody.

        Raises:
            VisitorError: no such example, or no such model.
        """
        known = [example.id for example in self.examples]
        if identity not in known:
            raise VisitorError(
                f"There is no example {str(identity)[:40]!r}: choose one of {', '.join(known)}."
            )
        key = (identity, *self.checkpoints.check(models))
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._shown:
                request = Request(dataset=str(EXAMPLES), name=SAMPLE, episode=int(identity))
                number = self.examples[known.index(identity)].source
                self._shown[key] = self._analyse(request, None, list(key[1:]), None, progress, number)
            return self._shown[key]

    def upload(
        self,
        files: list[str],
        task: str | None,
        models: list[str],
        session: str,
        progress: Progress,
        state: str | None = None,
        fps: float | None = None,
        episode: int | None = None,
        gone: Callable[[], bool] = nobody_leaves,
    ) -> Analysed:
        """Uploaded videos or a zip. `gone`: whether the visitor has left.

        Raises:
            VisitorError: what is wrong with them; the visitor has left.
        """
        files = [file for file in files or [] if file]
        if not files:
            raise VisitorError("Nothing was uploaded: choose a video for each camera, or a zip.")
        self.results.uses(session, [*files, *([state] if state else [])])
        missing = [file for file in [*files, *([state] if state else [])] if not Path(file).is_file()]
        if missing:
            raise VisitorError(f"{Path(missing[0]).name} is no longer here: upload it again.")
        size = sum(Path(file).stat().st_size for file in files)
        if size > self.limits.upload_mb * 1e6:
            raise VisitorError(
                f"The upload has {size / 1e6:.0f} MB, at most {self.limits.upload_mb:.0f} MB are read: send "
                "one "
                "short episode."
            )
        if fps is not None and fps and not 0.1 <= fps <= 240:
            raise VisitorError(
                f"{fps:g} frames a second: it must be between 0.1 and 240. Leave it empty if unsure."
            )
        request = Request(files=files, state=state, fps=fps or None, episode=whole_number(episode))
        return self._analyse(request, task, models, session, progress, gone=gone)

    def hub(
        self,
        dataset: str,
        episode: int | None,
        models: list[str],
        session: str,
        progress: Progress,
        gone: Callable[[], bool] = nobody_leaves,
    ) -> Analysed:
        """An episode of a public dataset of the Hub. `gone`: whether the visitor has left.

        Raises:
            VisitorError: no such dataset or episode; the visitor has left.
        """
        name = (dataset or "").strip().removeprefix("https://huggingface.co/datasets/").rstrip("/")
        if not HUB_NAME.fullmatch(name) or ".." in name:
            raise VisitorError(
                "That is no dataset of the Hub: write organisation/name, for example lerobot/pusht, and if "
                "you "
                "like @ and a revision."
            )
        request = Request(dataset=name, episode=whole_number(episode))
        return self._analyse(request, None, models, session, progress, gone=gone)

    def _analyse(
        self,
        request: Request,
        task: str | None,
        models: list[str],
        session: str | None,
        progress: Progress,
        number: int | None = None,
        gone: Callable[[], bool] = nobody_leaves,
    ) -> Analysed:
        """The work itself. `number`: what the episode is called, if not by its index."""
        progress = while_here(progress, gone)
        names = self.checkpoints.check(models)
        has_own_task = bool(request.dataset) or any(file.lower().endswith(".zip") for file in request.files)
        if not has_own_task or (task and task.strip()):
            task = clean_task(task, self.limits)
        progress(0.0, "Getting the model ready")
        try:
            loaded = [self.checkpoints.load(name) for name in names]
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            raise VisitorError(
                "The model cannot be loaded at the moment: try another one, or later."
            ) from error
        result, work = self.results.create(session), self.results.work()
        try:
            sizes = [size_of(checkpoint) for checkpoint in loaded]
            progress(0.05, "Opening the episode")
            episode = read_episode(
                request, work, result.folder, sizes, self.limits, part(progress, 0.05, 0.5), gone
            )
            text = decide_task(episode, task, self.limits)
            episode.episode = episode.episode if number is None else number
            notes, scored = list(episode.notes), []
            for number, (name, checkpoint) in enumerate(zip(names, loaded, strict=True)):
                step = part(progress, 0.5 + 0.5 * number / len(names), 0.5 + 0.5 * (number + 1) / len(names))
                if zero.is_needed():
                    one, more = zero.score_there(name, episode, text, self.dtype)
                else:
                    one, more = score(name, checkpoint, episode, text, self.dtype, step)
                scored.append(one)
                notes += [note for note in more if note.replace(name, names[0]) not in notes]
            if scored[0].scale_steps is None and checkpoint_tasks(loaded[0]):
                known = ", ".join(f"“{known}”" for known in checkpoint_tasks(loaded[0])[:4])
                notes.append(
                    f"{names[0]} was not trained on this task (it knows {known}): do not trust its values."
                )
            payload = make_payload(secrets.token_hex(4), result.url, episode, text, scored)
            result.save(episode, text, scored, payload["target"])
            return Analysed(payload, notes, result)
        except BaseException:
            self.results.drop(result.token)
            raise
        finally:
            forget(work)


def decide_task(episode: Episode, task: str | None, limits: Limits) -> str:
    """The task: what the visitor says it is, or what the dataset says, which may change inside an episode."""
    if episode.tasks and not (task and task.strip()):
        return " → ".join(dict.fromkeys(episode.tasks[i] for i in episode.task_index.tolist()))[:1000]
    episode.tasks, episode.task_index = {}, np.zeros_like(episode.task_index)
    return clean_task(task, limits)


def checkpoint_tasks(checkpoint) -> list[str]:
    """Tasks that a checkpoint was trained on, if it says so."""
    return sorted(checkpoint.processor.scales)


def whole_number(number: float | None) -> int:
    """An episode index; 0 when none is given."""
    if number is None:
        return 0
    if not 0 <= number < 1e9 or number != int(number):  # NaN is in no range
        raise VisitorError(f"The episode is a whole number, 0 or more, not {number:g}.")
    return int(number)


def while_here(progress: Progress, gone: Callable[[], bool]) -> Progress:
    """Progress that raises VisitorError, and so ends the work, once the visitor has left."""

    def show(share: float, text: str) -> None:
        if gone():
            raise VisitorError(LEFT)
        progress(share, text)

    return show


def part(progress: Progress, begin: float, end: float) -> Progress:
    """Progress of a part of the work, from `begin` to `end` of the whole."""
    return lambda share, text: progress(begin + share * (end - begin), text)


def read_examples() -> list[Example]:
    """The shipped episodes."""
    dataset = open_dataset(EXAMPLES)
    success = resolve_outcomes(dataset).success
    kinds = dataset.episodes["failure_kind"].to_pylist()
    return [
        Example(
            id=str(dataset.episode_ids[i]),
            task=dataset.tasks[dataset.episode_tasks[i]],
            success=bool(success[i]),
            failure=kinds[i],
            seconds=float(dataset.lengths[i] / dataset.fps),
            source=int(dataset.episodes["source_episode"][i].as_py()),
        )
        for i in range(len(success))
    ]
