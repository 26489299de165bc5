"""Questions about pictures as training batches: the second kind of row, beside robot frames.

A row is one question, its images and its answer; a conversation of several turns is several rows. Texts are
tokenised once, images are decoded when a batch is made (in the data loader's workers).

    questions = load_questions("examples/metaworld_vqa", processor)
    questions.batch(np.array([5, 0, 7]))    # QuestionBatch; the robot's rows come from data.RobotCollator
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, IterableDataset

from ..episodes import DatasetError
from ..processing_value import TokenRows, ValueProcessor, resize_images
from .question_sources import (
    CHUNK,
    Source,
    Turn,
    check_images,
    image_counts,
    images_of,
    is_held_out,
    is_lerobot,
    load_image,
    open_lerobot,
    open_source,
    read_images,
    turns_of,
    unreadable_source,
)

STREAM_CHUNK = 32  # records of a stream that are held at a time: their images are in memory
logger = logging.getLogger(__name__)


@dataclass
class QuestionBatch:
    """n questions: what `ValueProcessor.assemble` needs, and their images.

    pixel_values: uint8 `[I, 3, S, S]`, I = sum of `images_per_row` (may be 0), in the order of the rows.
    images_per_row: int64 `[n]`; 0 for a question without image.
    prompts, answers: token ids of n texts; an answer closes with the end token, unless it was cut.
    """

    pixel_values: torch.Tensor
    images_per_row: np.ndarray
    prompts: TokenRows
    answers: TokenRows


@dataclass
class Limits:
    """What a row may hold (the numbers are assumptions).

    Rows with more images or a longer question are left out, since what would be missing may be what is asked
    about; a longer answer is cut, without an end token.
    """

    images: int = 4
    question_tokens: int = 512
    answer_tokens: int = 128


@dataclass
class Rows:
    """Tokenised rows: the record `[n]` of each, its images `[n]`, texts `[n]` and what kind it is `[n]`."""

    record: np.ndarray
    images_per_row: np.ndarray
    prompts: TokenRows
    answers: TokenRows
    kind: np.ndarray  # of str

    def __len__(self) -> int:
        return len(self.record)

    def __getitem__(self, rows: np.ndarray) -> "Rows":
        texts = self.prompts[rows], self.answers[rows]
        return Rows(self.record[rows], self.images_per_row[rows], *texts, self.kind[rows])

    @classmethod
    def concatenate(cls, parts: list["Rows"]) -> "Rows":
        return cls(
            np.concatenate([part.record for part in parts]),
            np.concatenate([part.images_per_row for part in parts]),
            TokenRows.concatenate([part.prompts for part in parts]),
            TokenRows.concatenate([part.answers for part in parts]),
            np.concatenate([part.kind for part in parts]),
        )


def load_questions(
    place: str | Path,
    processor: ValueProcessor,
    split: str = "train",
    layout: str | None = None,
    *,
    images: str | Path | None = None,
    held_out: float = 0.1,
    limits: Limits | None = None,
    streaming: bool = False,
    episodes: Sequence[int] | None = None,
    cache_dir: str | Path | None = None,
) -> "Questions | QuestionStream":
    """Questions of a source, ready to be batched.

    Args:
        place: folder, file or dataset of the Hub ("name" or "name:configuration"); see question_sources.py.
        processor: gives tokens, image size and interpolation.
        split: "train" or "held_out". A source's own splits are used (held out: its validation or test split);
            one that has none is split by picture: none is in both, and a row whose pictures fall apart is in
            neither.
        layout: "cauldron", "llava", "vqav2", "flat" or "lerobot"; found by columns and files when None.
        images: folder of the images that the source names; found beside it when None.
        held_out: share of the pictures that are held out, for a source without splits of its own.
        limits: how large a row may be.
        streaming: read while training; see `QuestionStream`.
        episodes: those of a LeRobot dataset to use, instead of a split made here: the training episodes of
            the robot data, for instance.
        cache_dir: where copies of the data are kept.

    Raises:
        DatasetError: no such source, an unknown layout, images that are not there, or no row that is left.
    """
    limits = limits or Limits()
    if layout == "lerobot" or (layout is None and is_lerobot(place)):
        if streaming:
            raise DatasetError(
                f"{place}: a LeRobot dataset cannot be streamed: its frames are in a frame store."
            )
        source = open_lerobot(place, processor.image_size, processor.resample, episodes, cache_dir)
    else:
        source = open_source(place, split, layout, images, streaming, cache_dir)
    share = 0.0 if source.splits else held_out
    part = Part(split, share)
    if isinstance(source.rows, IterableDataset):
        return QuestionStream(source, processor, part, limits)
    check_images(source)
    return Questions(source, processor, part, limits)


@dataclass
class Part:
    """Which records of a source are meant: all of them when `share`, the held-out share of pictures, is 0."""

    split: str
    share: float

    def keeps(self, source: Source, images: list, turns: list[Turn]) -> bool:
        if not self.share:
            return True
        keys = images or [turns[0].question if turns else ""]  # without a picture, by the question
        return all(is_held_out(source, key, self.share) == (self.split == "held_out") for key in keys)


class Questions:
    """Rows of a local source, by number.

    kind: what the source says each row is about, `[n]` of str ("" when it says nothing).
    left_out: how many rows of the source are not among them, by reason.
    """

    def __init__(self, source: Source, processor: ValueProcessor, part: Part, limits: Limits):
        assert isinstance(source.rows, Dataset)
        self.source, self.processor = source, processor
        self.left_out: Counter[str] = Counter()
        counts, parts = image_counts(source), []
        texts = source.rows.select_columns([n for n in source.rows.column_names if n != source.image_column])
        for start in range(0, len(texts), CHUNK):
            records = np.arange(start, min(start + CHUNK, len(texts)))
            try:
                rows = texts[start : start + CHUNK]
            except ValueError as error:  # no UTF-8
                raise unreadable_source(source.place, error) from error
            columns = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
            turns = [
                turns_of(row, source.layout, source.where(record))
                for record, row in zip(records.tolist(), columns, strict=True)
            ]
            if part.share:
                pairs = zip(read_images(source, records), turns, strict=True)
                chosen = np.flatnonzero([part.keeps(source, images, own) for images, own in pairs])
                records, turns = records[chosen], [turns[i] for i in chosen]
            parts.append(make_rows(records, counts[records], turns, processor, limits, self.left_out))
        report(self.left_out, source.place)
        if not any(map(len, parts)):
            raise DatasetError(f"{source.place} has no questions for the {part.split} split.")
        self.rows = Rows.concatenate(parts)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kind(self) -> np.ndarray:
        return self.rows.kind

    def batch(self, indices) -> QuestionBatch:
        """The rows `indices` `[n]`, in their order; a picture that several of them share is decoded once."""
        rows = self.rows[np.asarray(indices, np.int64)]
        records, place = np.unique(rows.record, return_inverse=True)
        pictures = [
            prepare_images(self.source, images, self.source.where(int(record)), self.processor)
            for record, images in zip(records, read_images(self.source, records), strict=True)
        ]
        return make_batch(rows, [pictures[i] for i in place], self.processor)


class QuestionStream:
    """Rows of a streamed source, numbered by their place in it: 0, 1, 2, … and on into the next pass.

    The same numbers always give the same rows, in every worker and process. Reading goes forward: numbers
    that are skipped cost reading, but no decoding of images; going back starts over from the first row. It
    has no length.
    """

    def __init__(self, source: Source, processor: ValueProcessor, part: Part, limits: Limits):
        self.source, self.processor, self.part, self.limits = source, processor, part, limits
        self.left_out: Counter[str] = Counter()
        self._start_over()

    def __getstate__(self) -> dict:
        """A worker reads for itself, from the beginning."""
        return self.__dict__ | {"_chunks": None, "_chunk": None, "_position": 0}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start_over()

    def batch(self, indices) -> QuestionBatch:
        """The rows `indices` `[n]`, in their order."""
        indices = np.asarray(indices, np.int64)
        wanted, place = np.unique(indices, return_inverse=True)
        if len(wanted) and wanted[0] < self._position:
            self._start_over()
        parts, pictures = [], []
        while len(wanted):
            rows, images = self._chunk
            inside = wanted[wanted < self._position + len(rows)] - self._position
            if len(inside):
                some = rows[inside]
                parts.append(some)
                pictures += self._open(some, images)
                wanted = wanted[len(inside) :]
            if len(wanted):
                self._position += len(rows)
                self._chunk = next(self._chunks)
        found = Rows.concatenate(parts) if parts else self._chunk[0][wanted]
        return make_batch(found[place], [pictures[i] for i in place], self.processor)

    def _open(self, rows: Rows, images: dict[int, list]) -> list[list[torch.Tensor]]:
        opened = {
            record: prepare_images(self.source, images[record], self.source.where(record), self.processor)
            for record in dict.fromkeys(rows.record.tolist())
        }
        return [opened[record] for record in rows.record.tolist()]

    def _start_over(self) -> None:
        self._position = 0  # of the first row of the chunk
        self._chunks = self._read()
        self._chunk = next(self._chunks)

    def _read(self) -> Iterator[tuple[Rows, dict[int, list]]]:
        """Chunks of rows and the images of their records, for ever."""
        assert isinstance(self.source.rows, IterableDataset)
        for passes in range(2**62):
            record, found = 0, 0
            self.left_out.clear()
            for batch in self._batches(self.source.rows):
                rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
                chunk = self._make_chunk(rows, record)
                record, found = record + len(rows), found + len(chunk[0])
                yield chunk
            if passes == 0:
                report(self.left_out, self.source.place)
            if not found:
                raise DatasetError(f"{self.source.place} has no questions for the {self.part.split} split.")

    def _batches(self, rows: IterableDataset) -> Iterator[dict[str, list]]:
        """Records, some at a time; what cannot be read is an error of the source."""
        # `iter` reads everything in every worker; plain iteration would divide the files among them
        batches = iter(rows.iter(STREAM_CHUNK))
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:  # of a damaged file, nearly any
                raise unreadable_source(self.source.place, error) from error
            yield batch

    def _make_chunk(self, rows: list[dict], first: int) -> tuple[Rows, dict[int, list]]:
        images, turns = {}, []
        for record, row in enumerate(rows, first):
            own = turns_of(row, self.source.layout, self.source.where(record))
            pictures = images_of(row.get(self.source.image_column or ""))
            if self.part.keeps(self.source, pictures, own):
                images[record] = pictures
                turns.append(own)
        records, counts = np.array(list(images), np.int64), [len(own) for own in images.values()]
        made = make_rows(
            records, np.array(counts, np.int64), turns, self.processor, self.limits, self.left_out
        )
        return made, images


# --- the parts of both -------------------------------------------------------------------------------------


def make_rows(
    records: np.ndarray,
    images: np.ndarray,
    turns: list[list[Turn]],
    processor: ValueProcessor,
    limits: Limits,
    left_out: Counter[str],
) -> Rows:
    """Tokenised rows of records `[m]` with their number of images `[m]` and turns `[m]`."""
    flat = [turn for own in turns for turn in own]
    owner = np.repeat(np.arange(len(turns)), [len(own) for own in turns])
    prompts = processor.tokenize(processor.question_prompts([turn.question for turn in flat]))
    answers = _cut(processor.tokenize_answers([turn.answer for turn in flat]), limits.answer_tokens)
    empty = np.array([not turn.question or not turn.answer for turn in flat], bool)
    crowded = ~empty & (images[owner] > limits.images)
    long = ~empty & ~crowded & (prompts.lengths > limits.question_tokens)
    for reason, mask in (
        ("empty question or answer", empty),
        (f"more than {limits.images} images", crowded),
        (f"question of more than {limits.question_tokens} tokens", long),
    ):
        if mask.any():
            left_out[reason] += int(mask.sum())
    kind = np.array([turn.kind for turn in flat], object)
    rows = Rows(records[owner], images[owner], prompts, answers, kind)
    return rows[np.flatnonzero(~(empty | crowded | long))]


def _cut(rows: TokenRows, most: int) -> TokenRows:
    """The first `most` tokens of every text."""
    lengths = rows.lengths
    if not (lengths > most).any():
        return rows
    inside = np.arange(len(rows.ids)) - np.repeat(rows.offsets[:-1], lengths)
    return TokenRows(rows.ids[inside < most], np.concatenate([[0], np.cumsum(lengths.clip(max=most))]))


def prepare_images(source: Source, images: list, where: str, processor: ValueProcessor) -> list[torch.Tensor]:
    """Decoded and resized images of one record, each uint8 `[1, 3, S, S]`."""
    decoded = [load_image(source, image, where) for image in images]
    return [resize_images(image[None], processor.image_size, processor.resample) for image in decoded]


def make_batch(rows: Rows, pictures: list[list[torch.Tensor]], processor: ValueProcessor) -> QuestionBatch:
    flat = [picture for own in pictures for picture in own]
    none = torch.zeros(0, 3, processor.image_size, processor.image_size, dtype=torch.uint8)
    return QuestionBatch(torch.cat(flat or [none]), rows.images_per_row, rows.prompts, rows.answers)


def report(left_out: Counter[str], place: Any) -> None:
    if left_out:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
        logger.warning("%s: %d questions are left out: %s.", place, left_out.total(), reasons)
