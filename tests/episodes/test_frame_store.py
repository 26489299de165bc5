"""The frame store: right pictures, built once, resumable after a kill, safe on a full disk."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from tiny_datasets import TOP, WRIST, read_bars

from valuecurve.episodes import DatasetError, build_frame_store, decode_video, frame_store, open_dataset
from valuecurve.processing_value import resize_images


def build(dataset, cache: Path, size: int = 32, **options):
    return build_frame_store(dataset, size, cache_dir=cache, progress=False, **options)


def files_in(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.rglob("*") if path.is_file())


def file_of(store, camera=TOP) -> Path:
    return Path(str(store.images[camera].filename))


def whole(store, camera=TOP) -> bytes:
    return file_of(store, camera).read_bytes()


@pytest.fixture
def dataset(tiny_v30):
    return open_dataset(tiny_v30)


def test_gather_gives_the_pictures_of_the_rows(dataset, tmp_path):
    store = build(dataset, tmp_path)
    assert store.cameras == [TOP, WRIST]
    rows = np.array([56, 0, 17, 17, 30])
    for camera in store.cameras:
        images = store.gather(camera, rows)
        assert images.shape == (5, 3, 32, 32) and images.dtype == np.uint8
        episode, frame = read_bars(images)
        assert np.array_equal(episode, dataset.episode_index[rows])
        assert np.array_equal(frame, dataset.frame_index[rows])


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_frames_are_resized_by_the_one_resize(dataset, tmp_path, resample):
    store = build(dataset, tmp_path, resample=resample, cameras=["top"])
    for first, images in decode_video(dataset, TOP):
        expected = resize_images(torch.from_numpy(np.ascontiguousarray(images)), 32, resample).numpy()
        assert np.array_equal(store.gather(TOP, range(first, first + len(images))), expected)


def test_only_the_chosen_episodes_and_cameras_are_stored(dataset, tmp_path):
    store = build(dataset, tmp_path, cameras=[WRIST], episodes=[4, 1])
    assert store.cameras == [WRIST] and store.images[WRIST].shape == (15, 3, 32, 32)
    episode, frame = read_bars(store.gather(WRIST, dataset.episode_rows([1, 4])))
    assert episode.tolist() == [1] * 7 + [4] * 8 and frame.tolist() == [*range(7), *range(8)]
    with pytest.raises(DatasetError, match=r"row 0 is not in the frame store \(1 of 2 rows\)"):
        store.gather(WRIST, [0, 12])
    with pytest.raises(DatasetError, match="no camera 'observation.images.top' in the frame store"):
        store.gather(TOP, [12])
    with pytest.raises(DatasetError, match="rows must be 0 … 56, got -1 … 57"):
        store.gather(WRIST, [-1, 57])


def test_what_is_there_is_not_decoded_again(dataset, tmp_path, monkeypatch):
    first = build(dataset, tmp_path)
    monkeypatch.setattr(frame_store, "decode_video", None)
    assert whole(build(dataset, tmp_path)) == whole(first)


def test_every_choice_has_a_file_of_its_own(dataset, tmp_path):
    for size, resample, episodes in (
        (32, "bicubic", None),
        (16, "bicubic", None),
        (32, "bilinear", None),
        (32, "bicubic", [1]),
    ):
        build(dataset, tmp_path, size, resample=resample, episodes=episodes, cameras=[TOP])
    assert len(list(tmp_path.rglob("*.u8"))) == 4


def test_the_default_place_follows_the_environment(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("VALUECURVE_CACHE", str(tmp_path / "cache"))
    store = build_frame_store(dataset, 16, cameras=[TOP], episodes=[0], progress=False)
    assert file_of(store).parent == tmp_path / "cache" / "frames" / dataset.fingerprint


def test_cameras_of_different_sizes_are_each_resized(make, tmp_path):
    dataset = open_dataset(make(cameras={TOP: (48, 64), WRIST: (96, 32)}, image_cameras=(WRIST,)))
    store = build(dataset, tmp_path, 24)
    for camera in store.cameras:
        assert read_bars(store.gather(camera, [40]))[0] == dataset.episode_index[40]


KILLED = """
import sys, time
from valuecurve.episodes import build_frame_store, frame_store, open_dataset
decode = frame_store.decode_video
def slowly(*arguments):
    for chunk in decode(*arguments):
        yield chunk
        time.sleep(0.15)
frame_store.decode_video = slowly
frame_store.FLUSH_SECONDS = 0.0
build_frame_store(open_dataset(sys.argv[1]), 32, cache_dir=sys.argv[2], cameras=["top"], progress=False)
"""


def test_a_killed_build_is_continued_and_ends_byte_identical(make, tmp_path, monkeypatch):
    root = make(version="v2.1", lengths=[6] * 40, cameras={TOP: (48, 64)})
    dataset, cache = open_dataset(root), tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(cache)])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        journals = list(cache.rglob("*.journal"))
        if journals and journals[0].read_text().count("\n") >= 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not list(cache.rglob("*.u8")), "a half-written store has its final name"
    noted = {int(line) for line in journals[0].read_text().split()}
    assert 4 <= len(noted) < 40

    decoded = []
    decode = frame_store.decode_video

    def spy(dataset, camera, episodes, decoder):
        decoded.extend(episodes)
        return decode(dataset, camera, episodes, decoder)

    monkeypatch.setattr(frame_store, "decode_video", spy)
    resumed = build(dataset, cache)
    assert sorted(decoded) == sorted(set(range(40)) - noted)
    assert whole(resumed) == whole(build(dataset, tmp_path / "fresh"))
    assert files_in(cache) == [".lock", ".u8"]


def test_a_journal_cut_in_the_middle_of_a_line_is_read_up_to_there(dataset, tmp_path):
    fresh = whole(build(dataset, tmp_path / "fresh", cameras=[TOP]))
    path = next((tmp_path / "fresh").rglob("*.u8"))
    zeros = bytearray(fresh)
    zeros[len(zeros) * 12 // 57 :] = bytes(len(zeros) - len(zeros) * 12 // 57)  # only episode 0 was written
    path.rename(path.with_suffix(".u8.partial")).write_bytes(zeros)
    path.with_suffix(".journal").write_text("0\n1")  # "1" may have been "12…", or its line not complete
    with pytest.MonkeyPatch.context() as patched:  # killed once more, after the next note
        patched.setattr(frame_store, "FLUSH_SECONDS", -1.0)
        patched.setattr(frame_store, "decode_video", stops_after_one_chunk)
        with pytest.raises(KeyboardInterrupt):
            build(dataset, tmp_path / "fresh", cameras=[TOP])
    assert path.with_suffix(".journal").read_text() == "0\n1\n2\n"
    assert whole(build(dataset, tmp_path / "fresh", cameras=[TOP])) == fresh


def stops_after_one_chunk(*arguments):
    yield next(decode_video(*arguments))
    raise KeyboardInterrupt


def test_a_store_travels_to_worker_processes_as_a_path(dataset, tmp_path):
    store = build(dataset, tmp_path)
    sent = pickle.dumps(store)
    assert len(sent) < 3000
    assert np.array_equal(pickle.loads(sent).gather(WRIST, [5, 50]), store.gather(WRIST, [5, 50]))


def test_nothing_to_store_is_an_error(dataset, tmp_path):
    message = "no episode or no camera was asked for"
    with pytest.raises(DatasetError, match=message):
        build(dataset, tmp_path, episodes=[])
    with pytest.raises(DatasetError, match=message):
        build(dataset, tmp_path, cameras=[])


def test_a_file_of_another_size_is_built_again(dataset, tmp_path):
    fresh = whole(build(dataset, tmp_path, cameras=[TOP]))
    path = next(tmp_path.rglob("*.u8"))
    path.write_bytes(fresh[:-5])
    assert whole(build(dataset, tmp_path, cameras=[TOP])) == fresh


def test_an_error_in_the_video_leaves_no_store_and_the_build_can_go_on(make, tmp_path):
    root = make(version="v2.1", cameras={TOP: (48, 64)})
    video = root / f"videos/chunk-000/{TOP}/episode_000004.mp4"
    content = video.read_bytes()
    dataset = open_dataset(root)
    video.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(DatasetError, match="episode_000004.mp4"):
        build(dataset, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.u8"))
    video.write_bytes(content)
    assert whole(build(dataset, tmp_path / "cache")) == whole(build(dataset, tmp_path / "fresh"))


def test_a_second_builder_waits_for_the_first(dataset, tmp_path):
    path = file_of(build(dataset, tmp_path, cameras=[TOP]))
    expected = path.read_bytes()
    path.unlink()
    stores = []
    with FileLock(str(path.with_suffix(".lock"))):
        other = threading.Thread(target=lambda: stores.append(build(dataset, tmp_path, cameras=[TOP])))
        other.start()
        time.sleep(0.3)
        assert not stores and not path.exists()
        path.write_bytes(expected)  # the first one is done
        decode, frame_store.decode_video = frame_store.decode_video, None  # pyright: ignore
    other.join(timeout=30)
    frame_store.decode_video = decode
    assert whole(stores[0]) == expected


# -- disk full ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 kB; the frames of one camera need 175 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if (
        not hasattr(os, "geteuid")
        or os.geteuid() != 0
        or subprocess.run(options, capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


MESSAGE = r"no room for the frame store of observation.images.top: 175104 bytes needed .* bytes free in "


def test_no_room_is_found_before_anything_is_decoded(dataset, small_disk, monkeypatch):
    monkeypatch.setattr(frame_store, "decode_video", None)
    with pytest.raises(DatasetError, match=MESSAGE):
        build(dataset, small_disk, cameras=[TOP])
    assert files_in(small_disk) == []


def test_a_disk_that_fills_up_meanwhile_is_a_clear_error_and_the_build_goes_on(
    dataset, small_disk, monkeypatch
):
    def lies(path):
        return Usage(*usage(path)[:2], free=10**9)

    usage, Usage = frame_store.shutil.disk_usage, type(frame_store.shutil.disk_usage("/"))
    with monkeypatch.context() as patched:
        patched.setattr(frame_store.shutil, "disk_usage", lies)
        patched.delattr(os, "posix_fallocate")  # as on file systems that cannot reserve
        patched.setattr(frame_store, "FLUSH_SECONDS", 0.0)
        with pytest.raises(DatasetError, match=MESSAGE):
            build(dataset, small_disk, cameras=[TOP])
    assert ".u8" not in files_in(small_disk)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert whole(build(dataset, small_disk, cameras=[TOP])) == whole(
        build(dataset, small_disk.parent / "fresh", cameras=[TOP])
    )


def test_all_cameras_must_fit_before_the_first_is_decoded(dataset, tmp_path, monkeypatch):
    Usage = type(frame_store.shutil.disk_usage("/"))
    monkeypatch.setattr(frame_store.shutil, "disk_usage", lambda path: Usage(10**6, 800_000, 200_000))
    with pytest.raises(DatasetError, match=f"of {TOP}, {WRIST}: 350208 bytes needed .* 200000 bytes free"):
        build(dataset, tmp_path)
    assert files_in(tmp_path) == []


def test_no_room_without_a_small_disk(dataset, tmp_path, monkeypatch):
    Usage = type(frame_store.shutil.disk_usage("/"))
    monkeypatch.setattr(frame_store.shutil, "disk_usage", lambda path: Usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(DatasetError, match=MESSAGE):
        build(dataset, tmp_path, cameras=[TOP])
    assert files_in(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_clear_error(dataset, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DatasetError, match="the frame store cannot be written in"):
        build(dataset, tmp_path / "file")
