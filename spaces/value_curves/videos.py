"""Videos of visitors: looked at without decoding, then read frame by frame. In the decoding process only."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from limits import Limits, VisitorError

# ffmpeg's names: playlists (which may name other files and addresses) are not among them
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
WAYS_OUT = "MP4, MOV, WebM, MKV and AVI can be read"


def guard_ffmpeg() -> None:
    """From now on this process opens plain video files only, whatever a file says it is."""
    real: Any = av.open

    def open_video(file, mode="r", **options):
        if mode == "r":
            allowed = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
            options["options"] = {**(options.get("options") or {}), **allowed}
        return real(file, mode, **options)

    av.open = open_video


@dataclass
class Plan:
    """A video that has been looked at, not decoded: the time of each of its n frames, ascending."""

    path: Path
    times: np.ndarray  # float64 [n], seconds since its first frame
    fps: float
    regular: bool  # whether frame k lies within half a frame of k / fps


def moving_picture(container) -> Any:
    """The first video stream that can be decoded and is no cover; None where there is none."""
    streams = (s for s in container.streams.video if s.codec_context is not None)
    return next((s for s in streams if not s.disposition & Disposition.attached_pic), None)


def plan_video(path: Path, fps: float | None, limits: Limits) -> Plan:
    """Look at a video's header and packets; nothing is decoded.

    Raises:
        VisitorError: no video, or one that is too long or too large.
    """
    try:
        with av.open(str(path)) as container:
            stream = moving_picture(container)
            if stream is None:
                raise VisitorError(f"{path.name} holds no moving picture: {WAYS_OUT}.")
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            check_size(path.name, stream.width, stream.height, limits)
            check_length(path.name, stream.frames, seconds, limits)
            stamps = _time_stamps(path, container, stream, limits)
            announced = float(stream.average_rate or 0)
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        _check_memory(error)
        raise VisitorError(f"{path.name} is not a video that can be read: {WAYS_OUT}.") from error
    return _plan(path, stamps, fps, announced, limits)


def _check_memory(error: Exception) -> None:
    """Raises MemoryError where that is what stands behind an error of ffmpeg."""
    if getattr(error, "errno", None) == errno.ENOMEM or isinstance(error.__context__, MemoryError):
        raise MemoryError from error


def _time_stamps(path: Path, container, stream, limits: Limits) -> list[float | None]:
    stamps = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        stamp = packet.pts if packet.pts is not None else packet.dts
        stamps.append(None if stamp is None else float(stamp * packet.time_base))
        check_length(path.name, len(stamps), 0.0, limits)
    return stamps


def _plan(
    path: Path, stamps: list[float | None], fps: float | None, announced: float, limits: Limits
) -> Plan:
    n = len(stamps)
    if n < 2:
        raise VisitorError(f"{path.name} has {n} frames: an episode is a video of at least 2.")
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if fps:
        return Plan(path, np.arange(n) / fps, fps, True)
    if len(known) < n or known[-1] <= known[0]:
        rate = announced if 0.1 <= announced <= 240 else 0.0
        if not rate:
            raise VisitorError(
                f"{path.name} does not say how many frames a second it has: fill in “Frames a second”."
            )
        return Plan(path, np.arange(n) / rate, rate, True)
    times = np.array(known) - known[0]
    check_length(path.name, n, times[-1], limits)
    rate = (n - 1) / times[-1]
    rate = announced if announced and abs(announced / rate - 1) < 0.01 else rate
    regular = bool(np.abs(times - np.arange(n) / rate).max() < 0.5 / rate) and 0.1 <= rate <= 240
    return Plan(path, times, rate, regular)


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """Raises VisitorError for pictures that are too large."""
    if width * height > limits.pixels:
        raise VisitorError(
            f"{name} is {width} × {height} pixels, and at most {limits.pixels / 1e6:.1f} million are read: "
            "make it "
            "smaller (a model looks at a few hundred pixels a side)."
        )
    if width < 16 or height < 16:
        raise VisitorError(f"{name} is {width} × {height} pixels: that is too small to see a robot.")


def check_length(name: str, frames: int, seconds: float, limits: Limits) -> None:
    """Raises VisitorError for episodes that are too long."""
    if frames > limits.frames:
        raise VisitorError(
            f"{name} has {frames:,} frames or more, and at most {limits.frames:,.0f} are read: cut it to one "
            "episode, or lower its frame rate (10 a second are plenty)."
        )
    if seconds > limits.seconds:
        raise VisitorError(
            f"{name} lasts {seconds:,.0f} s, and at most {limits.seconds:,.0f} s are read: cut it to one "
            "episode."
        )


def video_frames(plan: Plan, pick: np.ndarray) -> Iterator[np.ndarray]:
    """The picked frames (ascending, may repeat) of a video, uint8 [H, W, 3], turned as a phone held it."""
    given, count, last = 0, 0, None
    try:
        with av.open(str(plan.path)) as container:
            stream = moving_picture(container)
            assert stream is not None  # it was there when it was planned
            stream.thread_type, stream.codec_context.thread_count = "FRAME", 2
            for number, frame in enumerate(container.decode(stream)):
                count = number + 1
                if given == len(pick):
                    break
                if pick[given] > number:
                    continue
                image = frame.to_ndarray(format="rgb24")
                last = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))
                while given < len(pick) and pick[given] == number:
                    yield last
                    given += 1
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        _check_memory(error)
        raise VisitorError(
            f"{plan.path.name} is damaged: it could be read up to frame {count} of {len(plan.times)}. "
            "Export it "
            "again, for example as MP4 (H.264)."
        ) from error
    missing = len(pick) - given
    if last is None or missing > max(2, 0.02 * len(pick)):
        raise VisitorError(
            f"{plan.path.name} announces {len(plan.times)} frames and holds {count}: it is cut short. "
            "Export it "
            "again."
        )
    for _ in range(missing):  # the very last ones, which some encoders announce and never write
        yield last


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For every wanted time the frame that is nearest to it, int64."""
    after = np.searchsorted(times, wanted).clip(1, max(len(times) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)
