"""Videos that visitors upload: what is read of them, and what is refused before a frame is decoded."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from limits import Limits, VisitorError
from sources import from_videos
from tiny_datasets import bars, read_bars, write_video
from videos import guard_ffmpeg, nearest, plan_video, video_frames

LIMITS = Limits()


def pictures(count: int, episode: int = 1, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [bars(episode, frame, height, width) for frame in range(count)]


def shown(source, camera: int = 0) -> list[int]:
    """The frame numbers that a source's pictures spell."""
    images = np.stack(list(source.frames(camera))).transpose(0, 3, 1, 2)
    return read_bars(images)[1].tolist()


def write_at(path: Path, times: list[int], fps: int = 10) -> None:
    """A video whose k-th picture is shown from times[k] / 100 seconds on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for image, time in zip(pictures(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def guarded(monkeypatch):
    """ffmpeg as the decoding process has it, for this test alone."""
    monkeypatch.setattr(av, "open", av.open)
    guard_ffmpeg()


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "mov"])
def test_every_frame_of_a_regular_video_is_given_once_and_in_order(tmp_path, guarded, ending):
    path = tmp_path / f"top.{ending}"
    write_video(path, pictures(23), fps=10, codec="mpeg4" if ending == "avi" else "libx264")
    source = from_videos([path], None, None, LIMITS)
    assert (source.cameras, source.fps, len(source)) == (["top"], 10.0, 23)
    assert shown(source) == list(range(23))


def test_a_cover_is_not_taken_for_the_video(tmp_path, guarded):
    path = tmp_path / "top.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for image in pictures(8):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture.reformat(format="yuvj420p")))
        container.mux(cover.encode())
        container.mux(video.encode())
    source = from_videos([path], None, None, LIMITS)
    assert len(source) == 8 and shown(source) == list(range(8))


def test_frames_a_second_can_be_said_by_the_visitor(tmp_path):
    write_video(tmp_path / "a.mp4", pictures(6), fps=10)
    source = from_videos([tmp_path / "a.mp4"], None, 25.0, LIMITS)
    assert (source.fps, len(source)) == (25.0, 6)


def test_a_video_of_changing_rate_is_shown_at_a_constant_one(tmp_path):
    write_at(tmp_path / "phone.mp4", [0, 10, 20, 80, 90, 100])
    plan = plan_video(tmp_path / "phone.mp4", None, LIMITS)
    assert not plan.regular
    source = from_videos([tmp_path / "phone.mp4"], None, None, LIMITS)
    times = np.arange(len(source)) / source.fps
    expected = [int(np.argmin(np.abs(np.array([0, 0.1, 0.2, 0.8, 0.9, 1.0]) - time))) for time in times]
    assert shown(source) == expected
    assert times[-1] == pytest.approx(1.0, abs=1 / source.fps)


def test_cameras_of_different_rates_are_read_at_the_times_of_the_first(tmp_path):
    write_video(tmp_path / "slow.mp4", pictures(10), fps=5)
    write_video(tmp_path / "fast.mp4", pictures(20), fps=10)
    source = from_videos([tmp_path / "slow.mp4", tmp_path / "fast.mp4"], None, None, LIMITS)
    assert shown(source, 0) == list(range(10))
    assert shown(source, 1) == list(range(0, 20, 2))


def test_the_nearest_frame_is_taken():
    times = np.array([0.0, 0.1, 0.25, 1.0])
    assert nearest(times, np.array([0.0, 0.04, 0.06, 0.2, 0.9, 7.0])).tolist() == [0, 0, 1, 2, 3, 3]


def test_videos_of_different_times_are_refused(tmp_path):
    write_video(tmp_path / "a.mp4", pictures(10), fps=10)
    write_video(tmp_path / "b.mp4", pictures(30), fps=10)
    with pytest.raises(VisitorError, match=r"a.mp4 lasts 1.0 s and b.mp4 3.0 s: .* must show the same time"):
        from_videos([tmp_path / "a.mp4", tmp_path / "b.mp4"], None, None, LIMITS)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])  # an mkv does not say how many frames it has
def test_a_video_of_too_many_frames_is_refused_before_it_is_decoded(tmp_path, monkeypatch, ending):
    path = tmp_path / f"long.{ending}"
    write_video(path, pictures(30), fps=10)
    monkeypatch.setattr("videos.video_frames", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(VisitorError, match="at most 20 are read: cut it to one episode"):
        from_videos([path], None, None, Limits(frames=20))
    with pytest.raises(VisitorError, match="lasts 3 s, and at most 2 s are read"):
        from_videos([path], None, None, Limits(seconds=2))


def test_a_video_that_claims_a_million_frames_is_refused(tmp_path):
    """Its sample table is stretched: one entry that says 1,000,000 frames of one tick each."""
    path = tmp_path / "claims.mp4"
    write_video(path, pictures(30), fps=10, movflags="+faststart")
    data = path.read_bytes()
    at = data.index(b"stts") + 8  # entry count, then (frames, ticks)
    count = int.from_bytes(data[at : at + 4], "big")
    assert count == 1
    frames = (1_000_000).to_bytes(4, "big")
    sizes = data.index(b"stsz") + 12  # number of samples
    data = data[: at + 4] + frames + data[at + 8 : sizes] + frames + data[sizes + 4 :]
    path.write_bytes(data)
    with pytest.raises(VisitorError, match="1,000,000 frames or more|is not a video that can be read"):
        from_videos([path], None, None, LIMITS)


def test_pictures_that_are_too_large_are_refused_before_they_are_decoded(tmp_path):
    write_video(tmp_path / "large.mp4", pictures(3), fps=10)
    with pytest.raises(VisitorError, match="large.mp4 is 64 × 48 pixels, .* make it smaller"):
        from_videos([tmp_path / "large.mp4"], None, None, Limits(pixels=1000))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is no video",
        b"\x00" * 5000,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
    ],
    ids=["empty", "text", "zeros", "playlist", "concat", "picture"],
)
def test_what_is_no_video_is_refused(tmp_path, guarded, content):
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(VisitorError, match="fake.mp4 is not a video that can be read: MP4, MOV, WebM"):
        from_videos([path], None, None, LIMITS)


def test_a_playlist_that_names_a_real_video_is_refused_too(tmp_path, guarded):
    write_video(tmp_path / "real.mp4", pictures(4), fps=10)
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {tmp_path / 'real.mp4'}\n")
    with pytest.raises(VisitorError, match="is not a video"):
        from_videos([path], None, None, LIMITS)


def test_a_video_that_is_cut_short_is_refused_and_says_so(tmp_path):
    path = tmp_path / "cut.mp4"
    noise = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8) for i in range(40)]
    write_video(path, noise, fps=10, movflags="+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    plan = plan_video(path, None, LIMITS)
    with pytest.raises(VisitorError, match="cut.mp4 .*Export it\\s+again"):
        list(video_frames(plan, np.arange(40)))


def test_a_single_picture_is_no_episode(tmp_path):
    write_video(tmp_path / "one.mp4", pictures(1), fps=10)
    with pytest.raises(VisitorError, match="one.mp4 has 1 frames: an episode is a video of at least 2"):
        from_videos([tmp_path / "one.mp4"], None, None, LIMITS)


def test_a_state_needs_a_row_for_every_frame(tmp_path):
    write_video(tmp_path / "a.mp4", pictures(6), fps=10)
    table = tmp_path / "state.csv"
    table.write_text("\n".join("1,2" for _ in range(6)))
    source = from_videos([tmp_path / "a.mp4"], table, None, LIMITS)
    assert source.state is not None and source.state.shape == (6, 2)
    table.write_text("1,2\n1,2")
    with pytest.raises(VisitorError, match="state.csv has 2 rows, but a.mp4 has 6 frames"):
        from_videos([tmp_path / "a.mp4"], table, None, LIMITS)
