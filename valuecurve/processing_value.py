"""Frames, state and task text in; tensors out. Values in; steps and seconds to success out.

This file ships with every checkpoint. It depends on torch and transformers only. A row of the batch reads

    <image> … <image>  Task: {task}, State: {bins};  <value>            a robot frame
    <image> … <image>  Question: {question} Answer:  {answer} <eos>     a question about images

with `vision_tokens_per_image` placeholders for every image, in the order of `cameras`. In a pair of frames
(`frames_per_sample=2`) the images of the reference frame come first, then those of the frame itself. The
value token is there when the model reads it (`add_value_token`).
"""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate
from transformers import BatchFeature, ProcessorMixin

STATE_BINS = 256


def resize_images(images: torch.Tensor, size: int, resample: str = "bicubic") -> torch.Tensor:
    """Resize uint8 images `[N, 3, H, W]` to uint8 `[N, 3, size, size]`: the one resize of the project.

    Antialiased and computed on uint8; the aspect ratio is not kept, as in SigLIP's own preprocessing.
    `resample` is "bicubic" or "bilinear". Images that already have the size are returned as they are.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 [N, 3, H, W], got {images.dtype} {list(images.shape)}")
    if resample not in ("bicubic", "bilinear"):
        raise ValueError(f"resample must be 'bicubic' or 'bilinear', got {resample!r}")
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(images, size=(size, size), mode=resample, antialias=True)


def normalise_state(state: np.ndarray, q01: Sequence[float], q99: Sequence[float]) -> np.ndarray:
    """State `[N, D]` to [-1, 1] by its 1% and 99% quantiles, clamped; a constant dimension becomes 0."""
    low, high = np.asarray(q01, np.float64), np.asarray(q99, np.float64)
    span = high - low
    constant = span <= 0
    scaled = (np.asarray(state, np.float64) - low) / np.where(constant, 1.0, span) * 2 - 1
    return np.where(constant, 0.0, np.clip(scaled, -1.0, 1.0))


def state_bins(normalised: np.ndarray, bins: int = STATE_BINS) -> np.ndarray:
    """Values in [-1, 1] to bin numbers 0 … bins-1: floor((x + 1) / 2 * bins), so 0.0 becomes bins / 2."""
    return np.clip(np.floor((normalised + 1) / 2 * bins), 0, bins - 1).astype(np.int64)


class TokenRows:
    """Token ids of many texts in two arrays: `ids` flat, and `offsets` `[N + 1]` where each text starts."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray):
        self.ids, self.offsets = ids, offsets

    @classmethod
    def concatenate(cls, parts: list["TokenRows"]) -> "TokenRows":
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.ids for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: np.ndarray) -> "TokenRows":
        """The texts of `rows`, in their order; no loop over them."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return TokenRows(self.ids[np.repeat(self.offsets[rows], lengths) + inside], offsets)


class ValueProcessor(ProcessorMixin):
    """Turns robot frames and questions into the batch of `ValueModel`, and its values back into time.

    Args:
        tokenizer: a fast tokenizer that already has `image_token` and `value_token` as single tokens.
        image_size: side of the model's square input, pixels.
        resample: "bicubic" or "bilinear", as the vision backbone was trained.
        vision_tokens_per_image: placeholders for one image.
        cameras: camera names in the order in which the model sees them.
        frames_per_sample: 1, or 2 when the model judges pairs of frames.
        add_value_token: whether robot prompts end with the value token, as the readout "value_token" needs.
        image_token, value_token: the placeholder tokens.
        state_statistics: {dataset key: {"q01": [D], "q99": [D]}}, of the training data.
        scales: {task: steps that one value unit stands for}, of the training data.
        fps: frames per second of the training data (turns steps into seconds).
        fail: "floor" or "penalty", what failed episodes cost in the training targets; None: not known.
        fail_penalty: steps that the end of a failed episode cost, for "penalty".
    """

    def __init__(
        self,
        tokenizer=None,
        image_size=224,
        resample="bicubic",
        vision_tokens_per_image=256,
        cameras=None,
        frames_per_sample=1,
        add_value_token=True,
        image_token="<image_soft_token>",
        value_token="<unused0>",
        state_statistics=None,
        scales=None,
        fps=None,
        fail=None,
        fail_penalty=0.0,
        chat_template=None,
        **kwargs,
    ):
        self.image_size = image_size
        self.resample = resample
        self.vision_tokens_per_image = vision_tokens_per_image
        self.cameras = list(cameras or [])
        self.frames_per_sample = frames_per_sample
        self.add_value_token = add_value_token
        self.image_token = image_token
        self.value_token = value_token
        self.state_statistics = dict(state_statistics or {})
        self.scales = dict(scales or {})
        self.fps = fps
        self.fail = fail
        self.fail_penalty = fail_penalty
        super().__init__(tokenizer, chat_template=chat_template)
        self.image_token_id = self._token_id(image_token)
        self.value_token_id = self._token_id(value_token)

    def _token_id(self, token: str) -> int:
        token_id = self.tokenizer.convert_tokens_to_ids(token)
        if token_id is None or token_id == self.tokenizer.unk_token_id:
            raise ValueError(
                f"the tokenizer has no token {token!r}: name one of its reserved tokens instead."
            )
        return token_id

    # --- in ------------------------------------------------------------------------------------------

    def __call__(
        self,
        images=None,
        task=None,
        state=None,
        question=None,
        answer=None,
        dataset=None,
        reference_images=None,
        return_tensors="pt",
    ) -> BatchFeature:
        """One batch of robot frames (`task`, `state`) or of questions (`question`, `answer`).

        Args:
            images: one entry a row: {camera name: frame}, a list of frames, or one frame. A frame is uint8
                [H, W, 3] or [3, H, W] (array or tensor) or a PIL image. Cameras may be missing.
            task: instruction text, one a row; a single string is one row.
            state: [rows, D] in the robot's own units, or None to leave the state out of the prompt.
            question, answer: texts, one a row; without `answer` the batch is ready for `generate`.
            dataset: key of the state statistics; may be left out when there is only one.
            reference_images: for pairs of frames, the images of the earlier or later frame of the same
                episode that each row's frame is compared with; like `images`, of the same cameras.

        Returns:
            input_ids, attention_mask, token_type_ids int64 `[rows, S]`, pixel_values
            uint8 `[images, 3, size, size]`, and labels `[rows, S]` when there are answers.

        Raises:
            ValueError: for a camera or dataset that is not known, a state of the wrong size or with NaN,
                inputs of different lengths, or a frame without its reference frame.
        """
        if task is not None and question is None:
            texts = self.robot_prompts([task] if isinstance(task, str) else task, state, dataset)
        elif question is not None and task is None:
            questions = [question] if isinstance(question, str) else question
            texts = self.question_prompts(questions)
        else:
            raise ValueError("give either `task` (robot frames) or `question` (questions about images).")
        rows = self._rows_of_images(images, len(texts))
        if task is not None:
            rows = self._with_reference(rows, images, reference_images)
        elif reference_images is not None:
            raise ValueError("a question is about `images`: reference_images are for robot frames only.")
        answers = [answer] if isinstance(answer, str) else answer
        batch = self.assemble(
            self.tokenize(texts),
            images_per_row=np.array([len(row) for row in rows]),
            value_token=task is not None,
            answers=None if answers is None else self.tokenize_answers(answers),
            pad_left=question is not None and answers is None,
        )
        frames = [self._to_chw(frame) for row in rows for frame in row]
        if frames:
            resized = [resize_images(frame[None], self.image_size, self.resample) for frame in frames]
            batch["pixel_values"] = torch.cat(resized)
        return BatchFeature(batch, tensor_type=return_tensors)

    def question_prompts(self, questions: Sequence[str]) -> list[str]:
        """Prompts of questions: "Question: Is the puck at the goal? Answer:"."""
        return [f"Question: {text} Answer:" for text in questions]

    def tokenize_answers(self, answers: Sequence[str]) -> TokenRows:
        """Token ids of answers as they follow a question's prompt, each closed by the end token."""
        return self.tokenize([f" {answer}" for answer in answers], eos=True)

    def robot_prompts(self, tasks: Sequence[str], state=None, dataset: str | None = None) -> list[str]:
        """Prompts of robot frames: "Task: push the puck, State: 12 255 0 98;". `state` is [N, D] or None."""
        if state is None:
            return [f"Task: {task};" for task in tasks]
        bins = self.discretise_state(state, dataset)
        if len(bins) != len(tasks):
            raise ValueError(f"{len(tasks)} tasks but {len(bins)} states: give one state for every task.")
        return [
            f"Task: {task}, State: {' '.join(map(str, row))};"
            for task, row in zip(tasks, bins.tolist(), strict=True)
        ]

    def discretise_state(self, state, dataset: str | None = None) -> np.ndarray:
        """State `[N, D]` in the robot's own units to bin numbers `[N, D]` in 0 … 255."""
        state = np.atleast_2d(np.asarray(state, np.float64))
        statistics = self._statistics(dataset)
        if state.shape[1] != len(statistics["q01"]):
            raise ValueError(
                f"state has {state.shape[1]} dimensions, but this model was trained on "
                f"{len(statistics['q01'])}: it needs the same robot, or to be trained on this one."
            )
        if not np.isfinite(state).all():
            row = int(np.argwhere(~np.isfinite(state))[0, 0])
            raise ValueError(f"state of row {row} is not finite: {state[row].tolist()}.")
        return state_bins(normalise_state(state, statistics["q01"], statistics["q99"]))

    def _statistics(self, dataset: str | None) -> dict:
        known = self.state_statistics
        if dataset is None and len(known) == 1:
            return next(iter(known.values()))
        if dataset not in known:
            near = difflib.get_close_matches(str(dataset), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"no state statistics for dataset {dataset!r}: {hint}known: {sorted(known)}.")
        return known[dataset]

    def tokenize(self, texts: Sequence[str], eos: bool = False) -> TokenRows:
        """Token ids of texts, without padding; `eos` closes each one.

        A text that spells a special token (a task with "<image_soft_token>" in it) stays plain text.
        """
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        encoded = self.tokenizer(list(texts), **plain)["input_ids"]
        if eos:
            encoded = [[*ids, self.tokenizer.eos_token_id] for ids in encoded]
        lengths = np.fromiter((len(ids) for ids in encoded), np.int64, len(encoded))
        flat = np.fromiter((token for ids in encoded for token in ids), np.int32, lengths.sum())
        return TokenRows(flat, np.concatenate([[0], np.cumsum(lengths)]))

    def assemble(
        self,
        prompts: TokenRows,
        images_per_row: np.ndarray | int,
        value_token: bool | np.ndarray = True,
        answers: TokenRows | None = None,
        pad_left: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Rows [images | prompt | value token | answer]; no loop over rows.

        `images_per_row` and `value_token` are one for all rows or `[rows]`: robot rows end with the value
        token, if the model reads it (`add_value_token`).
        Padded on the right, or with `pad_left` on the left, as `generate` wants it.
        Returns `input_ids`, `attention_mask`, `token_type_ids` (0 prefix, 1 answer), int64 `[rows, S]`, and
        `labels` (answer tokens, -100 elsewhere) when there are answers.
        """
        value_token = value_token & self.add_value_token
        image_end = np.broadcast_to(images_per_row, len(prompts)) * self.vision_tokens_per_image
        prompt_end = image_end + prompts.lengths
        has_value = np.broadcast_to(value_token, len(prompts))
        prefix_end = prompt_end + has_value
        row_end = prefix_end + (answers.lengths if answers is not None else 0)
        column = np.arange(row_end.max())[None, :]
        if pad_left:
            column = column - (row_end.max() - row_end)[:, None]
        ids = np.full((len(prompts), column.shape[1]), self.tokenizer.pad_token_id or 0, np.int64)
        ids[(column >= 0) & (column < image_end[:, None])] = self.image_token_id
        ids[(column >= image_end[:, None]) & (column < prompt_end[:, None])] = prompts.ids
        ids[(column == prompt_end[:, None]) & has_value[:, None]] = self.value_token_id
        answered = (column >= prefix_end[:, None]) & (column < row_end[:, None])
        batch = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(
                ((column >= 0) & (column < row_end[:, None])).astype(np.int64)
            ),
            "token_type_ids": torch.from_numpy(answered.astype(np.int64)),
        }
        if answers is not None:
            ids[answered] = answers.ids
            batch["labels"] = torch.from_numpy(np.where(answered, ids, -100))
        return batch

    def _rows_of_images(self, images, rows: int) -> list[list]:
        """The frames of every row, in camera order."""
        if images is None:
            return [[] for _ in range(rows)]
        if isinstance(images, Mapping) or not isinstance(images, list | tuple):
            images = [images]
        if len(images) != rows:
            raise ValueError(f"{len(images)} rows of images but {rows} texts: give one entry for every row.")
        return [self._ordered(row) for row in images]

    def _with_reference(self, rows: list[list], images, reference_images) -> list[list]:
        """The frames of every row behind those of its reference frame, where the model judges pairs."""
        if self.frames_per_sample == 1:
            if reference_images is not None:
                raise ValueError(
                    "reference_images are for models of pairs of frames; this one judges single frames "
                    "(frames_per_sample=1): leave them out."
                )
            return rows
        if reference_images is None:
            raise ValueError(
                "this model judges pairs of frames (frames_per_sample=2): give reference_images, the frame "
                "of the same episode that each frame is compared with, for example its first."
            )
        references = self._rows_of_images(reference_images, len(rows))
        for i, (row, reference) in enumerate(zip(rows, references, strict=True)):
            names = [self._camera_names(images, i, row), self._camera_names(reference_images, i, reference)]
            if names[0] != names[1]:
                raise ValueError(
                    f"row {i}: the frame has {names[0]}, its reference frame {names[1]}: "
                    "both need the same cameras."
                )
        return [reference + row for row, reference in zip(rows, references, strict=True)]

    def _camera_names(self, images, index: int, row: list) -> str:
        """What a row holds, for comparing and for an error: its cameras, or else how many images."""
        given = images if isinstance(images, Mapping) else (images or [None])[index]
        if isinstance(given, Mapping):
            return f"cameras {[name for name in self.cameras if name in given]}"
        return f"{len(row)} images"

    def _ordered(self, row) -> list:
        if not isinstance(row, Mapping):
            return list(row) if isinstance(row, list | tuple) else [row]
        for name in row:
            if name not in self.cameras:
                short = name.removeprefix("observation.images.")
                near = difflib.get_close_matches(short, self.cameras, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"unknown camera {name!r}: {hint}this model was trained on {self.cameras}.")
        return [row[name] for name in self.cameras if name in row]

    def _to_chw(self, frame) -> torch.Tensor:
        if not isinstance(frame, torch.Tensor):
            frame = torch.from_numpy(np.array(frame.convert("RGB") if hasattr(frame, "convert") else frame))
        if frame.dtype != torch.uint8 or frame.ndim != 3 or 3 not in (frame.shape[0], frame.shape[-1]):
            raise ValueError(
                f"a frame must be uint8 [H, W, 3] or [3, H, W], got {frame.dtype} {list(frame.shape)}."
            )
        return frame if frame.shape[0] == 3 else frame.permute(2, 0, 1).contiguous()

    # --- out -----------------------------------------------------------------------------------------

    def decode_values(self, values, tasks: str | Sequence[str]) -> dict[str, np.ndarray]:
        """Values `[N]` of tasks `[N]` as "value" (value units), "steps" and "seconds" to success, `[N]` each.

        `tasks` may be one text, the task of all values.

        Raises:
            ValueError: for a task that the model was not trained on, since its scale is not known, and for
                models of progress, whose values are no time.
        """
        values = torch.as_tensor(values).detach().double().cpu().numpy()
        tasks = [tasks] * values.size if isinstance(tasks, str) else tasks
        steps = -values * np.array([self.scale(task) for task in tasks])
        return {"value": values, "steps": steps, "seconds": steps / (self.fps or np.nan)}

    def scale(self, task: str) -> float:
        """Steps that one value unit stands for in this task."""
        if self.frames_per_sample == 2 or not self.scales:
            raise ValueError(
                "this model's values are progress, as a share of the episode: they have no scale in steps "
                "and say nothing of seconds. Train on single frames with another data.scale than 'episode'."
            )
        if task not in self.scales:
            near = difflib.get_close_matches(task, self.scales, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"no scale for task {task!r}: {hint}trained tasks: {sorted(self.scales)}.")
        return self.scales[task]

    def batch_decode(self, *args, **kwargs):
        return self.tokenizer.batch_decode(*args, **kwargs)

    @property
    def model_input_names(self):
        return ["input_ids", "attention_mask", "token_type_ids", "pixel_values"]


ValueProcessor.register_for_auto_class("AutoProcessor")
