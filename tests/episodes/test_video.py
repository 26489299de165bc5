"""Decoding: every picture is the right one, each exactly once, by both decoders and both versions."""

import av
import numpy as np
import pytest
from tiny_datasets import TOP, WRIST, bars, edit_parquet, read_bars, write_video

from valuecurve.episodes import DatasetError, decode_video, open_dataset, video

EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def has_torchcodec() -> bool:
    try:
        import torchcodec.decoders  # noqa: F401  # pyright: ignore[reportMissingImports]
    except Exception:
        return False
    return True


torchcodec = pytest.param(
    "torchcodec", marks=pytest.mark.skipif(not has_torchcodec(), reason="no torchcodec")
)


def check_pictures(dataset, camera, episodes, decoder="pyav"):
    """Every wanted row comes once, in chunks of at most 64, and shows its own episode and frame."""
    rows = []
    for first, images in decode_video(dataset, camera, episodes, decoder):
        found = dataset.cameras[camera]
        assert images.dtype == np.uint8 and images.shape[1:] == (3, found.height, found.width)
        assert len(images) <= 64
        mine = np.arange(first, first + len(images))
        episode, frame = read_bars(images)
        assert np.array_equal(episode, dataset.episode_index[mine] % 256)
        assert np.array_equal(frame, dataset.frame_index[mine])
        rows += mine.tolist()
    assert sorted(rows) == dataset.episode_rows(episodes).tolist()


@pytest.mark.parametrize("decoder", ["pyav", torchcodec])
@pytest.mark.parametrize("episodes", [None, [1, 4], [2, 3], [5]])
@pytest.mark.parametrize("version", ["v30", "v21"])
def test_every_picture_is_the_right_one(version, episodes, decoder, request):
    dataset = open_dataset(request.getfixturevalue(f"tiny_{version}"))
    for camera in (TOP, WRIST):
        check_pictures(dataset, camera, episodes, decoder)


@pytest.mark.parametrize("decoder", ["pyav", torchcodec])
@pytest.mark.parametrize("gop", [5, 250])
def test_long_unneeded_stretches_are_jumped_over_exactly(make, decoder, gop, monkeypatch):
    dataset = open_dataset(make(lengths=[90] * 6, cameras={TOP: (48, 64)}, files=1, gop=gop))
    monkeypatch.setattr(video, "SKIP", 100)  # jumps of 100 frames: before episode 2 and between 2 and 5
    check_pictures(dataset, TOP, [2, 5], decoder)


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="no AV1 encoder")
@pytest.mark.parametrize("decoder", ["pyav", torchcodec])
def test_av1_as_lerobot_writes_it(make, decoder):
    root = make(cameras={TOP: (64, 96)}, files=1)
    path = root / f"videos/{TOP}/chunk-000/file-000.mp4"
    dataset = open_dataset(root)
    order = zip(dataset.episode_index.tolist(), dataset.frame_index.tolist(), strict=True)
    write_video(path, [bars(e, f, 64, 96) for e, f in order], 10, gop=2, codec="libsvtav1")
    for episodes in (None, [1, 4]):
        check_pictures(dataset, TOP, episodes, decoder)


def test_each_file_is_opened_once_and_only_if_needed(tiny_v30, monkeypatch):
    opened = []
    original = av.open
    monkeypatch.setattr(av, "open", lambda path, *a, **k: opened.append(path) or original(path, *a, **k))
    dataset = open_dataset(tiny_v30)
    list(decode_video(dataset, TOP))
    assert len(opened) == len(set(opened)) == 2
    opened.clear()
    list(decode_video(dataset, TOP, [4]))
    assert [path.endswith("file-001.mp4") for path in opened] == [True]


@pytest.mark.skipif(not has_torchcodec(), reason="no torchcodec")
def test_both_decoders_give_the_same_pixels(tiny_v30):
    dataset = open_dataset(tiny_v30)
    for (row, left), (same, right) in zip(
        decode_video(dataset, TOP, decoder="pyav"),
        decode_video(dataset, TOP, decoder="torchcodec"),
        strict=True,
    ):
        assert row == same
        assert np.abs(left.astype(int) - right.astype(int)).max() <= 2


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_images_in_parquet_are_cameras_too(make, version):
    dataset = open_dataset(make(version=version, image_cameras=(WRIST,)))
    assert [camera.kind for camera in dataset.cameras.values()] == ["video", "image"]
    for episodes in (None, [4, 1]):
        check_pictures(dataset, WRIST, episodes)
    first, images = next(decode_video(dataset, WRIST, [1]))
    assert np.array_equal(images[3].transpose(1, 2, 0), bars(1, 3, 64, 48))  # png: exact


def test_a_camera_goes_by_its_short_name(tiny_v30):
    dataset = open_dataset(tiny_v30)
    assert next(decode_video(dataset, "top"))[1].shape[1:] == (3, 48, 64)
    with pytest.raises(DatasetError, match=f"no camera 'left'; cameras: {TOP}, {WRIST}"):
        next(decode_video(dataset, "left"))


def test_small_errors_of_from_timestamp_do_not_shift_frames(make):
    root = make()
    edit_parquet(root / EPISODES, f"videos/{TOP}/from_timestamp", lambda old: [t + 0.03 for t in old])
    check_pictures(open_dataset(root), TOP, None)


def test_a_from_timestamp_inside_another_episode_is_an_error(make):
    root = make()
    edit_parquet(root / EPISODES, f"videos/{TOP}/from_timestamp", lambda old: [0.0] * len(old))
    with pytest.raises(
        DatasetError, match=r"file-000.mp4: camera observation.images.top: episode 1 begins at"
    ):
        list(decode_video(open_dataset(root), TOP))


def test_a_hole_in_the_video_is_an_error_that_says_where(make):
    root = make(files=1, lengths=[20, 20])
    pictures = [bars(0, k, 48, 64) for k in range(40)]
    path = root / f"videos/{TOP}/chunk-000/file-000.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for k, picture in enumerate(pictures):
            if k == 27:
                continue
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(
        DatasetError, match=r"episode 1: frame 7 of 20 .* gave 27 of the 40 .* next frame is at 2.8"
    ):
        list(decode_video(open_dataset(root), TOP))


def test_other_decoders_are_unknown(tiny_v30):
    with pytest.raises(ValueError, match="decoder must be one of pyav, torchcodec, got 'opencv'"):
        next(decode_video(open_dataset(tiny_v30), TOP, decoder="opencv"))


def test_pictures_that_change_size_between_files_come_in_their_own_size(make):
    root = make(version="v2.1", lengths=[4, 4])
    path = root / f"videos/chunk-000/{TOP}/episode_000001.mp4"
    write_video(path, [bars(1, k, 80, 96) for k in range(4)], 10)
    shapes = [images.shape for _, images in decode_video(open_dataset(root), TOP)]
    assert shapes == [(4, 3, 48, 64), (4, 3, 80, 96)]
