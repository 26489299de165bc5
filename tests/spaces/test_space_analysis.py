"""From an episode to the payload: values are those of `valuecurve score`; nothing is guessed silently."""

import base64
import csv
import json
import pickle
import zipfile
from pathlib import Path

import downloads
import numpy as np
import pyarrow.parquet as pq
import pytest
import zero
from analysis import Scored, as_dataset, make_payload, match_cameras, score
from checkpoints import Checkpoints
from decoding import Episode
from limits import Limits, VisitorError
from results import Results
from service import EXAMPLES, Service
from tiny_datasets import make_dataset
from tiny_models import make_checkpoint

from valuecurve.episodes import open_dataset
from valuecurve.metrics import quantiles
from valuecurve.scoring import Settings, read_scores, score_dataset
from valuecurve.scoring.checkpoint import load_checkpoint

SIDE, FRONT = "observation.images.side", "observation.images.front"
TASK = "push the puck to the goal"


def silent(share: float, text: str) -> None:
    assert 0 <= share <= 1.0001 and text


@pytest.fixture(scope="module")
def service(space_checkpoints, tmp_path_factory):
    """The app without its page, in this process."""
    root = tmp_path_factory.mktemp("space")
    places = {name: str(place) for name, place in space_checkpoints.items()}
    return Service(Checkpoints(places), Results(3600, root), Limits(), dtype="float32")


def scored(checkpoint: Path, dataset: Path, folder: Path, **settings) -> dict[str, np.ndarray]:
    """What `valuecurve score` says of a dataset."""
    options = Settings(dtype="float32", distribution=True, **settings)
    opened = open_dataset(dataset)
    score_dataset(load_checkpoint(str(checkpoint)), opened, "t", folder, options)
    scores = read_scores(opened, "t", folder)
    return {"value": scores.value, "std": scores.value_std, **scores.columns}


@pytest.mark.parametrize("name", ["tiny", "tiny-state"])
def test_an_example_has_the_values_of_valuecurve_score(service, space_checkpoints, tmp_path, name):
    expected = scored(space_checkpoints[name], EXAMPLES, tmp_path, episodes=[1])
    payload = service.example("1", [name], silent).payload
    (model,) = payload["models"]
    assert payload["frames"] == len(expected["value"])
    np.testing.assert_allclose(model["value"], expected["value"], atol=1e-5)
    np.testing.assert_allclose(model["std"], expected["std"], atol=1e-5)
    low, high = quantiles(expected["distribution"], [0.1, 0.9], -1.0, 0.0)
    np.testing.assert_allclose(model["lower"], low, atol=1e-4)
    np.testing.assert_allclose(model["upper"], high, atol=1e-4)


def test_uploaded_videos_have_the_values_of_valuecurve_score(service, space_checkpoints, tmp_path):
    """The mp4s of a dataset of one episode are uploaded as they are, in another order."""
    dataset = make_dataset(
        tmp_path / "one", lengths=(40,), files=1, tasks=(TASK,), cameras={SIDE: (48, 64), FRONT: (64, 48)}
    )
    expected = scored(space_checkpoints["tiny"], dataset, tmp_path / "values")
    files = []
    for name in ("front", "side"):
        (path,) = dataset.glob(f"videos/*{name}/*/*.mp4")
        files.append(str(path.rename(tmp_path / f"My {name.upper()} camera.mp4")))
    analysed = service.upload(files, TASK, ["tiny"], "visitor", silent)
    model = analysed.payload["models"][0]
    np.testing.assert_allclose(model["value"], expected["value"], atol=1e-5)
    assert analysed.notes == []
    assert analysed.payload["success"] is None and analysed.payload["target"] is None


def test_a_zipped_dataset_gives_the_episode_that_was_asked_for(service, space_checkpoints, tmp_path):
    archive = tmp_path / "my_robot.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in EXAMPLES.rglob("*"):
            opened.write(path, Path("folder") / path.relative_to(EXAMPLES))
    analysed = service.upload([str(archive)], "", ["tiny-state"], "visitor", silent, episode=4)
    payload, example = analysed.payload, service.example("4", ["tiny-state"], silent).payload
    assert (payload["dataset"], payload["episode"], payload["success"]) == ("my_robot", 4, False)
    assert payload["models"][0]["value"] == example["models"][0]["value"]
    assert payload["target"] == [-1.0] * payload["frames"]
    with pytest.raises(VisitorError, match="There is no episode 99: the dataset has 6 episodes, 0 to 5"):
        service.upload([str(archive)], "", [], "visitor", silent, episode=99)


def test_the_payload_is_json_with_exactly_one_number_a_frame(service):
    payload = service.example("0", ["tiny", "tiny-state"], silent).payload
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    frames, names = payload["frames"], [model["name"] for model in payload["models"]]
    assert names == ["tiny", "tiny-state"]
    for model in payload["models"]:
        for key in ("value", "lower", "upper", "std", "heat_max"):
            assert len(model[key]) == frames
        heat = np.frombuffer(base64.b64decode(model["heat"]), np.uint8).reshape(frames, model["bins"])
        assert (heat.max(axis=1) == 255).all()
    assert len(payload["target"]) == frames and payload["target"][-1] == 0.0
    assert (payload["dataset"], payload["episode"], payload["success"]) == ("metaworld_push", 4, True)


def test_a_scale_is_told_in_frames_of_the_episode_and_in_seconds(service):
    loaded = service.checkpoints.load("tiny")
    trained = loaded.processor.scales[TASK]
    episode = made_up(4, fps=loaded.processor.fps * 3, size=loaded.processor.image_size)
    found, _ = score("tiny", loaded, episode, TASK, "float32", silent)
    assert found.scale_seconds == pytest.approx(trained / loaded.processor.fps)
    assert found.scale_steps == pytest.approx(trained * 3)
    unknown, _ = score("tiny", loaded, episode, "juggle", "float32", silent)
    assert unknown.scale_steps is None and unknown.scale_seconds is None
    payload = make_payload("id", "results/x", episode, "juggle", [unknown])
    assert payload["models"][0]["scale_steps"] is None and payload["target"] is None


def made_up(frames: int, fps: float, size: int, cameras=("side", "front"), state=None) -> Episode:
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (frames, 3, size, size), np.uint8) for _ in cameras]
    return Episode(
        cameras=list(cameras),
        videos=[f"video-{i}.mp4" for i in range(len(cameras))],
        fps=fps,
        tasks={},
        task_index=np.zeros(frames, np.int64),
        state=state,
        success=None,
        dataset=None,
        episode=None,
        episodes=1,
        notes=[],
        frames={(size, "bicubic"): pictures},
    )


def test_a_state_of_another_size_is_refused_and_a_missing_one_is_noted(service):
    loaded = service.checkpoints.load("tiny-state")
    size = loaded.processor.image_size
    _, notes = score("tiny-state", loaded, made_up(3, 10, size), TASK, "float32", silent)
    assert ["state" in note for note in notes] == [True]
    with pytest.raises(VisitorError, match="The state has 3 columns, and tiny-state was trained with"):
        episode = made_up(3, 10, size, state=np.zeros((3, 3)))
        score("tiny-state", loaded, episode, TASK, "float32", silent)


@pytest.mark.parametrize(
    ("here", "used", "notes"),
    [
        (["front", "side"], {"side": 1, "front": 0}, 0),
        (["My_Front", "SIDE view", "wrist"], {"side": 1, "front": 0}, 1),
        (["phone"], {"side": 0}, 2),
        (["a", "b", "c"], {"side": 0, "front": 1}, 2),
    ],
)
def test_cameras_are_matched_by_name_then_by_part_then_in_order(here, used, notes):
    found, said = match_cameras(["side", "front"], here, "model")
    assert found == used
    assert len(said) == notes


def test_a_model_without_camera_names_takes_all(service):
    assert match_cameras([], ["x", "y"], "model") == ({"x": 0, "y": 1}, [])


def test_a_model_of_pairs_has_the_values_of_valuecurve_score(tmp_path, space_checkpoints, service):
    pair = {"frames_per_sample": 2, "v_min": -1.0, "v_max": 1.0}
    make_checkpoint(tmp_path, EXAMPLES, pair, {"scale": "episode"})
    expected = scored(tmp_path / "model", EXAMPLES, tmp_path / "values", episodes=[3])
    pairs = Service(Checkpoints({"pairs": str(tmp_path / "model")}), service.results, Limits(), "float32")
    payload = pairs.example("3", [], silent).payload
    np.testing.assert_allclose(payload["models"][0]["value"], expected["value"], atol=1e-5)
    assert payload["alarm"] is None and payload["models"][0]["scale_seconds"] is None


def test_tasks_may_change_inside_an_episode_and_prompts_follow(service):
    episode = made_up(4, 10, 32)
    episode.tasks = {3: "open the drawer", 7: TASK}
    episode.task_index = np.array([7, 7, 3, 3])
    dataset = as_dataset(episode, "", ["side"])
    assert [dataset.tasks[i] for i in dataset.task_index] == [
        TASK,
        TASK,
        "open the drawer",
        "open the drawer",
    ]


def test_an_episode_that_is_sent_to_another_process_comes_back_with_the_same_values(service):
    """As on ZeroGPU, where the GPU belongs to a process of its own."""
    loaded = service.checkpoints.load("tiny")
    episode = made_up(3, 10, loaded.processor.image_size)
    here, notes = score("tiny", loaded, episode, TASK, "float32", silent)
    zero.CHECKPOINTS[:] = [service.checkpoints]  # the app has one service; these tests have several
    sent = pickle.loads(pickle.dumps(("tiny", episode, TASK, "float32")))
    there, more = pickle.loads(pickle.dumps(zero.score_there(*sent)))
    np.testing.assert_array_equal(there.probabilities, here.probabilities)
    assert (there.scale_seconds, more) == (here.scale_seconds, notes)
    assert not zero.is_needed()


def test_tables_tell_no_seconds_below_the_alarm_and_none_of_failures(service, tmp_path):
    value = np.array([-0.5, -0.95, -0.25], np.float32)
    one = Scored("tiny", value, value, np.full((3, 5), 0.2, np.float32), -1.0, 0.0, 100.0, 10.0)
    for success, expected in ((None, ["5", "", "2.5"]), (False, ["", "", ""])):
        result = service.results.create("me")
        episode = made_up(3, 10, 32)
        episode.success = success
        result.save(episode, TASK, [one], None)
        assert downloads.make(result, "scores.csv") and downloads.make(result, "scores.parquet")
        with (result.folder / "scores.csv").open() as file:
            assert [row["seconds_to_success"] for row in csv.DictReader(file)] == expected
        column = pq.read_table(result.folder / "scores.parquet")["seconds_to_success"]
        assert column.to_pylist() == [float(text) if text else None for text in expected]
