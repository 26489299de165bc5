"""`valuecurve video`: the videos, what is on them, bounded memory, and what is refused."""

import json
import resource

import av
import numpy as np
import pytest
from made_up import curve
from test_plot_command import run, scored
from tiny_datasets import TOP, WRIST, make_dataset

from valuecurve.episodes import open_dataset, save_splits
from valuecurve.evaluation import write_overlay
from valuecurve.evaluation.video_page import GAP, tile

CAMERAS = {f"observation.images.c{i}": ((48, 64), (64, 48), (32, 96))[i % 3] for i in range(6)}


def decode(path) -> np.ndarray:
    """uint8 [T, H, W, 3]."""
    with av.open(str(path)) as container:
        return np.stack(
            [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]
        )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return scored(make_dataset(tmp_path_factory.mktemp("video") / "dataset"))


def test_a_video_for_each_episode_has_its_frames_beside_the_scores(dataset):
    code, output = run("video", dataset, "--tag", "t", "--episodes", "4, 1")
    assert code == 0, output
    folder = dataset / "values/t/videos"
    assert [str(folder / f"episode_00{e}.mp4") in output for e in (4, 1)] == [True, True]
    assert sorted(path.name for path in folder.iterdir()) == ["episode_001.mp4", "episode_004.mp4"]
    assert [len(decode(folder / f"episode_00{e}.mp4")) for e in (1, 4)] == [7, 8]


def test_beside_the_cameras_the_curve_makes_the_video_wide_and_dark_paper_is_dark(dataset, tmp_path):
    options = ("--layout", "beside", "--dark", "--cameras", "top", "--fps", "5", "--json")
    code, output = run(
        "video", dataset, "--tag", "t", "--episodes", "0", "--output", tmp_path / "new", *options
    )
    assert code == 0, output
    (path,) = json.loads(output[output.index("{") :])["written"]
    assert path == str(tmp_path / "new/episode_000_dark.mp4")
    pictures = decode(path)
    assert len(pictures) == 12 and pictures.shape[2] > 1.8 * pictures.shape[1]
    assert pictures[:, :5, :5].max() < 40
    with av.open(path) as container:
        assert container.streams.video[0].average_rate == 5


def test_of_a_split_every_chosen_episode_has_a_video(dataset, tmp_path):
    split = {"train": [0, 1], "validation": [2], "test": [3, 5]}
    save_splits(tmp_path / "split.json", [(open_dataset(dataset), split)])
    words = ("--tag", "t", "--split", "test", "--checkpoint", tmp_path, "--output", tmp_path / "new")
    code, output = run("video", dataset, *words)
    assert code == 0, output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "episode_003.mp4",
        "episode_005.mp4",
    ]


def test_six_cameras_are_all_on_the_video(tmp_path):
    root = scored(make_dataset(tmp_path / "six", lengths=(4, 4, 3), cameras=CAMERAS))
    code, output = run("video", root, "--tag", "t", "--episodes", "1", "--output", tmp_path)
    assert code == 0, output
    picture = decode(tmp_path / "episode_001.mp4")[2]
    boxes, (width, _) = tile(list(CAMERAS.values()), 1232, 600, 384)
    shift = (picture.shape[1] - width) // 2
    for left, top, wide, high in boxes:
        y, x = 66 + top + high // 4, shift + left + np.array([6.5, 7.5]) * wide / 8
        shades = picture[y, x.astype(int)].mean(axis=1)
        assert shades[0] < 80 and shades[1] > 150  # episode 1: the last of eight bars is white


def test_memory_does_not_grow_with_the_episode(tmp_path):
    """300 frames of 2.7 MB would be 800 MB."""
    frame, seen = np.zeros((3, 720, 1280), np.uint8), []
    count = 300
    frames = (frame.copy() for _ in range(count))
    write_overlay(
        curve(count),
        frames,
        tmp_path / "long.mp4",
        advance=lambda _: seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
    )
    assert len(seen) == count and seen[-1] - seen[60] < 150_000  # kilobytes


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (10, 100), (100, 10)])
def test_tiles_fill_their_room_in_order_without_touching(count, shape):
    shapes = [shape] * (count - 1) + [(90, 160)]
    boxes, (width, height) = tile(shapes, 1232, 600, 384)
    assert len(boxes) == count and width <= 1234 and height <= 604
    for (high, wide), (_, _, w, h) in zip(shapes, boxes, strict=True):
        assert h <= 386 and w % 2 == h % 2 == 0
        assert w / h == pytest.approx(wide / high, rel=0.12, abs=0.12)
    for i, (left, top, wide, high) in enumerate(boxes):
        assert 0 <= left and left + wide <= width and top + high <= height
        for other_left, other_top, *_ in boxes[i + 1 :]:
            assert other_top >= top + high + GAP or (other_top == top and other_left >= left + wide + GAP)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tag", "t", "--episodes", "9"], "--episodes: '9' is none of the episodes 0:6"),
        (["--tag", "u", "--episodes", "0"], "holds no scores"),
        (["--tag", "t", "--episodes", "0", "--layout", "besides"], "did you mean 'beside'?"),
        (["--tag", "t", "--episodes", "0", "--fps", "0"], "--fps must be above 0"),
        (["--tag", "t", "--episodes", "0", "--cameras", "tip"], "did you mean 'top'?"),
        (["--tag", "t", "--episodes", "0", "--cameras", ",".join(["top"] * 7)], "1 to 6 cameras"),
    ],
)
def test_what_cannot_be_is_named_with_what_to_do(dataset, tmp_path, arguments, message):
    code, output = run("video", dataset, *arguments, "--output", tmp_path / "none")
    assert code == 1 and output.count("error:") == 1 and message in output.replace("\n", " ")
    assert not (tmp_path / "none").exists()


def test_a_video_of_the_dataset_that_ends_early_leaves_no_file(tmp_path):
    root = scored(make_dataset(tmp_path / "dataset", cameras={TOP: (48, 64), WRIST: (48, 64)}))
    for path in (root / "videos" / WRIST).rglob("*.mp4"):
        path.write_bytes(bytes(path.stat().st_size))
    code, output = run("video", root, "--tag", "t", "--episodes", "0", "--output", tmp_path / "out")
    assert code == 1 and "wrist" in output and "damaged" in output
    assert list((tmp_path / "out").iterdir()) == []
