"""`pipeline("value-estimation")`: the values are those of scoring, in whatever form an episode comes."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_datasets import TOP, WRIST, make_dataset, write_video
from tiny_models import make_checkpoint
from transformers import pipeline

from valuecurve import ValueModel, ValuePipeline, ValueProcessor
from valuecurve.episodes import decode_video, open_dataset
from valuecurve.metrics import quantiles
from valuecurve.pipeline_value import quantiles as own_quantiles
from valuecurve.returns import bin_centers
from valuecurve.scoring import read_scores
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.job import Settings
from valuecurve.scoring.run import score_dataset

PAIRS = {"frames_per_sample": 2, "v_min": -1.0, "v_max": 1.0}


@dataclass
class Made:
    """A checkpoint with random weights for a dataset, and the scores that it gives."""

    folder: Path
    dataset: Path
    scores: SimpleNamespace

    def of(self, episode: int) -> slice:
        lengths = open_dataset(self.dataset).lengths
        return slice(int(lengths[:episode].sum()), int(lengths[: episode + 1].sum()))

    def frames(self, episode: int) -> dict[str, np.ndarray]:
        """uint8 [T, 3, H, W] by camera."""
        opened = open_dataset(self.dataset)
        return {
            key.removeprefix("observation.images."): np.concatenate(
                [chunk for _, chunk in decode_video(opened, key, [episode])]
            )
            for key in (TOP, WRIST)
        }


def value_pipeline(folder: Path, **options) -> ValuePipeline:
    task: Any = "value-estimation"  # transformers' types know its own tasks only
    made: Any = pipeline(task, model=str(folder), **options)
    return made


@pytest.fixture(scope="module")
def make_scored(tmp_path_factory):
    def make(dataset: Path, model: dict | None = None, data: dict | None = None) -> Made:
        folder = tmp_path_factory.mktemp("checkpoint")
        make_checkpoint(folder, dataset, model, data)
        settings = Settings(dtype="float32", distribution=True)
        loaded, opened = load_checkpoint(str(folder / "model")), open_dataset(dataset)
        score_dataset(loaded, opened, "t", folder / "values", settings, threads=1)
        read = read_scores(opened, "t", folder / "values")
        scores = SimpleNamespace(value=read.value, std=read.value_std, **read.columns)
        return Made(folder / "model", dataset, scores)

    return make


@pytest.fixture(scope="module")
def made(make_scored, tiny_v30) -> Made:
    return make_scored(tiny_v30)


@pytest.fixture(scope="module")
def pipe(made) -> ValuePipeline:
    return value_pipeline(made.folder)


def test_with_the_package_imported_no_remote_code_is_needed(pipe):
    assert type(pipe) is ValuePipeline
    assert type(pipe.model) is ValueModel and type(pipe.processor) is ValueProcessor


@pytest.mark.parametrize("episode", [0, 4])
def test_an_episode_of_a_dataset_has_the_values_of_its_scores(pipe, made, episode):
    curve = pipe(str(made.dataset), episode=episode, return_distribution=True)
    rows = made.of(episode)
    np.testing.assert_allclose(curve["value"], made.scores.value[rows], atol=1e-5)
    np.testing.assert_allclose(curve["std"], made.scores.std[rows], atol=1e-5)
    np.testing.assert_allclose(curve["distribution"], made.scores.distribution[rows], atol=1e-5)
    expected = quantiles(made.scores.distribution[rows], (0.1, 0.9))
    np.testing.assert_allclose([curve["lower"], curve["upper"]], expected, atol=1e-4)
    np.testing.assert_allclose(curve["time"], np.arange(len(curve["value"])) / 10)


def test_seconds_are_those_of_the_scale_of_the_task(pipe, made):
    curve = pipe(made.dataset, episode=1)
    task = curve["task"][0]
    expected = -curve["value"] * pipe.processor.scales[task] / 10
    np.testing.assert_allclose(curve["seconds"], expected, rtol=1e-5)


def test_a_dataset_of_the_old_format_has_the_same_values(pipe, made, tiny_v21):
    new, old = (pipe(folder, episode=3)["value"] for folder in (made.dataset, tiny_v21))
    np.testing.assert_allclose(old, new, atol=0.05)  # its videos are encoded anew


def test_pictures_in_the_data_files_are_read_too(pipe, made, tmp_path):
    folder = make_dataset(tmp_path / "images", image_cameras=(TOP,))
    with_images, with_videos = (pipe(place, episode=2)["value"] for place in (folder, made.dataset))
    np.testing.assert_allclose(with_images, with_videos, atol=0.05)  # a codec lies between


def test_frames_come_as_arrays_pictures_or_rows_of_cameras(pipe, made):
    opened, frames = open_dataset(made.dataset), made.frames(2)
    state = opened.states[made.of(2)]
    task = opened.tasks[opened.episode_tasks[2]]
    last = {name: array.transpose(0, 2, 3, 1) for name, array in frames.items()}
    pictures = {name: [Image.fromarray(picture) for picture in array] for name, array in last.items()}
    rows = [{name: array[t] for name, array in last.items()} for t in range(len(state))]
    expected = made.scores.value[made.of(2)]
    for given in (frames, last, pictures, rows):
        curve = pipe(given, task=task, state=state, batch_size=4, fps=10)
        np.testing.assert_allclose(curve["value"], expected, atol=1e-5)
    assert curve["time"][1] == pytest.approx(0.1)


def test_one_camera_alone_is_the_first_of_the_model(pipe, made, caplog):
    frames = made.frames(0)["top"]
    alone, named = pipe(frames, task="push the puck"), pipe({"top": frames}, task="push the puck")
    np.testing.assert_array_equal(alone["value"], named["value"])
    assert "read as camera 'top'" in caplog.text
    assert alone["time"] is None


def test_a_video_has_a_value_for_every_frame(pipe, made, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (13, 48, 64, 3), dtype=np.uint8)
    for name in ("top", "wrist"):
        write_video(tmp_path / f"{name}.mp4", list(pictures), fps=20, gop=5)
    both = {name: str(tmp_path / f"{name}.mp4") for name in ("top", "wrist")}
    curve = pipe(both, task="push the puck")
    assert len(curve["value"]) == 13
    np.testing.assert_allclose(curve["time"], np.arange(13) / 20, atol=1e-6)
    one = pipe(tmp_path / "top.mp4", task="push the puck")
    assert len(one["value"]) == 13


def test_several_episodes_give_a_list_of_curves(pipe, made):
    curves = pipe(made.dataset, episode=[1, 3])
    for curve, episode in zip(curves, (1, 3), strict=True):
        np.testing.assert_allclose(curve["value"], made.scores.value[made.of(episode)], atol=1e-5)
    frames = [made.frames(episode) for episode in (1, 3)]
    again = pipe([list(f["top"]) for f in frames], task=["push the puck", "open the drawer"])
    assert [len(curve["value"]) for curve in again] == [7, 10]
    assert [curve["task"] for curve in again] == ["push the puck", "open the drawer"]


def test_a_pair_of_frames_gives_progress_since_the_first(make_scored, tiny_v30):
    made = make_scored(tiny_v30, PAIRS, {"scale": "episode"})
    curve = value_pipeline(made.folder, batch_size=5)(tiny_v30, episode=3)
    np.testing.assert_allclose(curve["value"], made.scores.absolute_value[made.of(3)], atol=1e-5)
    assert curve["value"][0] == 0.0
    assert curve["seconds"] is None


def test_a_task_that_the_model_does_not_know_has_values_and_no_seconds(pipe, made, caplog):
    curve = pipe(made.frames(0), task="fold the towel")
    assert curve["seconds"] is None and np.isfinite(curve["value"]).all()
    assert "no scale for task 'fold the towel'" in caplog.text


def test_the_quantiles_are_those_of_the_metrics():
    p = np.random.default_rng(0).dirichlet(np.full(201, 0.02), 50)
    expected = quantiles(p, (0.05, 0.1, 0.5, 0.9))
    np.testing.assert_allclose(own_quantiles(p, (0.05, 0.1, 0.5, 0.9), bin_centers(201)), expected, atol=1e-6)


def test_a_saved_pipeline_and_a_saved_model_name_their_pipeline(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "pipe")
    pipe.model.save_pretrained(tmp_path / "model")
    for folder in (tmp_path / "pipe", tmp_path / "model"):
        config = json.loads((folder / "config.json").read_text())
        assert config["custom_pipelines"]["value-estimation"]["impl"] == "pipeline_value.ValuePipeline"
        assert (folder / "pipeline_value.py").is_file()
    assert type(value_pipeline(tmp_path / "pipe")) is ValuePipeline


def test_a_model_in_memory_makes_its_pipeline(pipe, made):
    own = pipe.model.pipeline(pipe.processor)
    np.testing.assert_array_equal(
        own(made.dataset, episode=1)["value"], pipe(made.dataset, episode=1)["value"]
    )


def black(frames: int = 3) -> np.ndarray:
    return np.zeros((frames, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (black(), {}, "say what the robot was told"),
        ({"tpo": black()}, {"task": "t"}, "did you mean 'top'"),
        ({"top": black(3), "wrist": black(2)}, {"task": "t"}, "camera 'wrist' ends after 2 frames"),
        ([], {"task": "t"}, "no frame"),
        (black(), {"task": ["t", "t"]}, "no task for them"),
        (black(2), {"task": ["t", "t", "t"]}, "2 frames, but task is given for 3"),
        ("nowhere.mp4", {"task": "t"}, "no video 'nowhere.mp4'"),
        (black(), {"task": "t", "episode": 3}, "episode=3 is of a dataset"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(pipe, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        pipe(inputs, **options)


def test_what_is_wrong_with_files_is_said(pipe, made, tmp_path):
    (tmp_path / "no.mp4").write_text("not a video")
    with pytest.raises(ValueError, match="no.mp4 cannot be read as a video"):
        pipe(tmp_path / "no.mp4", task="t")
    with pytest.raises(ValueError, match="is no LeRobot dataset"):
        pipe(tmp_path, episode=0)
    with pytest.raises(ValueError, match="say which episode"):
        pipe(made.dataset)
    with pytest.raises(ValueError, match="6 episodes, and none with the number 99"):
        pipe(made.dataset, episode=99)
    with pytest.raises(TypeError, match="no parameter 'temperature'"):
        pipe(made.dataset, temperature=1)
