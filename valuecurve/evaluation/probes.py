"""Shortcut probes: what is left of a model's forecast when one thing that it sees is taken away or replaced?

    shuffled_images       pictures of another episode of the same task, at the same share of its length
                          (of another task where it is the only episode of its task)
    swapped_instruction   the instruction of another task
    reversed_frames       the episode's pictures in reverse order: frame t shows the picture of frame T - t

Everything else of a frame stays as it is: target, state, and whichever of pictures and text is not replaced.
What a probe says in words follows from its numbers by the rules in `finding`, which leaves to the reader
what is good: a model of one task may well ignore its instruction.
"""

from dataclasses import dataclass, field

import numpy as np

from ..episodes import EpisodeDataset
from ..scoring import shuffled_between_episodes
from .subject import Subject

NAMES = {
    "shuffled_images": "Images shuffled",
    "swapped_instruction": "Instruction swapped",
    "reversed_frames": "Frames reversed",
}
LITTLE, MOST = 0.25, 0.75  # where "little" ends and "most" begins (ours)
NO_MOVE = 0.005  # value units: one bin of 201. A mean change below it is none


@dataclass
class Probe:
    """What a probe puts in place of the frames' own pictures or words; n frames.

    `undefined` says why it cannot be made here, in words.
    """

    name: str
    shown: np.ndarray | None = None  # int64 [n], rows
    said: dict[str, str] = field(default_factory=dict)  # task -> another task's text
    undefined: str | None = None


def make_probes(subject: Subject, seed: int = 0) -> list[Probe]:
    """The three probes of the evaluated frames."""
    dataset, rows = subject.job.dataset, subject.evaluated.rows
    probes = []
    if len(subject.job.episodes) < 2:
        probes.append(Probe("shuffled_images", undefined="one episode alone has no pictures of another one"))
    else:
        probes.append(Probe("shuffled_images", shown=shuffled_between_episodes(dataset, rows, seed)))
    probes.append(swapped_instruction(subject))
    probes.append(Probe("reversed_frames", shown=reversed_rows(dataset, rows)))
    return probes


def swapped_instruction(subject: Subject) -> Probe:
    """Every task gets the text of the next one, of all tasks that the checkpoint and these frames know."""
    job, view = subject.job, subject.evaluated.view
    here = {view.tasks[index] for index in np.unique(view.task_index).tolist()}
    known = sorted(here | set(job.checkpoint.processor.scales))
    if len(known) < 2:
        reason = f"{known[0]!r} is the only task that is known: there is no other text to give"
        return Probe("swapped_instruction", undefined=reason)
    following = dict(zip(known, [*known[1:], known[0]], strict=True))
    return Probe("swapped_instruction", said={task: following[task] for task in here})


def reversed_rows(dataset: EpisodeDataset, rows: np.ndarray) -> np.ndarray:
    """For every row t of an episode the row T - t, int64 [n]."""
    place = np.searchsorted(dataset.starts, rows, side="right") - 1
    return dataset.starts[place] + dataset.lengths[place] - 1 - dataset.frame_index[rows]


# -- what they show ----------------------------------------------------------------------------------------


def changes(values: np.ndarray, probed: np.ndarray) -> dict[str, float]:
    """How a probe moved the values [n]: `mean_change`, the mean of |probed - value|, in value units."""
    return {"mean_change": float(np.mean(np.abs(probed - values)))}


def changes_of_reversal(
    values: np.ndarray, probed: np.ndarray, lengths: np.ndarray, pairs: bool = False
) -> dict[str, float]:
    """`changes` of reversed frames in episodes of these lengths [E], and `same_picture_change`.

    Frame t of the reversed episode shows the picture of frame T - t, and comes with the state of frame t. So

        mean_change          mean of |v'(t) - v(t)|       same state, another picture
        same_picture_change  mean of |v'(t) - v(T - t)|   same picture, another state

    A model that reads nothing but pictures of single frames has a same_picture_change of 0; one that reads
    nothing but the state has a mean_change of 0. Of a model of pairs, which compares with the first picture
    shown, the value of the same picture is v(T - t) - v(T).
    """
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    first = last - np.repeat(lengths, lengths) + 1
    expected = values[first + last - np.arange(len(values))] - (values[last] if pairs else 0.0)
    return changes(values, probed) | {"same_picture_change": float(np.mean(np.abs(probed - expected)))}


def finding(
    name: str, metrics: dict[str, dict[str, float]], moved: dict[str, float], has_state: bool = True
) -> str:
    """What a probe shows, in a sentence or two.

    Args:
        name: key of `NAMES`.
        metrics: by forecast, with "skill" (see `skill_of`).
        moved: `changes` (`changes_of_reversal`) of this probe.
        has_state: whether the prompts hold the state.
    """
    before, after = metrics["model"], metrics[name]
    if name == "reversed_frames":
        return _reversed_finding(before, after, moved, has_state)
    what = "pictures of other episodes" if name == "shuffled_images" else "the instruction of another task"
    seen = "the pictures of this very episode" if name == "shuffled_images" else "the instruction"
    if moved["mean_change"] < NO_MOVE:
        return f"With {what} the values hardly move ({moved['mean_change']:.3f}): the model ignores {seen}."
    numbers = (
        f"With {what} the values move by {moved['mean_change']:.3f} on average, and the CRPS goes from "
        f"{before['crps']:.3f} to {after['crps']:.3f}"
    )
    if not before.get("skill", 0) > 0:
        return f"{numbers}. The model had no skill over the constant forecast to lose."
    kept = after["skill"] / before["skill"]
    if kept <= 0:
        return f"{numbers}: worse than the constant forecast. The skill depends on {seen}."
    words = "little" if kept < LITTLE else "part" if kept < MOST else "most"
    end = {
        "little": f"the skill depends on {seen}",
        "part": f"some of the skill does not depend on {seen}",
        "most": f"most of the skill does not depend on {seen}",
    }[words]
    return f"{numbers}: {kept:.0%} of the skill is left, so {end}."


def _reversed_finding(
    before: dict[str, float], after: dict[str, float], moved: dict[str, float], has_state: bool
) -> str:
    picture, state = moved["same_picture_change"], moved["mean_change"]
    order = (
        f"Order correlation in successes is {_signed(before.get('voc_success'))} forwards and "
        f"{_signed(after.get('voc_success'))} with the pictures in reverse, and the values move by "
        f"{state:.3f} on average"
    )
    if max(picture, state) < NO_MOVE:
        return f"{order}: they hardly move at all."
    if not has_state:
        return f"{order}. The prompt holds no state, so the pictures are all that tells frames apart."
    order += f"; with the picture kept and the state of frame T - t instead they move by {picture:.3f}"
    share = picture / (picture + state)
    if share < LITTLE:
        return f"{order}: the value follows what the picture shows, backwards as well."
    if share > MOST:
        return f"{order}: the value follows the state in the prompt, and hardly the picture."
    return f"{order}: the value follows both the picture and the state."


def _signed(number: float | None) -> str:
    return "undefined" if number is None or np.isnan(number) else f"{number:+.2f}".replace("-", "−")


def skill_of(metrics: dict[str, float], reference: dict[str, float] | None) -> float:
    """1 - CRPS / CRPS of the constant forecast: 1 is perfect, 0 no better than it; nan without one."""
    if reference is None or not reference["crps"] > 0:
        return float("nan")
    return 1.0 - metrics["crps"] / reference["crps"]
