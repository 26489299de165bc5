"""The figures of a report: PNG and SVG beside each other, on light paper."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..labels.making import Labelling
from . import pictures
from .choosing import choose_episodes, failure_kind
from .curves import Curve, thumbnail_frames
from .evaluating import Evaluation
from .figures import plot_curves

FILM = 7  # frames over the curve of one episode
KINDS = (".png", ".svg")


def episode_curve(found: Evaluation, position: int, thumbnails: int = 5) -> Curve:
    """The curve of an evaluated episode, with its target, advantages and positive frames.

    `thumbnails` of its frames, as the model sees them, from its first camera.
    """
    job, frames = found.subject.job, found.subject.evaluated
    view, (v_min, v_max) = frames.view, found.support
    mine = slice(int(view.starts[position]), int(view.starts[position] + view.lengths[position]))
    task = view.tasks[int(view.episode_tasks[position])]
    scale, processor = job.scales.get(task), job.checkpoint.processor
    labels = found.labelling.table.slice(mine.start, mine.stop - mine.start) if found.labelling else None
    threshold, horizon = _thresholds(found.labelling, mine)
    pictures_shown, at = _thumbnails(found, frames.rows[mine], thumbnails)
    return Curve(
        episode_index=int(view.episode_ids[position]),
        task=task,
        success=bool(frames.outcomes.success[position]),
        fps=view.fps,
        value=found.values["model"][mine],
        probabilities=found.probabilities[mine],
        target=frames.targets[mine],
        scale_seconds=scale / (processor.fps or view.fps) if scale else None,
        thumbnails=pictures_shown,
        thumbnail_frames=at,
        failure_kind=failure_kind(view, position),
        positive=labels["positive"].to_numpy() if labels is not None else None,
        advantage=labels["advantage"].to_numpy() if labels is not None else None,
        threshold=threshold,
        horizon=horizon,
        v_min=v_min,
        v_max=v_max,
    )


def _thresholds(labelling: Labelling | None, mine: slice) -> tuple[np.ndarray | None, int | None]:
    """The thresholds of these frames [T], and the horizon of their labels in frames."""
    if labelling is None:
        return None, None
    levels = [labelling.settings["thresholds"].get(name, np.nan) for name in labelling.groups]
    return np.array(levels)[labelling.group[mine]], labelling.settings["horizon"]


def _thumbnails(found: Evaluation, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    if not count:
        return np.zeros((0, 3, 1, 1), np.uint8), np.zeros(0, np.int64)
    at = thumbnail_frames(len(rows), count)
    return found.store.gather(found.subject.job.cameras[0].key, rows[at]), at


def draw_figures(found: Evaluation, folder: Path) -> dict[str, dict[str, str]]:
    """Draw everything into a folder: {name: {"png" and "svg": file names, "caption"}}, in order."""
    model, frames = found.reports["model"], found.subject.evaluated
    positions = choose_episodes(frames.view, frames.outcomes.success)
    chosen = [episode_curve(found, position) for position in positions]
    every = [episode_curve(found, position, thumbnails=0) for position in range(len(frames.view.lengths))]
    reliability, elapsed = model.curves["reliability"], model.curves["auroc_over_elapsed"]
    drawn: dict[str, tuple[str, Callable[[Path], object]]] = {
        "curves": (
            "Value curves of evaluated episodes, chosen by their data alone: the predicted value, the middle "
            "80% of the predicted distribution, the target (dashed), and frames that are labelled positive"
            f"{_ahead(found)}.",
            lambda path: plot_curves(chosen, path),
        ),
    }
    for outcome in (True, False):
        position = next((p for p in positions if frames.outcomes.success[p] == outcome), None)
        if position is not None:
            word = "success" if outcome else "failure"
            drawn |= _of_episode(episode_curve(found, position, FILM), word)
    drawn |= {
        "small_multiples": (
            "All evaluated episodes, task by task.",
            lambda path: pictures.plot_small_multiples(every, path),
        ),
        "predicted_against_target": (
            "Predicted value against target, all evaluated frames.",
            lambda path: pictures.plot_predicted_against_target(found.values["model"], frames.targets, path),
        ),
        "reliability": (
            "Reliability: how often the target lies below the predicted quantile of each level.",
            lambda path: pictures.plot_reliability(reliability["levels"], reliability["observed"], path),
        ),
    }
    if np.isfinite(elapsed["auroc"]).any():
        drawn["auroc_over_elapsed"] = (
            "How well the value tells successes from failures, by the share of the episode that has passed; "
            "95% interval.",
            lambda path: pictures.plot_auroc_over_elapsed(
                elapsed["shares"], elapsed["auroc"], path, interval=_interval(elapsed)
            ),
        )
    return {name: _draw(folder, name, caption, draw) for name, (caption, draw) in drawn.items()}


def _ahead(found: Evaluation) -> str:
    horizon = found.labelling.settings["horizon"] if found.labelling else None
    return f", by advantages {horizon} frames ahead" if horizon else ""


def _of_episode(curve: Curve, word: str) -> dict[str, tuple[str, Callable[[Path], object]]]:
    which = f"Episode {curve.episode_index}, a {word}"
    return {
        f"curve_{word}": (
            f"{which}: value, target, advantage with its threshold, and frames that are labelled positive.",
            lambda path: pictures.plot_curve(curve, path),
        ),
        f"heat_map_{word}": (
            f"{which}: the predicted distribution over time.",
            lambda path: pictures.plot_heat_map(curve, path),
        ),
    }


def _interval(curve: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    return (curve["low"], curve["high"]) if np.isfinite(curve["low"]).any() else None


def _draw(folder: Path, name: str, caption: str, draw: Callable[[Path], object]) -> dict[str, str]:
    for kind in KINDS:
        draw(folder / f"{name}{kind}")
    return {kind[1:]: f"{name}{kind}" for kind in KINDS} | {"caption": caption}
