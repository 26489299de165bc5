"""One h264 file that grows by episodes, each of them decodable from its own first frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from valuecurve.episodes.layout import DatasetError


class VideoFile:
    """One growing mp4. Every episode starts on a key frame, so it decodes without its predecessor."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int, crf: int, gop: int, preset: str):
        height, width = size
        if height % 2 or width % 2:
            raise DatasetError(f"{path.name}: h264 with yuv420p needs even sizes, got {height} x {width}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fps, self.size, self.frames = fps, size, 0
        self._container, self._open = av.open(str(path), "w"), True
        self._stream = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, fps)
        self._stream.codec_context.thread_count = 1  # the same bytes on every machine
        self._stream.options = {
            "crf": str(crf),
            "preset": preset,
            "g": str(gop),
            "sc_threshold": "0",
            "forced-idr": "1",
        }

    def append(self, images: np.ndarray) -> dict[str, float | int]:
        """Encode uint8 [T, H, W, 3]; where it lies, as the columns of meta/episodes."""
        start = self.frames
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.frames, Fraction(1, self.fps)
            if self.frames == start:
                frame.pict_type = PictureType.I
            self._container.mux(self._stream.encode(frame))
            self.frames += 1
        return {"from_timestamp": start / self.fps, "to_timestamp": self.frames / self.fps}

    def close(self) -> None:
        if self._open:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._open = False

    def info(self) -> dict:
        return {
            "video.height": self.size[0],
            "video.width": self.size[1],
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "is_depth_map": False,
            "video.fps": self.fps,
            "video.channels": 3,
            "has_audio": False,
        }
