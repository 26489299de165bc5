"""Frames, state and task to tensors, and values back to time."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import TASKS

from valuecurve import ValueProcessor
from valuecurve.processing_value import normalise_state, resize_images, state_bins


def test_the_prompt_reads_as_documented(processor, frames):
    batch = processor(images=frames[:1], task=[TASKS[0]], state=[[0.5, -1.0, 5.0]])
    text = processor.tokenizer.decode(batch["input_ids"][0, 32:])
    assert text == "Task: push the puck to the goal, State: 128 0 128;<unused0>"
    assert (batch["input_ids"][0, :32] == processor.image_token_id).all()


def test_missing_cameras_are_absent(processor, frames):
    batch = processor(images=frames, task=[TASKS[0]] * 3)
    assert (batch["input_ids"] == processor.image_token_id).sum(-1).tolist() == [32, 16, 32]
    assert batch["pixel_values"].shape == (5, 3, 32, 32) and batch["pixel_values"].dtype == torch.uint8


def test_questions_and_answers(processor, frames):
    batch = processor(images=[frames[0]["side"]], question="is it open?", answer="yes")
    types, labels = batch["token_type_ids"][0], batch["labels"][0]
    assert processor.tokenizer.decode(labels[labels != -100]) == " yes<eos>"
    assert torch.equal(types == 1, labels != -100)
    assert (batch["input_ids"] == processor.value_token_id).sum() == 0


def test_questions_without_answers_are_padded_on_the_left(processor, frames):
    batch = processor(images=frames[:2], question=["a?", "a longer one?"])
    assert batch["attention_mask"][:, -1].tolist() == [1, 1]
    padding = (batch["attention_mask"][1] == 0).sum()  # the second row has one image only
    assert padding > 0 and (batch["attention_mask"][1, padding:] == 1).all()


def test_state_bins_of_the_table():
    values = np.array([-1.0, -0.999, -0.5, -1e-9, 0.0, 0.5, 0.999, 1.0])
    assert state_bins(values).tolist() == [0, 0, 64, 127, 128, 192, 255, 255]


def test_state_is_normalised_by_quantiles_clamped_and_constant_is_the_middle():
    state = np.array([[0.0, 5.0], [10.0, 5.0], [2.5, 7.0], [99.0, 5.0]])
    scaled = normalise_state(state, [0.0, 5.0], [10.0, 5.0])
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0], [-0.5, 0.0], [1.0, 0.0]]
    assert state_bins(scaled)[:, 1].tolist() == [128] * 4


def test_values_become_steps_and_seconds(processor):
    decoded = processor.decode_values(torch.tensor([-0.5, -1.0, 0.0]), [TASKS[0], TASKS[1], TASKS[1]])
    assert decoded["steps"].tolist() == [25.0, 80.0, 0.0]
    assert decoded["seconds"].tolist() == [2.5, 8.0, 0.0]
    of_one = processor.decode_values(torch.tensor([-0.5, -1.0]), TASKS[1])
    assert of_one["steps"].tolist() == [40.0, 80.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"images": [{"sid": 0}], "task": [TASKS[0]]}, "unknown camera 'sid': did you mean 'side'"),
        ({"images": [{"observation.images.side": 0}], "task": [TASKS[0]]}, "did you mean 'side'"),
        ({"task": [TASKS[0]], "state": [[1.0, 2.0]]}, "state has 2 dimensions, .* trained on 3"),
        ({"task": [TASKS[0]], "state": [[1.0, np.nan, 0.0]]}, "state of row 0 is not finite"),
        ({"task": [TASKS[0]] * 2, "state": [[1.0, 2.0, 3.0]]}, "2 tasks but 1 states"),
        ({"task": [TASKS[0]], "state": [[1.0, 2.0, 3.0]], "dataset": "sampel"}, "did you mean 'sample'"),
        ({"images": [{}, {}], "task": [TASKS[0]]}, "2 rows of images but 1 texts"),
        ({"images": [[np.zeros((4, 4, 3))]], "task": [TASKS[0]]}, "must be uint8"),
        ({}, "either `task`"),
    ],
)
def test_bad_input_is_refused(processor, call, message):
    with pytest.raises(ValueError, match=message):
        processor(**call)


@pytest.mark.parametrize(
    ("frames_per_sample", "call", "message"),
    [
        (1, {"reference_images": [{}]}, "this one judges single frames"),
        (2, {}, "give reference_images"),
        (2, {"reference_images": [{}, {}]}, "2 rows of images but 1 texts"),
        (2, {"reference_images": [{"top": 0}]}, r"row 0: the frame has cameras \['side'\], its reference"),
        (2, {"reference_images": [[0, 0]]}, "its reference frame 2 images: both need the same cameras"),
        (2, {"task": None, "question": "open?", "reference_images": [{}]}, "for robot frames only"),
    ],
)
def test_a_pair_needs_both_frames_of_the_same_cameras(processor, frames_per_sample, call, message):
    processor.frames_per_sample = frames_per_sample
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        processor(**{"images": [{"side": frame}], "task": [TASKS[0]]} | call)


def test_unknown_tasks_have_no_scale(processor):
    with pytest.raises(ValueError, match="did you mean 'open the drawer'"):
        processor.decode_values(torch.tensor([-0.5]), ["open the drawr"])


@pytest.mark.parametrize("kind", [{"scales": {}}, {"frames_per_sample": 2}])
def test_progress_is_no_time(processor, kind):
    vars(processor).update(kind)
    with pytest.raises(ValueError, match="values are progress"):
        processor.decode_values(torch.tensor([-0.5]), [TASKS[0]])


@pytest.mark.parametrize(
    "task",
    [
        'say "hi"', "two\nlines", "push 🤖 left", "word " * 500, "  ", "O'Neil\t",
        "a <image_soft_token>", "<unused0><eos>",
    ],
    ids=range(8),
)  # fmt: skip
def test_any_text_can_be_a_task(processor, task):
    prompt = processor.robot_prompts([task])[0]
    assert processor.tokenizer.decode(processor.tokenize([prompt]).ids) == prompt
    ids = processor(task=[task])["input_ids"]
    assert (ids == processor.value_token_id).sum() == 1 and (ids == processor.image_token_id).sum() == 0


def test_frames_may_be_arrays_tensors_or_pil(processor, frames):
    frame = frames[0]["side"]
    kinds = [frame, frame.transpose(2, 0, 1), torch.from_numpy(frame), Image.fromarray(frame)]
    batches = [processor(images=[[kind]], task=TASKS[:1])["pixel_values"] for kind in kinds]
    assert all(torch.equal(batches[0], other) for other in batches[1:])


def test_resize_is_antialiased_on_uint8_and_close_to_pil():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 90, 3), dtype=np.uint8)
    ours = resize_images(torch.from_numpy(image).permute(2, 0, 1)[None], 32, "bicubic")[0].permute(1, 2, 0)
    theirs = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC))
    assert ours.dtype == torch.uint8
    assert np.abs(ours.numpy().astype(int) - theirs).max() <= 1


def test_a_processor_survives_saving(processor, frames, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = ValueProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict().items() <= processor.to_dict().items()
    one, two = (p(images=frames, task=[TASKS[0]] * 3, state=[[0.3, 0.1, 5]] * 3) for p in (processor, loaded))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_token_that_the_tokenizer_lacks_is_refused(tokenizer):
    with pytest.raises(ValueError, match="no token '<unused99>'"):
        ValueProcessor(tokenizer, value_token="<unused99>")
