"""A step for LeRobot's policy preprocessors: the indicator in the task text, straight from `labels.parquet`.

In training every frame's task gets the indicator of its label ("push the puck\\nAdvantage: positive"), but
for a share of them, which keep the task as it is (dropout); at inference the indicator is always positive. So
one labelled dataset serves pi0, pi05 and smolvla, and its tasks need not be rewritten.

    policy_preprocessor.json:  [this step] -> rename -> batch -> newline -> tokenizer -> device -> normalizer

A batch with frame indices is training, an observation without them inference. Needs lerobot, and of this
package the text of the indicator only: it works where `pip install --no-deps valuecurve` or PYTHONPATH put
it.

    python -m valuecurve.policy_step CHECKPOINT --labels LABELS.parquet --output FOLDER

Source: RECAP (pi*0.6), section V-B: advantage conditioning with dropout. LeRobot 0.6: src/lerobot/processor.
"""

import argparse
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from lerobot.processor import ComplementaryDataProcessorStep, ProcessorStepRegistry

from valuecurve.advantages import TEMPLATES, indicator_text

CLASS = "valuecurve.policy_step.AdvantageIndicatorStep"
UNLABELLED = -1


@ProcessorStepRegistry.register(name="valuecurve_advantage_indicator")
@dataclass
class AdvantageIndicatorStep(ComplementaryDataProcessorStep):
    """Adds the indicator to `task`; anywhere before the steps that end it with a new line or tokenize it.

    Args:
        labels: `labels.parquet` of the dataset that is trained on; at inference it is not read.
        dropout: share of the training frames whose task stays as it is, in [0, 1].
        template: text with {task} and {indicator}, or a preset of `advantages.TEMPLATES`.

    Raises:
        ValueError: a batch with frames that have no label, or that belong to other episodes in the labels.
    """

    labels: str | None = None
    dropout: float = 0.3
    template: str = "default"
    _positive: np.ndarray | None = field(default=None, init=False, repr=False)  # int8, by frame index
    _episode: np.ndarray | None = field(default=None, init=False, repr=False)  # int64, by frame index

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must be between 0 and 1, got {self.dropout}")
        indicator_text("task", True, self.template)  # a template that cannot be filled in fails here

    def complementary_data(self, complementary_data: dict[str, Any]) -> dict[str, Any]:
        """The data of a batch (lists, tensors [B]) or of one observation, with its task conditioned."""
        task = complementary_data.get("task")
        if task is None:
            return complementary_data
        tasks = [task] if isinstance(task, str) else list(task)
        if complementary_data.get("index") is None:
            texts = [indicator_text(text, True, self.template) for text in tasks]
        else:
            positive = self._look_up(complementary_data)
            kept = (torch.rand(len(tasks)) >= self.dropout).tolist()
            texts = [
                indicator_text(text, bool(flag), self.template) if keep else text
                for text, flag, keep in zip(tasks, positive, kept, strict=True)
            ]
        return {**complementary_data, "task": texts[0] if isinstance(task, str) else texts}

    def get_config(self) -> dict[str, Any]:
        """What policy_preprocessor.json keeps."""
        return {"labels": self.labels, "dropout": self.dropout, "template": self.template}

    def transform_features(self, features):
        """Features stay as they are."""
        return features

    def _look_up(self, data: dict[str, Any]) -> np.ndarray:
        """Indicator of every frame of a batch, int8 [B]."""
        positive, episodes = self._read()
        index = torch.as_tensor(data["index"]).reshape(-1).cpu().numpy()
        inside = (index >= 0) & (index < len(positive))
        known = inside & (positive[np.where(inside, index, 0)] != UNLABELLED)
        if not known.all():
            raise ValueError(
                f"{self.labels} has no label for the frame with index {index[~known][0]}: label all "
                "episodes, or train on the labelled ones (--dataset.episodes)"
            )
        if data.get("episode_index") is not None:
            episode = torch.as_tensor(data["episode_index"]).reshape(-1).cpu().numpy()
            if (episodes[index] != episode).any():
                at = int(np.flatnonzero(episodes[index] != episode)[0])
                raise ValueError(
                    f"{self.labels} is of another dataset: the frame with index {index[at]} is in its "
                    f"episode {episodes[index[at]]}, in the batch it is in episode {episode[at]}"
                )
        return positive[index]

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """Indicator and episode by frame index; read once, when the first training batch comes."""
        if self._positive is None or self._episode is None:
            if self.labels is None or not Path(self.labels).is_file():
                raise FileNotFoundError(
                    f"no labels at {self.labels}: training needs the labels.parquet of its dataset (the key "
                    "'labels' of this step in policy_preprocessor.json)"
                )
            table = pq.read_table(self.labels, columns=["index", "episode_index", "positive"])
            index = table["index"].to_numpy()
            self._positive = np.full(int(index.max()) + 1, UNLABELLED, np.int8)
            self._episode = np.full(len(self._positive), UNLABELLED, np.int64)
            self._positive[index] = table["positive"].to_numpy()
            self._episode[index] = table["episode_index"].to_numpy()
        return self._positive, self._episode


# A saved pipeline names the class by its import path instead of its registered name: so it loads where
# nothing has imported this module before, in lerobot-train, lerobot-eval or lerobot-record.
AdvantageIndicatorStep._registry_name = None  # type: ignore[attr-defined]


def add_indicator(preprocessor, step: AdvantageIndicatorStep):
    """Put the step in front of a LeRobot preprocessor, and return that."""
    if any(isinstance(known, AdvantageIndicatorStep) for known in preprocessor.steps):
        raise ValueError("the preprocessor adds an indicator already")
    preprocessor.steps = [step, *preprocessor.steps]
    return preprocessor


def add_to_checkpoint(
    checkpoint: Path, output: Path, labels: Path, dropout: float = 0.3, template: str = "default"
) -> Path:
    """A copy of a policy's folder whose preprocessor adds the indicator; large files are hard-linked.

    Args:
        checkpoint: folder with policy_preprocessor.json and the weights.
        output: folder to make, for `lerobot-train --policy.path`.
        labels, dropout, template: as of `AdvantageIndicatorStep`.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: no preprocessor or labels; an output that is there; a
            preprocessor that adds an indicator already.
    """
    name = "policy_preprocessor.json"
    for path in (checkpoint / name, labels):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
    if output.resolve().is_relative_to(checkpoint.resolve()):
        raise ValueError(
            f"the output {output} lies inside the checkpoint {checkpoint}; choose another folder"
        )
    missing = {"index", "episode_index", "positive"}.difference(pq.read_schema(labels).names)
    if missing:
        raise ValueError(f"{labels} holds no labels: it has no column {min(missing)!r}")
    pipeline = json.loads((checkpoint / name).read_text(encoding="utf-8"))
    if any(step.get("class") == CLASS for step in pipeline["steps"]):
        raise ValueError(f"{checkpoint / name} adds an indicator already")
    step = AdvantageIndicatorStep(str(labels.resolve()), dropout, template)
    pipeline["steps"].insert(0, {"class": CLASS, "config": step.get_config()})
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose another folder")
    temporary = output.with_name(f"{output.name}.tmp-{os.getpid()}")
    try:
        shutil.copytree(checkpoint, temporary, copy_function=_link_or_copy)
        (temporary / name).write_text(json.dumps(pipeline, indent=2) + "\n", encoding="utf-8")
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".safetensors"):
        try:
            os.link(os.path.realpath(source), target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a LeRobot policy train on indicators.")
    parser.add_argument("checkpoint", type=Path, help="folder of a policy, with policy_preprocessor.json")
    parser.add_argument(
        "--labels", type=Path, required=True, help="labels.parquet of the dataset to train on"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--dropout", type=float, default=0.3, help="share of frames without an indicator (0.3)"
    )
    parser.add_argument("--template", default="default", help=f"text, or one of {', '.join(TEMPLATES)}")
    args = parser.parse_args()
    try:
        made = add_to_checkpoint(args.checkpoint, args.output, args.labels, args.dropout, args.template)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(f"{made}: train it with lerobot-train --policy.path {made}")


if __name__ == "__main__":
    main()
