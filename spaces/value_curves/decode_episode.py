"""The decoding process: one request in, frames and browser videos out, within bounds of the system.

    python decode_episode.py request.json

It is started for one episode and dies with it. It knows no token and no secret of the app, may use so much
memory and time and no more, and writes into the folders of its request only. On its standard output go
messages, each a line of JSON, some of them followed by bytes:

    {"source": …}                              what the episode is: cameras, fps, tasks, …
    {"frame": camera, "height": h, "width": w}  followed by h * w * 3 bytes of RGB: frames in order
    {"done": true}    or    {"error": "for the visitor"}
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from limits import Limits, VisitorError
from sources import Source, open_source
from videos import guard_ffmpeg

from valuecurve.episodes.layout import DatasetError

WIDEST = 960  # pixels of the videos for the browser
ENCODER = {"crf": "21", "preset": "veryfast", "g": "10"}  # a key frame every 10, so that seeking is quick
BT709 = 1  # as evaluation/video.py writes


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no message
    limits = Limits(**request["limits"])
    work = Path(request["work"])
    try:
        bound(limits)
        guard_ffmpeg()
        source = open_source(request, work, limits)
        say(out, {"source": describe(source, work)})
        for camera in range(len(source.cameras)):
            send_camera(out, source, camera, Path(request["videos"]) / f"video-{camera}.mp4")
        say(out, {"done": True})
    except (VisitorError, DatasetError) as error:
        say(out, {"error": plain(str(error), work)})
    except MemoryError:
        say(
            out, {"error": "Reading this takes more memory than a visitor has here: make the videos smaller."}
        )
    out.close()


def bound(limits: Limits) -> None:
    """Limits of the operating system: memory, time, size of a file, open files, no core dump."""
    memory, seconds = int(limits.decode_memory_mb * 1e6), int(limits.decode_seconds) + 1
    size = int((limits.unpacked_mb + limits.upload_mb) * 1e6)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (2 * seconds, 2 * seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def plain(message: str, work: Path) -> str:
    """A message without the places of this machine, no longer than a person reads."""
    for folder in (work / "unpacked", work):
        message = message.replace(f"{folder}/", "").replace(str(folder), "the dataset")
    return message[:700]


def say(out, message: dict, data: bytes = b"") -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.write(data)
    out.flush()


def describe(source: Source, work: Path) -> dict:
    """What the parent needs to know; the state goes into a file."""
    if source.state is not None:
        np.save(work / "state.npy", np.asarray(source.state, np.float64))
    np.save(work / "task_index.npy", source.task_index)
    used = np.unique(source.task_index).tolist()
    return {
        "cameras": source.cameras,
        "fps": float(source.fps),
        "frames": len(source),
        "tasks": {str(index): source.tasks[index] for index in used} if source.tasks else {},
        "state": source.state is not None,
        "success": source.success,
        "dataset": source.dataset,
        "episode": source.episode,
        "episodes": source.episodes,
        "notes": source.notes,
    }


def send_camera(out, source: Source, camera: int, path: Path) -> None:
    """Send every frame of a camera, and write the same frames as a video that browsers play."""
    images = source.frames(camera)
    sent = encode(_sent(out, images, camera), path, source.fps)
    if sent != len(source):
        raise VisitorError(
            f"Camera {source.cameras[camera]} has {sent} frames, but the episode has {len(source)}: it is "
            "damaged."
        )


def _sent(out, images: Iterator[np.ndarray], camera: int) -> Iterator[np.ndarray]:
    for image in images:
        image = np.ascontiguousarray(image, np.uint8)
        height, width = image.shape[:2]
        say(out, {"frame": camera, "height": height, "width": width}, image.tobytes())
        yield image


def encode(images: Iterator[np.ndarray], path: Path, fps: float) -> int:
    """Write an mp4 (H.264, yuv420p, constant rate, header first) of even size; how many frames it has."""
    count = 0
    temporary = path.with_name(f".{path.name}.tmp")
    with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=ENCODER)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 2
        context.colorspace = context.color_primaries = context.color_trc = BT709
        for image in images:
            if count == 0:
                scale = min(1.0, WIDEST / image.shape[1])
                stream.width = max(2, round(image.shape[1] * scale / 2) * 2)
                stream.height = max(2, round(image.shape[0] * scale / 2) * 2)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            size = {"width": stream.width, "height": stream.height}
            container.mux(stream.encode(frame.reformat(**size, format="yuv420p", dst_colorspace="ITU709")))
            count += 1
        container.mux(stream.encode())
    temporary.replace(path)
    return count


if __name__ == "__main__":
    main()
