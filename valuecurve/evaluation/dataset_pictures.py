"""All pictures of a scored dataset, into a folder: what `valuecurve plot` does."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..episodes import Camera, DatasetError
from ..scoring.scores import writing
from . import pictures
from .curves import Curve
from .figures import plot_curves
from .film import film_strips
from .page import FORMATS
from .scored import Scored

OF_EPISODES = ("curve", "heat_map", "curves")
OF_ALL = ("reliability", "predicted_against_target", "auroc_over_elapsed", "small_multiples")
KINDS = (*OF_EPISODES, *OF_ALL)
FILM_FRAMES, THUMBNAILS = 7, 5  # in the picture of one episode; in that of several
MOST_CURVES = 24  # in one picture

Draw = Callable[[Path], object]


@dataclass
class Drawn:
    """Files that were written, in order, and what was left out, and why."""

    paths: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def draw_pictures(
    scored: Scored,
    output: Path,
    *,
    episodes: list[int] | None = None,
    kinds: str | None = None,
    formats: str = "png,svg",
    dark: bool = False,
    camera: Camera | None = None,
    progress: bool = True,
) -> Drawn:
    """Draw pictures of some episodes, and of the whole dataset, into a folder.

    Args:
        scored: the dataset and its scores.
        output: the folder; made where it is missing.
        episodes: to draw; None: three of each outcome.
        kinds: some of KINDS, separated by commas; None: all that the scores allow, and notes on the others.
        formats: some of png, svg, pdf, separated by commas.
        dark: on dark paper; the names end in "_dark".
        camera: of the film strip; None: without.
        progress: show a bar.

    Raises:
        DatasetError: an unknown kind or format, a kind that was asked for and cannot be drawn, an episode
            that is not scored, a video that cannot be read, a folder that cannot be written.
    """
    wanted = list(KINDS) if kinds is None else _choices("--kind", kinds, KINDS)
    suffixes = _choices("--format", formats, FORMATS)
    drawn = Drawn(notes=list(scored.notes))
    reasons = {kind: why for kind in wanted if (why := _impossible(scored, kind))}
    if kinds is not None and reasons:
        kind, why = next(iter(reasons.items()))
        raise DatasetError(f"--kind {kind}: {why}")
    for why in dict.fromkeys(reasons.values()):
        left_out = ", ".join(kind for kind, other in reasons.items() if other == why)
        drawn.notes.append(f"left out {left_out}: {why}")
    if set(wanted) & set(OF_ALL):
        shown = f"the {len(scored.view.episode_ids):,} scored episodes of the split {scored.split!r} alone"
        if scored.split is None:
            shown = (
                f"all {len(scored.view.episode_ids):,} scored episodes, among them any that the model was "
                "trained on; --split test draws test episodes alone"
            )
        drawn.notes.append(f"pictures of the whole dataset show {shown}")
    possible = [kind for kind in wanted if kind not in reasons]
    chosen = scored.choose() if episodes is None else episodes
    scored.positions(chosen)
    jobs = list(_jobs(scored, possible, chosen, dark))
    filmed = camera is not None and bool({"curve", "curves"} & set(possible))
    with _bar(progress) as bar:
        strips = _Strips(scored, camera if filmed else None, chosen, bar)
        task = bar.add_task("drawing", total=len(jobs) * len(suffixes))
        for name, draw in jobs:
            for suffix in suffixes:
                path = output / f"{name}{'_dark' if dark else ''}.{suffix}"
                with writing(output, "--output"):
                    draw(path, strips)
                drawn.paths.append(path)
                bar.advance(task)
    return drawn


def _choices(option: str, text: str, known: tuple[str, ...]) -> list[str]:
    chosen = [piece.strip() for piece in text.split(",")]
    for piece in chosen:
        if piece not in known:
            near = difflib.get_close_matches(piece, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DatasetError(f"{option} must be some of {', '.join(known)}, got {piece!r}{hint}")
    return list(dict.fromkeys(chosen))


def _impossible(scored: Scored, kind: str) -> str | None:
    """Why a kind cannot be drawn; None where it can."""
    if kind in ("heat_map", "reliability") and scored.distributions is None:
        return f"{scored.scores.folder} holds no distributions; score with --distribution"
    if kind in ("reliability", "predicted_against_target") and scored.targets is None:
        return "targets need outcomes and a model of returns"
    if kind == "auroc_over_elapsed" and scored.success is None:
        return "it needs outcomes"
    if kind == "auroc_over_elapsed" and scored.success is not None and len(np.unique(scored.success)) < 2:
        return "it needs successes and failures, and all scored episodes have one outcome"
    return None


class _Strips:
    """Film strips of the chosen episodes, decoded once, when the first is asked for."""

    def __init__(self, scored: Scored, camera: Camera | None, episodes: list[int], bar: Progress):
        self.scored, self.camera, self.episodes, self.bar = scored, camera, episodes, bar
        self.found: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}

    def of(self, episode: int, count: int) -> tuple[np.ndarray, np.ndarray] | None:
        if self.camera is None:
            return None
        if count not in self.found:
            lengths = self.scored.view.lengths[self.scored.positions(self.episodes)]
            total = int(np.minimum(lengths, count).sum())
            task = self.bar.add_task("frames of the film strips", total=total)
            self.found[count] = film_strips(
                self.scored.dataset,
                self.camera,
                self.episodes,
                count,
                lambda frames: self.bar.advance(task, frames),
            )
        return self.found[count][episode]


def _jobs(
    scored: Scored, kinds: list[str], episodes: list[int], dark: bool
) -> Iterator[tuple[str, Callable[[Path, _Strips], object]]]:
    """Name of the file, and what draws it."""
    for episode in episodes:
        name = f"episode_{episode:03d}"
        if "curve" in kinds:
            yield (
                f"{name}_curve",
                lambda path, strips, episode=episode: pictures.plot_curve(
                    scored.curve(episode, strips.of(episode, FILM_FRAMES)), path, dark
                ),
            )
        if "heat_map" in kinds:
            yield (
                f"{name}_heat_map",
                lambda path, strips, episode=episode: pictures.plot_heat_map(
                    scored.curve(episode), path, dark
                ),
            )
    if "curves" in kinds:
        title = f"Value curves of {scored.dataset.key}"
        yield (
            "curves",
            lambda path, strips: plot_curves(
                [scored.curve(e, strips.of(e, THUMBNAILS)) for e in episodes[:MOST_CURVES]], path, title, dark
            ),
        )
    yield from ((kind, _of_all(scored, kind, dark)) for kind in OF_ALL if kind in kinds)


def _of_all(scored: Scored, kind: str, dark: bool) -> Callable[[Path, _Strips], object]:
    """What draws a picture of the whole dataset."""

    def draw(path: Path, strips: _Strips) -> object:
        if kind == "small_multiples":
            return pictures.plot_small_multiples(_all_curves(scored), path, dark)
        targets = scored.targets
        if kind == "predicted_against_target":
            return pictures.plot_predicted_against_target(scored.scores.value, targets, path, dark)
        curves = scored.measured
        if kind == "reliability":
            reliability = curves["reliability"]
            return pictures.plot_reliability(reliability["levels"], reliability["observed"], path, dark)
        elapsed = curves["auroc_over_elapsed"]
        known = "low" in elapsed and np.isfinite(elapsed["low"]).any()
        interval = (elapsed["low"], elapsed["high"]) if known else None
        return pictures.plot_auroc_over_elapsed(elapsed["shares"], elapsed["auroc"], path, dark, interval)

    return draw


def _all_curves(scored: Scored) -> list[Curve]:
    return [scored.curve(episode) for episode in scored.view.episode_ids.tolist()]


def _bar(shown: bool) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
