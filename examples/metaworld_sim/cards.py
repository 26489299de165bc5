"""The two dataset cards and their picture strips, filled in from what was collected."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from .rollout import Episode
from .scene import FPS, TASK_TEXTS

STRIP_FRAMES = 8
TEMPLATES = Path(__file__).parent


def write_push_card(root: Path, episodes: list[Episode], size: int, command: str) -> None:
    """README.md from the collected episodes."""
    lengths = np.array([len(episode) for episode in episodes])
    success = np.array([episode.script.success for episode in episodes])
    skills = Counter(episode.script.skill for episode in episodes)
    text = _template("push_card").format(
        episodes=len(episodes),
        successes=success.sum(),
        failures=(~success).sum(),
        minutes=lengths.sum() / FPS / 60,
        fps=FPS,
        size=size,
        megabytes=folder_size(root) / 1e6,
        captions="; ".join(_caption(episode) for episode in shown(episodes)),
        table=_outcome_table(episodes),
        skills=", ".join(f"{skill} ({count})" for skill, count in skills.most_common()),
        shortest=lengths.min(),
        longest=lengths.max(),
        median=np.median(lengths),
        auroc=_auroc(lengths, ~success),
        command=command,
        citation=_template("citation"),
    )
    (root / "README.md").write_text(text, encoding="utf-8")


def write_vqa_card(root: Path, rows: dict[str, list[dict]], size: int, command: str) -> None:
    """README.md from the rows of each split."""
    everything = [row for split in rows.values() for row in split]
    turns = [turn for row in everything for turn in row["texts"]]
    text = _template("vqa_card").format(
        rows=len(everything),
        train=len(rows["train"]),
        validation=len(rows["validation"]),
        turns=len(turns),
        size=size,
        megabytes=folder_size(root) / 1e6,
        table=_topics(turns),
        command=command,
        citation=_template("citation"),
    )
    (root / "README.md").write_text(text, encoding="utf-8")


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.md").read_text(encoding="utf-8")


def folder_size(root: Path) -> int:
    """Bytes."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def shown(episodes: list[Episode]) -> list[Episode]:
    """A success and two failures of push, a success and a failure of the drawer: the strip's rows."""
    wanted = (("push", ""), ("push", "missed_grasp"), ("push", "drop"), ("drawer", ""), ("drawer", "drift"))
    found = {(episode.task, episode.script.failure): episode for episode in reversed(episodes)}
    return [found[key] for key in wanted if key in found]


def write_strip(path: Path, rows: list[np.ndarray]) -> None:
    """Rows of pictures, each uint8 [n, H, W, 3], as one WebP."""
    lines = [np.concatenate(list(pictures), axis=1) for pictures in rows]
    Image.fromarray(np.concatenate(lines)).save(path, quality=70, method=6)


def spread(pictures: np.ndarray) -> np.ndarray:
    """`STRIP_FRAMES` of [T, H, W, 3], first to last."""
    return pictures[np.linspace(0, len(pictures) - 1, STRIP_FRAMES).round().astype(int)]


def _caption(episode: Episode) -> str:
    return f"{episode.task}: {episode.script.failure.replace('_', ' ') or 'success'}"


def outcomes(episodes: list[Episode]) -> list[tuple[str, ...]]:
    """Task, outcome, episodes, frames and lengths of each group, successes first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for episode in episodes:
        groups.setdefault((TASK_TEXTS[episode.task], episode.script.failure), []).append(len(episode))
    return [
        (task, failure or "success", str(len(own)), str(sum(own)), f"{min(own)} … {max(own)}")
        for (task, failure), own in sorted(groups.items())
    ]


def _outcome_table(episodes: list[Episode]) -> str:
    lines = ["| task | outcome | episodes | frames | lengths |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(cells)} |" for cells in outcomes(episodes)])


def _auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive scores higher than a negative, ties counting half."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean()) if above.size else float("nan")


TOPICS = {  # part of a question -> what it is about; the first that fits
    "grid": "cell of an 8 by 8 grid",
    "relative": "puck relative to goal",
    "gripper from": "distances in cm",
    "puck from": "distances in cm",
    "distance": "distances in cm",
    "partly": "drawer's state",
    "state of": "drawer's state",
    "fully": "drawer fully open",
    "all the way": "drawer fully open",
    "drawer open": "drawer opening in cm",
    "left or right": "left or right of the gripper",
    "What is left": "what is left or right",
    "What is right": "what is left or right",
    "open or closed": "gripper open or closed",
    "task": "the task",
    "robot to do": "the task",
    "goal": "puck at the goal",
    "handle": "held",
    "in the gripper": "held",
    "between": "held",
    "high": "height of the gripper in cm",
}


def _topic(question: str) -> str:
    return next(topic for part, topic in TOPICS.items() if part in question)


def _topics(turns: list[dict]) -> str:
    answers: dict[str, Counter] = {}
    for turn in turns:
        answers.setdefault(_topic(turn["user"]), Counter())[turn["assistant"]] += 1
    lines = []
    for topic, counts in sorted(answers.items(), key=lambda item: -item[1].total()):
        common = ", ".join(f"{answer} ({count})" for answer, count in counts.most_common(4))
        lines.append(f"| {topic} | {counts.total()} | {common} |")
    return "\n".join(lines)
