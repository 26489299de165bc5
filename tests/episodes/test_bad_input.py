"""Bad input: each one clear error that names file, episode and frame; odd but good input works."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_datasets import TOP, bars, edit_json, edit_parquet, write_video

from valuecurve.episodes import (
    DatasetError,
    build_frame_store,
    decode_video,
    open_dataset,
    resolve_outcomes,
    split_episodes,
)
from valuecurve.returns import dataset_targets

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
LAST = "data/chunk-000/file-001.parquet"


def fails(root, *parts: str) -> None:
    """Opening is one DatasetError whose text holds all the parts."""
    with pytest.raises(DatasetError) as caught:
        open_dataset(root)
    for part in parts:
        assert part in str(caught.value)


# -- not a dataset, versions -------------------------------------------------------------------------------


def test_not_a_dataset(tmp_path):
    fails(tmp_path / "nowhere", "nowhere is not a folder")
    fails(tmp_path, "is not a LeRobot dataset: it has no meta/info.json")
    (tmp_path / "file").touch()
    fails(tmp_path / "file", "file is not a folder")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fps": 10}', "\x00\x01"])
def test_info_that_is_not_info(make, content):
    root = make(cameras={})
    (root / "meta/info.json").write_text(content)
    fails(root, "meta/info.json cannot be read")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 0}, "fps must be a positive number, got 0"),
        ({"fps": "ten"}, "fps must be a positive number, got 'ten'"),
        ({"features": None}, "'features' is missing"),
        ({"data_path": None}, "'data_path' is missing"),
        (
            {"data_path": "data/{chunk}.parquet"},
            "the path template 'data/{chunk}.parquet' cannot be filled in",
        ),
        (
            {"data_path": "../{chunk_index}-{file_index}.parquet"},
            "'../0-0.parquet' leaves the dataset folder",
        ),
        ({"data_path": "/etc/{chunk_index}-{file_index}"}, "leaves the dataset folder"),
        ({"video_path": None}, "'video_path' is missing"),
    ],
)
def test_info_with_wrong_fields(make, changes, message):
    root = make()
    edit_json(root / "meta/info.json", **changes)
    fails(root, "info.json" if "leaves" not in message else str(root), message)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("v2.0", "lerobot's converter: python -m lerobot.datasets.v21.convert_dataset_v20_to_v21"),
        ("v1.6", "lerobot's converters"),
        ("v9.9", "a newer valuecurve may read it"),
    ],
)
def test_other_versions_say_how_to_convert(make, version, remedy):
    root = make(cameras={})
    edit_json(root / "meta/info.json", codebase_version=version)
    fails(root, f"codebase_version '{version}' is not supported (supported: v3.0 and v2.1)", remedy)


# -- parquet and JSON lines --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [DATA, LAST, "meta/tasks.parquet"])
def test_a_parquet_file_is_missing(make, name):
    root = make(cameras={})
    (root / name).unlink()
    fails(root, f"{root / name} is missing")


def test_the_episode_table_is_missing(make):
    root = make(cameras={})
    (root / EPISODES).unlink()
    fails(root, "meta/episodes holds no parquet file")


@pytest.mark.parametrize("name", [DATA, EPISODES, "meta/tasks.parquet"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_parquet_file_is_truncated(make, name, keep):
    root = make(cameras={})
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: int(len(content) * keep)])
    fails(root, str(root / name), "cannot be read, it is truncated or damaged")


def test_the_first_damaged_data_file_is_named_and_the_others_counted(make):
    root = make(cameras={})
    (root / DATA).unlink()
    (root / LAST).write_bytes(b"PAR1")
    fails(root, f"{root / DATA} is missing", f"(1 more: valuecurve inspect {root})")


@pytest.mark.parametrize("name", ["tasks.jsonl", "episodes.jsonl"])
def test_json_lines_that_are_missing_or_broken(make, name):
    root = make(version="v2.1", cameras={})
    path = root / "meta" / name
    content = path.read_text()
    path.write_text(content + '{"task_index": 2, "ta')
    fails(root, f"{path}, line {content.count(chr(10)) + 1}: not JSON")
    path.unlink()
    fails(root, f"{path} is missing")


@pytest.mark.parametrize("column", ["episode_index", "frame_index", "task_index", "observation.state"])
def test_a_column_is_missing(make, column):
    root = make(cameras={})
    table = pq.read_table(root / DATA)
    pq.write_table(table.drop_columns([column]), root / DATA)
    fails(root, f"{root / DATA}: the column '{column}' is missing")


# -- frames against the episode table ----------------------------------------------------------------------


def test_fewer_frames_than_the_episode_table_says(make):
    root = make(cameras={})
    pq.write_table(pq.read_table(root / DATA).slice(0, 27), root / DATA)
    fails(root, f"{root / DATA}: episode 2 has 8 frames, the episode table says 9")


def test_an_episode_without_frames(make):
    root = make(cameras={})
    pq.write_table(pq.read_table(root / DATA).slice(0, 19), root / DATA)
    fails(root, "no frames for episode 2 of the episode table")


def test_frames_of_an_episode_that_is_not_listed(make):
    root = make(cameras={}, files=1)
    pq.write_table(pq.read_table(root / EPISODES).slice(0, 5), root / EPISODES)
    fails(root, f"{root / DATA}, episode 5, frame 0: episode 5 is not in the episode table")


def test_a_frame_twice(make):
    root = make(cameras={})
    edit_parquet(root / DATA, "frame_index", lambda old: [*old[:5], 4, *old[6:]])
    fails(root, f"{root / DATA}, episode 0, frame 4: the frame is there twice")


def test_a_frame_missing(make):
    root = make(cameras={})
    edit_parquet(root / DATA, "frame_index", lambda old: [*old[:11], 12, *old[12:]])
    fails(root, f"{root / DATA}, episode 0, frame 12: the frame comes where frame 11 should be")


@pytest.mark.parametrize("value", [2, -1])
def test_an_unknown_task(make, value):
    root = make(cameras={})
    edit_parquet(root / DATA, "task_index", lambda old: [*old[:14], value, *old[15:]])
    fails(root, f"{root / DATA}, episode 1, frame 2: task_index {value} is unknown, meta/tasks lists 0 … 1")


def test_tasks_out_of_order(make):
    root = make(cameras={})
    edit_parquet(root / "meta/tasks.parquet", "task_index", lambda old: old[::-1])
    fails(root, "meta/tasks.parquet: task_index must be 0 … 1 in row order")


@pytest.mark.parametrize("change", [lambda old: [None, *old[1:]], lambda old: [0.5 + k for k in old]])
def test_indices_that_are_no_whole_numbers(make, change):
    root = make(cameras={})
    edit_parquet(root / DATA, "episode_index", change)
    fails(root, f"{root / DATA}: 'episode_index' must be a whole number in every row")


# -- state -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("inf"), "inf"), (None, "nan")])
def test_a_state_that_is_not_finite(make, value, shown):
    root = make(cameras={})
    edit_parquet(root / LAST, "observation.state", lambda old: [*old[:12], [0.0, value, 0.0], *old[13:]])
    fails(root, f"{root / LAST}, episode 4, frame 2: observation.state is {shown} in dimension 1 (y)")


@pytest.mark.parametrize("state", [[0.0, 0.0], [0.0] * 4, None])
def test_a_state_of_another_dimension_than_declared(make, state):
    root = make(cameras={})
    edit_parquet(root / DATA, "observation.state", lambda old: [*old[:13], state, *old[14:]])
    size = len(state or [])
    fails(
        root,
        f"{root / DATA}, episode 1, frame 1: observation.state has {size} values, meta/info.json declares 3",
    )


# -- video -------------------------------------------------------------------------------------------------


def decoding_fails(root, tmp_path, *parts: str) -> None:
    """Decoding, and building a store, is one DatasetError with these parts; no store is left."""
    dataset = open_dataset(root)
    with pytest.raises(DatasetError) as caught:
        list(decode_video(dataset, TOP))
    with pytest.raises(DatasetError) as again:
        build_frame_store(dataset, 16, cache_dir=tmp_path / "cache", progress=False)
    assert str(caught.value) == str(again.value)
    assert not list((tmp_path / "cache").rglob("*.u8"))
    for part in ("camera observation.images.top", *parts):
        assert part in str(caught.value)


def test_a_video_is_missing(make, tmp_path):
    root = make()
    path = root / f"videos/{TOP}/chunk-000/file-001.mp4"
    path.unlink()
    decoding_fails(root, tmp_path, f"{path} is missing", "episode 3 and 2 more")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.95])
def test_a_video_is_cut_short(make, tmp_path, keep):
    root = make()
    path = root / f"videos/{TOP}/chunk-000/file-001.mp4"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep < 1 else keep])
    decoding_fails(root, tmp_path, f"{path}: ", "episode 3: cannot be decoded after 0 of 29 frames")


def test_a_video_with_its_index_first_is_cut_short(make, tmp_path):
    """Such files open and announce all frames; the missing ones show while decoding."""
    root = make(version="v2.1", lengths=[60], cameras={TOP: (48, 64)})
    path = root / f"videos/chunk-000/{TOP}/episode_000000.mp4"
    write_video(path, [bars(0, k, 48, 64) for k in range(60)], 10, movflags="+faststart")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    decoding_fails(root, tmp_path, f"{path}: ", "episode 0", "of the 60 frames")


def test_a_video_with_fewer_frames_than_the_table(make, tmp_path):
    root = make()
    path = root / f"videos/{TOP}/chunk-000/file-000.mp4"
    write_video(path, [bars(0, k, 48, 64) for k in range(26)], 10)
    decoding_fails(
        root,
        tmp_path,
        f"{path}: camera {TOP}, episode 2: frame 7 of 9",
        "gave 26 of the 28 frames of the table; its last frame is at 2.500 s (26 frames read)",
    )


def test_a_video_damaged_in_the_middle(make, tmp_path):
    root = make(version="v2.1", lengths=[60], cameras={TOP: (48, 64)})
    path = root / f"videos/chunk-000/{TOP}/episode_000000.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3)).astype(np.uint8)
    write_video(path, list(noise), 10)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    decoding_fails(root, tmp_path, f"{path}: ", "episode 0: cannot be decoded after ")


def test_a_file_that_is_no_video(make, tmp_path):
    root = make()
    path = root / f"videos/{TOP}/chunk-000/file-000.mp4"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    decoding_fails(root, tmp_path, f"{path}: ", "cannot be decoded")


def test_an_image_that_is_no_image(make, tmp_path):
    root = make(image_cameras=(TOP,), cameras={TOP: (48, 64)})
    edit_parquet(root / DATA, TOP, lambda old: [*old[:15], {"bytes": b"no png", "path": None}, *old[16:]])
    decoding_fails(root, tmp_path, f"{root / DATA}, episode 1, frame 3: ", "the image cannot be read")
    edit_parquet(root / DATA, TOP, lambda old: [*old[:15], {"bytes": None, "path": None}, *old[16:]])
    decoding_fails(root, tmp_path, f"{root / DATA}, episode 1, frame 3: ", "holds no image")


# -- odd, and fine -----------------------------------------------------------------------------------------


def test_an_episode_of_one_frame_has_target_zero_on_success(make, tmp_path):
    dataset = open_dataset(make(lengths=[1, 6, 1, 5], tasks=["push"], success=[True, True, False, True]))
    outcomes = resolve_outcomes(dataset)
    targets, scales = dataset_targets(dataset.lengths, outcomes.success, ["push"] * 4)
    assert scales == {"push": 5.0}
    assert targets[dataset.starts].tolist() == [0.0, -1.0, -1.0, np.float32(-0.8)]
    store = build_frame_store(dataset, 16, cache_dir=tmp_path, progress=False)
    assert store.gather(TOP, [0, 7]).shape == (2, 3, 16, 16)


ODD_TASKS = [
    'say "hello" and don\'t {stop}',
    "first line\nsecond line\r\n\ttabbed\u2028and separated",
    "🤖 öffne die 抽屉 [bold]now[/bold] :smile:",
    "very long " * 3000,
    "",
]


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_any_task_text_comes_through_unchanged(make, version):
    root = make(version=version, cameras={}, tasks=ODD_TASKS, lengths=[3] * 10)
    dataset = open_dataset(root)
    assert dataset.tasks == ODD_TASKS
    split = split_episodes(dataset, resolve_outcomes(dataset))
    assert sorted(sum(split.values(), [])) == list(range(10))
    json.dumps(dataset.tasks)


def test_ten_thousand_episodes_open(make):
    dataset = open_dataset(make(lengths=[10] * 10_000, cameras={}, state_size=2))
    assert dataset.frames.num_rows == 100_000
