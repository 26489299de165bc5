"""The LeRobot v3.0 writer: what it writes is what our reader, PyAV and the format's readers expect."""

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from valuecurve.episodes import DatasetError, decode_video, open_dataset
from valuecurve.episodes.writing import DatasetWriter

FPS, SIZE = 10, (48, 64)
CAMERA = "observation.images.top"
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    "next.reward": {"dtype": "float32"},
    "next.success": {"dtype": "bool"},
}
TASKS = ["push the puck", 'say "hi" \n🤖']


def episode(length: int, level: int) -> tuple[dict, dict]:
    """Frame k is a grey of `level` + 3 k: told apart after compression."""
    frames = {
        "observation.state": np.stack([np.arange(length), np.full(length, level)], axis=1),
        "next.reward": np.linspace(0, 1, length),
        "next.success": np.arange(length) == length - 1,
    }
    greys = (level + 3 * np.arange(length)).astype(np.uint8)
    return frames, {CAMERA: np.broadcast_to(greys[:, None, None, None], (length, *SIZE, 3)).copy()}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("writing") / "dataset"
    with DatasetWriter(root, FPS, {CAMERA: SIZE}, FEATURES, robot_type="arm", tasks=TASKS, gop=4) as writer:
        for index, length in enumerate((7, 1, 12)):
            writer.add_episode(*episode(length, 20 + 60 * index), TASKS[index % 2], {"kind": f"k{index}"})
    return root


def test_our_reader_opens_it(written):
    dataset = open_dataset(written)
    assert dataset.fps == FPS and dataset.tasks == TASKS and dataset.lengths.tolist() == [7, 1, 12]
    assert dataset.task_index.tolist() == [0] * 7 + [1] + [0] * 12
    np.testing.assert_array_equal(dataset.states[8:, 1], 140)
    assert dataset.episodes["kind"].to_pylist() == ["k0", "k1", "k2"]


def test_every_frame_comes_back_at_its_place(written):
    dataset = open_dataset(written)
    greys = np.concatenate([images.mean((1, 2, 3)) for _, images in decode_video(dataset, CAMERA)])
    expected = np.concatenate([20 + 60 * i + 3 * np.arange(n) for i, n in enumerate((7, 1, 12))])
    np.testing.assert_allclose(greys, expected, atol=1.4)  # a neighbouring frame is 3 away


def test_timestamps_of_the_video_are_frame_exact_and_episodes_start_on_key_frames(written):
    row = pq.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    starts = [one[f"videos/{CAMERA}/from_timestamp"] for one in row]
    with av.open(str(written / f"videos/{CAMERA}/chunk-000/file-000.mp4")) as container:
        frames = list(container.decode(video=0))
    times = [float(frame.time) for frame in frames]
    np.testing.assert_allclose(times, np.arange(20) / FPS, atol=1e-6)
    keys = {round(float(frame.time) * FPS) for frame in frames if frame.key_frame}
    assert starts == [0.0, 0.7, 0.8] and {0, 7, 8} <= keys
    assert row[-1][f"videos/{CAMERA}/to_timestamp"] == 2.0


def test_metadata_is_lerobots(written):
    info = json.loads((written / "meta/info.json").read_text())
    assert (
        info["codebase_version"] == "v3.0"
        and info["total_frames"] == 20
        and info["splits"] == {"train": "0:3"}
    )
    assert info["features"][CAMERA]["shape"] == [*SIZE, 3] and info["features"]["index"]["dtype"] == "int64"
    tasks = pd.read_parquet(written / "meta/tasks.parquet")
    assert tasks.index.name == "task" and tasks.loc[TASKS[1]].task_index == 1
    columns = set(pq.read_schema(written / "meta/episodes/chunk-000/file-000.parquet").names)
    assert {
        "dataset_from_index",
        "dataset_to_index",
        "meta/episodes/file_index",
        "data/chunk_index",
    } <= columns
    assert f"stats/{CAMERA}/mean" in columns and "stats/observation.state/q99" in columns


def test_statistics_are_those_of_all_frames(written):
    stats = json.loads((written / "meta/stats.json").read_text())
    states = open_dataset(written).states.astype(np.float64)
    np.testing.assert_allclose(stats["observation.state"]["mean"], states.mean(0))
    np.testing.assert_allclose(stats["observation.state"]["std"], states.std(0))
    assert stats["observation.state"]["max"] == [11.0, 140.0] and stats["observation.state"]["count"] == [20]
    assert np.shape(stats[CAMERA]["mean"]) == (3, 1, 1) and 0 <= stats[CAMERA]["mean"][0][0][0] <= 1


def test_datasets_reads_the_table_with_its_features(written):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_parquet(
        str(written / "data/chunk-000/file-000.parquet"), cache_dir=written.parent
    )
    assert table.features["observation.state"].length == 2
    assert table[19]["next.success"] is True and table[19]["timestamp"] == pytest.approx(1.1)


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), DatasetWriter(tmp_path / "d", FPS, {CAMERA: SIZE}, FEATURES) as writer:
        writer.add_episode(*episode(3, 0), "task")
        raise RuntimeError("the robot fell over")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames, images: frames.pop("next.reward"), "next.reward"),
        (lambda frames, images: frames.update(other=np.zeros(3)), "other"),
        (lambda frames, images: frames.update({"next.reward": np.zeros(2)}), "the same length"),
        (lambda frames, images: images.update({CAMERA: np.zeros((3, 8, 8, 3), np.uint8)}), "48, 64"),
        (lambda frames, images: images.update({CAMERA: images[CAMERA].astype(float)}), "uint8"),
        (lambda frames, images: frames.update({"observation.state": np.zeros((3, 5))}), "observation.state"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(tmp_path, change, message):
    frames, images = episode(3, 0)
    change(frames, images)
    with DatasetWriter(tmp_path / "d", FPS, {CAMERA: SIZE}, FEATURES) as writer:
        with pytest.raises(DatasetError, match=message):
            writer.add_episode(frames, images, "task")
        writer.add_episode(*episode(2, 0), "task")
    assert open_dataset(tmp_path / "d").lengths.tolist() == [2]


def test_an_existing_folder_is_refused_unless_asked(written):
    with pytest.raises(DatasetError, match="exists already"):
        DatasetWriter(written, FPS, {}, FEATURES)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        with DatasetWriter(tmp_path / name, FPS, {CAMERA: SIZE}, FEATURES) as writer:
            writer.add_episode(*episode(9, 50), "task")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)
