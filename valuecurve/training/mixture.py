"""Several sources in one batch: frames of several datasets by weight, and questions at a given ratio.

An index says what it means: a frame row is 0 or more, question q is -1 - q.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ..processing_value import TokenRows
from .data import RobotCollator
from .questions import Questions, QuestionStream


class MixtureSampler(Sampler[int]):
    """One epoch of indices, the same for the same seed and epoch.

    Frames: as many as the parts have together; each part gives its share by `weights` (default: by its size),
    without repetition until it is used up, then in another order. Questions are spread evenly between them,
    so that every stretch of B indices, and so every batch, holds `question_ratio` * B of them to within one.

    Args:
        part_rows: frame rows of each part.
        weights: relative share of each part, or None.
        questions: how many questions there are; None for a stream, whose questions are taken one after the
            other, through all epochs.
        question_ratio: share of questions among all indices, in [0, 1).
        seed: of the order.
    """

    def __init__(
        self,
        part_rows: list[np.ndarray],
        weights: list[float] | None = None,
        questions: int | None = 0,
        question_ratio: float = 0.0,
        seed: int = 0,
    ):
        self.part_rows, self.questions, self.ratio = part_rows, questions, question_ratio
        self.seed, self.epoch = seed, 0
        self.frames = sum(map(len, part_rows))
        self.length = round(self.frames / (1 - question_ratio))
        shares = np.array([len(rows) for rows in part_rows] if weights is None else weights, np.float64)
        ends = np.round(np.cumsum(shares / shares.sum()) * self.frames).astype(np.int64)
        self.counts = np.diff(ends, prepend=0)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices(self.epoch).tolist())

    def indices(self, epoch: int) -> np.ndarray:
        """All indices of one epoch, int64 `[length]`."""
        random = np.random.default_rng([self.seed, epoch])
        frames = random.permutation(
            np.concatenate(
                [
                    rows[_draw(len(rows), count, random)]
                    for rows, count in zip(self.part_rows, self.counts, strict=True)
                ]
            )
        )
        asked = self.length - len(frames)
        if not asked:
            return frames
        steps = np.arange(self.length + 1) * asked // self.length
        is_question = np.diff(steps) > 0
        if self.questions is None:
            questions = epoch * asked + np.arange(asked)
        else:
            questions = _draw(self.questions, asked, random)
        mixed = np.empty(self.length, np.int64)
        mixed[~is_question] = frames
        mixed[is_question] = -1 - questions
        return mixed


def _draw(size: int, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` numbers below `size`: one permutation after the other."""
    rounds = -(-count // size) if count else 0
    return np.concatenate([np.zeros(0, np.int64), *(random.permutation(size) for _ in range(rounds))])[:count]


class Indices(Dataset):
    """A dataset whose rows are the sampler's own indices; the collator knows what they mean."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: list[int]) -> np.ndarray:
        return np.asarray(indices, np.int64)


class MixedCollator:
    """Indices `[B]` of frames and questions to one batch; the frames come first.

    As `RobotCollator`'s, with NaN as `value_targets` of questions and `labels` `[B, S]` of their answers.
    """

    def __init__(self, robot: RobotCollator, questions: Questions | QuestionStream):
        self.robot, self.questions = robot, questions

    def __call__(self, indices) -> dict[str, torch.Tensor]:
        indices = np.asarray(indices, np.int64)
        asked = -1 - indices[indices < 0]
        frames = self.robot.look_up(indices[indices >= 0])
        questions = self.questions.batch(asked)
        is_frame = np.arange(len(indices)) < len(indices) - len(asked)
        nothing = TokenRows(np.zeros(0, np.int32), np.zeros(is_frame.sum() + 1, np.int64))
        batch = self.robot.processor.assemble(
            TokenRows.concatenate([frames.prompts, questions.prompts]),
            images_per_row=np.concatenate([frames.images_per_row, questions.images_per_row]),
            value_token=is_frame,
            answers=TokenRows.concatenate([nothing, questions.answers]),
        )
        pixels = questions.pixel_values
        batch["pixel_values"] = torch.cat([torch.from_numpy(frames.pixel_values), pixels])
        targets = np.full(len(asked), np.nan, np.float32)
        batch["value_targets"] = torch.from_numpy(np.concatenate([frames.value_targets, targets]))
        batch["is_wrist"] = torch.from_numpy(np.concatenate([frames.is_wrist, np.zeros(len(pixels), bool)]))
        images = np.arange(len(batch["pixel_values"]))
        images[: len(frames.image_groups)] = frames.image_groups
        batch["image_groups"] = torch.from_numpy(images)
        return batch
