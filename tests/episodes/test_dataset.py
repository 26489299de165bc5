"""Opening datasets: what comes out is what is in the files, for both versions."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_datasets import TOP, WRIST, Tiny, edit_json, edit_parquet, make_dataset

from valuecurve.episodes import open_dataset

LENGTHS = list(Tiny().lengths)


@pytest.mark.parametrize("version", ["v30", "v21"])
def test_open_gives_what_is_in_the_files(version, request):
    root = request.getfixturevalue(f"tiny_{version}")
    dataset = open_dataset(root)
    assert (dataset.key, dataset.version) == (version, {"v30": "v3.0", "v21": "v2.1"}[version])
    assert dataset.fps == 10
    assert [(c.key, c.name, c.height, c.width, c.kind) for c in dataset.cameras.values()] == [
        (TOP, "top", 48, 64, "video"),
        (WRIST, "wrist", 64, 48, "video"),
    ]
    assert dataset.tasks == ["push the puck", "open the drawer"]
    assert dataset.state_names == ["x", "y", "z"]
    assert dataset.lengths.tolist() == LENGTHS
    assert dataset.starts.tolist() == [0, 12, 19, 28, 38, 46]
    assert dataset.states.shape == (57, 3) and dataset.states.dtype == np.float32
    assert dataset.frame_index.tolist() == [k for length in LENGTHS for k in range(length)]
    assert dataset.episode_index.tolist() == [e for e, length in enumerate(LENGTHS) for _ in range(length)]
    assert dataset.episode_tasks.tolist() == [0, 1, 0, 1, 0, 1]
    assert "action" not in dataset.frames.column_names
    assert not [name for name in dataset.episodes.column_names if name.startswith("stats/")]
    files = sorted((root / "data").rglob("*.parquet"))
    states = np.concatenate(
        [np.stack(pq.read_table(file)["observation.state"].to_pylist()) for file in files]
    )
    assert np.array_equal(dataset.states, states.astype(np.float32))


def test_both_versions_hold_the_same_frames(tiny_v30, tiny_v21):
    left, right = open_dataset(tiny_v30), open_dataset(tiny_v21)
    assert left.frames.equals(right.frames)


def test_rows_in_any_order_are_sorted(make):
    root = make(files=1)
    path = root / "data/chunk-000/file-000.parquet"
    expected = open_dataset(root)
    table = pq.read_table(path)
    pq.write_table(table.take(np.random.default_rng(0).permutation(table.num_rows)), path)
    found = open_dataset(root)
    assert found.frames.equals(expected.frames)


def test_rows_of_episodes(tiny_v30):
    dataset = open_dataset(tiny_v30)
    assert dataset.episode_rows([3, 1]).tolist() == [*range(12, 19), *range(28, 38)]
    assert len(dataset.episode_rows()) == 57
    with pytest.raises(ValueError, match=r"there is no episode \[77\]"):
        dataset.episode_rows([1, 77])


def test_task_may_change_inside_an_episode(make):
    root = make(files=1)
    edit_parquet(
        root / "data/chunk-000/file-000.parquet", "task_index", lambda old: [0] * 5 + [1] * (len(old) - 5)
    )
    dataset = open_dataset(root)
    assert dataset.episode_tasks.tolist() == [0, 1, 1, 1, 1, 1]
    assert dataset.task_index[:12].tolist() == [0] * 5 + [1] * 7


def test_scalars_written_as_lists_of_one_are_scalars(make):
    root = make(files=1)
    edit_parquet(
        root / "data/chunk-000/file-000.parquet", "next.success", lambda old: [[value] for value in old]
    )
    dataset = open_dataset(root)
    assert dataset.frames["next.success"].to_pylist()[11] is True


def test_a_dataset_without_state_or_cameras_opens(make):
    dataset = open_dataset(make(state_size=0, cameras={}))
    assert dataset.state_key is None and dataset.states.shape == (57, 0) and dataset.cameras == {}


def test_depth_maps_are_not_cameras(make):
    root = make()
    info = open_dataset(root).info
    info["features"][WRIST]["info"] = {"video.is_depth_map": True}
    edit_json(root / "meta/info.json", features=info["features"])
    assert list(open_dataset(root).cameras) == [TOP]


@pytest.mark.parametrize(
    ("shape", "names"),
    [([3, 20, 40], ["channels", "height", "width"]), ([20, 40, 3], ["height", "width", "channels"])],
)
def test_camera_sizes_of_both_shape_orders(make, shape, names):
    root = make(cameras={TOP: (20, 40)})
    features = open_dataset(root).info["features"]
    features[TOP] |= {"shape": shape, "names": names}
    edit_json(root / "meta/info.json", features=features)
    camera = open_dataset(root).cameras[TOP]
    assert (camera.height, camera.width) == (20, 40)


def test_the_key_of_a_hub_snapshot_is_its_repository(tmp_path):
    root = make_dataset(tmp_path / "datasets--org--name" / "snapshots" / "0a1b", cameras={})
    assert open_dataset(root).key == "org/name"
    assert open_dataset(root, key="mine").key == "mine"


def test_the_fingerprint_is_of_the_content(tiny_v30, tmp_path):
    expected = open_dataset(tiny_v30).fingerprint
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_v30, copy)
    assert open_dataset(copy).fingerprint == expected

    prints = {expected}
    edit_parquet(copy / "data/chunk-000/file-000.parquet", "timestamp", lambda old: [0.01, *old[1:]])
    prints.add(open_dataset(copy).fingerprint)
    edit_parquet(
        copy / "meta/episodes/chunk-000/file-000.parquet", "tasks", lambda old: [["other"], *old[1:]]
    )
    prints.add(open_dataset(copy).fingerprint)
    video = next((copy / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes() + b"0000")
    prints.add(open_dataset(copy).fingerprint)
    assert len(prints) == 4


def test_the_fingerprint_of_image_datasets_covers_the_table(make):
    dataset = open_dataset(make(image_cameras=(TOP, WRIST)))
    path = dataset.data_files[0]
    before = dataset.fingerprint
    edit_parquet(path, "next.success", lambda old: [not old[0], *old[1:]])
    assert open_dataset(dataset.root).fingerprint != before
