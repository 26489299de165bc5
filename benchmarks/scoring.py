"""How fast is scoring, and how much memory does it take?

    python benchmarks/scoring.py                       # everything; the tables go into --results
    python benchmarks/scoring.py --models tiny --data sample --rounds 1

Four things take turns in one process, so that whatever else the machine does meets all of them:

- **ours**: `score_dataset`, from the mp4 files to the files of scores;
- **decode**: the same frames and cameras read by `decode_video`, one camera after the other, and dropped;
- **forward**: the model alone, on pictures in memory, in batches as large as ours; all cores (the faster of
  torch's own threads and of batches side by side);
- **the usual way**: for every frame and camera a seek in the mp4 (files stay open) and decoding from the last
  key frame on, a resize by itself, and a forward pass for every 8 frames. On some of the frames, in the same
  precision.

Data: episodes of the sample, and made-up ones of two cameras at 480x640 and 30 frames a second (moving
shapes with noise), as AV1 with LeRobot's settings (a key frame every second frame) and as h264 with a key
frame every second. Models: `tiny` is the recipe value_tiny; `small` has the shape of a ViT-Ti/16 at 224
pixels and a text backbone of width 192, with random weights. Peak memory: one episode of 1,500 frames and
four cameras at 480x640, by the tiny model, in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
import transformers
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream
from pages import write_between

from valuecurve.episodes import EpisodeDataset, decode_video, open_dataset
from valuecurve.episodes.writing import DatasetWriter
from valuecurve.scoring.checkpoint import Checkpoint, load_checkpoint
from valuecurve.scoring.forward import Forward, best_dtype
from valuecurve.scoring.job import Job, Settings
from valuecurve.scoring.run import score_dataset
from valuecurve.training import RobotData, load_config
from valuecurve.training.build import build_model

ROOT = Path(__file__).parents[1]
SIZE, FPS, TASK = (480, 640), 30, "push the puck to the goal"
SMALL_BATCH = 8  # frames in a forward pass of the usual way
LIMIT = 2.0  # GB of memory that an episode of any length may take


# --- data --------------------------------------------------------------------------------------------------


def pictures(episode: int, camera: int, frames: int) -> np.ndarray:
    """Shapes that move over a gradient, with a sensor's noise: uint8 [frames, H, W, 3]."""
    random = np.random.default_rng([episode, camera])
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    background = np.stack([x / 4, y / 3, (x + y) / 7], axis=-1)
    noise = random.normal(0, 4, (8, *SIZE, 3)).astype(np.float32)
    start, speed = random.uniform(0, 400, (6, 2)), random.uniform(-3, 3, (6, 2))
    colours = random.uniform(-120, 120, (6, 3))
    shown = np.empty((frames, *SIZE, 3), np.uint8)
    for t in range(frames):
        picture = background + noise[t % len(noise)]
        for (top, left), colour in zip((start + t * speed) % 420, colours, strict=True):
            picture[int(top) : int(top) + 60, int(left) : int(left) + 60] += colour
        shown[t] = picture.clip(0, 255)
    return shown


def made_up(folder: Path, codec: str, episodes: int, frames: int, cameras: int) -> Path:
    """A dataset of made-up episodes, made if it is not there yet."""
    if folder.exists():
        return folder
    say(f"making {folder}")
    keys = {f"observation.images.camera_{i}": SIZE for i in range(cameras)}
    features = {"next.success": {"dtype": "bool", "shape": [1], "names": None}}
    part = folder.with_name(f"{folder.name}.part")
    with DatasetWriter(part, FPS, keys, features, gop=FPS, preset="veryfast", overwrite=True) as writer:
        for episode in range(episodes):
            views = [pictures(episode, i, frames) for i in range(min(cameras, 2))]
            shown = {key: views[i % 2] for i, key in enumerate(keys)}
            success = np.arange(frames) == frames - 1
            writer.add_episode({"next.success": success[:, None]}, shown, TASK)
    for path in part.rglob("*.mp4") if codec == "av1" else ():
        to_av1(path)
    part.rename(folder)
    return folder


def to_av1(path: Path) -> None:
    """The same frames as AV1 with LeRobot's settings: crf 30, a key frame every second frame."""
    other = path.with_suffix(".av1.mp4")
    with av.open(str(path)) as source, av.open(str(other), "w") as target:
        stream = target.add_stream("libsvtav1", rate=FPS, options={"crf": "30", "g": "2", "preset": "8"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in source.decode(video=0):
            frame.pict_type = PictureType.NONE
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    other.replace(path)


# --- models ------------------------------------------------------------------------------------------------


def make_checkpoint(folder: Path, model: str, dataset: Path) -> Checkpoint:
    """A checkpoint that fits the dataset: the recipe value_tiny, or one of the size "small"."""
    overrides = {"data.dataset": str(dataset), "training.output_dir": str(folder)}
    recipe = ROOT / "trainer/recipes/value_tiny.yaml"
    if model == "tiny":
        overrides["model.base"] = str(ROOT / "examples/value_tiny_base")
    else:
        recipe = ROOT / "trainer/recipes/value_tiny_scratch.yaml"
        vision = {
            "model_type": "siglip_vision_model",
            "image_size": 224,
            "patch_size": 16,
            "hidden_size": 192,
        }
        vision |= {"intermediate_size": 768, "num_hidden_layers": 12, "num_attention_heads": 3}
        text = {"model_type": "gemma3_text", "hidden_size": 192, "intermediate_size": 512}
        text |= {"num_hidden_layers": 6, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 64}
        overrides |= {"model.config.vision_config": json.dumps(vision)}
        overrides |= {"model.config.text_config": json.dumps(text)}
        overrides |= {"model.config.vision_tokens_per_image": "49"}
    torch.manual_seed(0)
    config = load_config(recipe, [text for key, value in overrides.items() for text in (f"--{key}", value)])
    made, processor = build_model(config.model, RobotData.prepare(config.data))
    processor.state_statistics = {}
    made.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load_checkpoint(str(folder))


# --- contenders --------------------------------------------------------------------------------------------


@dataclass
class Speed:
    """Frames a second by the wall's clock, and milliseconds of CPU, of all threads, for each frame."""

    wall: float
    cpu: float


class Timer:
    """Speed of what happens until `of` is called."""

    def __init__(self):
        self.begin = time.perf_counter(), time.process_time()

    def of(self, frames: int) -> Speed:
        wall, cpu = time.perf_counter() - self.begin[0], time.process_time() - self.begin[1]
        return Speed(frames / wall, cpu * 1000 / frames)


class Contenders:
    """One checkpoint and some episodes of a dataset; every contender is a method that returns its speed."""

    def __init__(self, checkpoint: Checkpoint, dataset: EpisodeDataset, episodes: list[int], work: Path):
        self.checkpoint, self.dataset, self.episodes, self.work = checkpoint, dataset, episodes, work
        self.settings = Settings(episodes=episodes)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.job = Job(dataset, checkpoint, self.settings, device)
        self.rows = dataset.episode_rows(episodes)
        self.threads = torch.get_num_threads() if device.type == "cpu" else 1
        self.places = [dataset.video_files(camera.key) for camera in self.job.cameras]
        self.open: dict[Path, InputContainer] = {}

    def ours(self) -> Speed:
        """Written down as well, and so is the manifest."""
        timer = Timer()
        score_dataset(self.checkpoint, self.dataset, "speed", self.work, self.settings, overwrite=True)
        return timer.of(len(self.rows))

    def decode(self) -> Speed:
        timer = Timer()
        for camera in self.job.cameras:
            for _ in decode_video(self.dataset, camera.key, self.episodes):
                pass
        return timer.of(len(self.rows))

    def forward(self, frames: int) -> Speed:
        """The faster of both ways to use the cores, after one batch that is not timed."""
        size, cameras = self.checkpoint.processor.image_size, len(self.job.cameras)
        batch = self.settings.batch_size
        images = torch.randint(0, 256, (batch, cameras, 3, size, size), dtype=torch.uint8)
        times = max(1, frames // batch)
        prompts = self.job.prompts(np.resize(self.rows, batch))
        speeds = []
        for threads in {1, self.threads}:
            with Forward(self.checkpoint, self.job.device, self.job.dtype, threads) as forward:
                # one thread of ours with all of torch's, as usual; or several, each with one of torch's
                allowed = self.threads if threads == 1 else 1
                forward.submit(torch.set_num_threads, allowed).result()
                forward.submit(forward.frames, images, prompts).result()
                timer = Timer()
                for future in [forward.submit(forward.frames, images, prompts) for _ in range(times)]:
                    future.result()
                speeds.append(timer.of(times * batch))
        return max(speeds, key=lambda speed: speed.wall)

    def usual(self, frames: int) -> Speed:
        """On frames that lie evenly over the episodes."""
        rows = self.rows[np.linspace(0, len(self.rows) - 1, min(frames, len(self.rows))).astype(int)]
        model, processor = self.checkpoint.model, self.checkpoint.processor
        names = [camera.name for camera in self.job.cameras]
        timer = Timer()
        for i in range(0, len(rows), SMALL_BATCH):
            some = rows[i : i + SMALL_BATCH].tolist()
            shown = [
                {name: self.seek(place, row) for name, place in zip(names, self.places, strict=True)}
                for row in some
            ]
            tasks = [self.dataset.tasks[self.dataset.task_index[row]] for row in some]
            autocast = torch.autocast(model.device.type, self.job.dtype, self.job.dtype != torch.float32)
            with torch.inference_mode(), autocast:
                model(**processor(images=shown, task=tasks).to(model.device)).value.cpu()
        return timer.of(len(rows))

    def seek(self, place: tuple[list[Path], np.ndarray], row: int) -> np.ndarray:
        """One frame [H, W, 3] by a seek."""
        files, begins = place
        episode = int(np.searchsorted(self.dataset.starts, row, side="right") - 1)
        half = 0.5 / self.dataset.fps
        wanted = begins[episode] + self.dataset.frame_index[row] / self.dataset.fps
        path = files[episode]
        if path not in self.open:
            self.open[path] = av.open(str(path))
        stream = self.open[path].streams.video[0]
        self.open[path].seek(int(max(wanted - half, 0) / (stream.time_base or 1)), stream=stream)
        for frame in self.open[path].decode(stream):
            if (frame.time or 0.0) >= wanted - half:
                return frame.to_ndarray(format="rgb24")
        raise ValueError(f"{path}: no frame at {wanted:.2f} s")


def measure(model: str, data: str, options: argparse.Namespace) -> dict:
    """Median speeds of every contender."""
    folder, episodes = options.datasets[data]
    dataset = open_dataset(folder)
    whole = folder if data == "sample" else options.work / "data" / f"{data}_to_train_on"
    checkpoint = make_checkpoint(options.work / "models" / f"{model}_{data}", model, whole)
    chosen = dataset.episode_ids[: episodes if model == "tiny" else max(1, episodes // 16)].tolist()
    it = Contenders(checkpoint, dataset, chosen, options.work / "values")
    few = 256 if model == "tiny" else 64
    contenders: dict[str, Callable[[], Speed]] = {
        "ours": it.ours,
        "decode": it.decode,
        "forward": lambda: it.forward(4 * few),
        "usual": lambda: it.usual(few),
    }
    speeds: dict[str, list[Speed]] = {name: [] for name in contenders}
    for number in range(options.rounds):
        for name, contender in contenders.items():
            speeds[name].append(contender())
        said = ", ".join(f"{name} {s[-1].wall:.1f} ({s[-1].cpu:.2f} ms)" for name, s in speeds.items())
        say(f"{model}, {data}, round {number + 1}: {said}")
    found = {
        name: Speed(median(speed.wall for speed in values), median(speed.cpu for speed in values))
        for name, values in speeds.items()
    }
    return {"model": model, "data": data, "frames": len(it.rows), "cameras": len(it.job.cameras), **found}


# --- memory ------------------------------------------------------------------------------------------------


def peak_memory(checkpoint: Path, dataset: Path, values: Path) -> float:
    """Largest resident memory, in GB, of `valuecurve score` on a dataset, in a process of its own."""
    arguments = [str(checkpoint), str(dataset), "--tag", "memory", "--values", str(values), "--overwrite"]
    code = (
        "import sys\nfrom valuecurve.cli import app\n"
        "app(['score', *sys.argv[1:]], standalone_mode=False)\n"
        "print('\\n' + next(l for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return int(result.stdout.split("VmHWM:")[1].split()[0]) / 1024**2


def memory_table(options: argparse.Namespace) -> list[str]:
    """Peak memory for a short and for a long episode of four cameras."""
    data = options.work / "data"
    lines = ["", "| one episode, four cameras at 480x640 | peak memory, GB |", "|---|---:|"]
    train = made_up(data / "memory_to_train_on", "h264", 4, 20, 4)
    checkpoint = options.work / "models" / "memory"
    make_checkpoint(checkpoint, "tiny", train)
    for frames in (150, 1500):
        dataset = made_up(data / f"memory_{frames}", "h264", 1, frames, 4)
        lines.append(f"| {frames} frames | {peak_memory(checkpoint, dataset, options.work / 'values'):.2f} |")
        say(lines[-1])
    return lines


# --- the tables --------------------------------------------------------------------------------------------


def table(results: list[dict]) -> list[str]:
    lines = [
        "| frames a second | frames x cameras | ours | decode | forward | of the slower | of both on these "
        "cores | the usual way | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    below = [
        "",
        "| ms of CPU a frame | ours | decode | forward | ours beyond both | the usual way |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for it in results:
        ours, decode, forward, usual = (it[name] for name in ("ours", "decode", "forward", "usual"))
        both = 1 / (1 / decode.wall + 1 / forward.wall)
        cells = [
            f"{it['model']}, {it['data']}",
            f"{it['frames']} x {it['cameras']}",
            *(f"{speed.wall:.3g}" for speed in (ours, decode, forward)),
            f"{ours.wall / min(decode.wall, forward.wall):.0%}",
            f"{ours.wall / both:.0%}",
            f"{usual.wall:.3g}",
            f"{ours.wall / usual.wall:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
        cells = [cells[0], *(f"{speed.cpu:.2f}" for speed in (ours, decode, forward))]
        cells += [f"{ours.cpu / (decode.cpu + forward.cpu) - 1:+.0%}", f"{usual.cpu:.2f}"]
        below.append("| " + " | ".join(cells) + " |")
    return lines + below


def head() -> str:
    cuda = torch.cuda.is_available()
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    name = torch.cuda.get_device_name() if cuda else (names or ["CPU"])[0]
    dtype = str(best_dtype(torch.device("cuda" if cuda else "cpu"))).removeprefix("torch.")
    return (
        f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, av {av.__version__}, {date.today()}; "
        f"all in {dtype}. A frame is what all cameras show at one time."
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=["tiny", "small"], default=["tiny", "small"])
    parser.add_argument(
        "--data", nargs="+", choices=["sample", "h264", "av1"], default=["sample", "h264", "av1"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--episodes",
        type=int,
        default=8,
        help="made-up episodes for the tiny model; 12 times as many of the sample",
    )
    parser.add_argument("--frames", type=int, default=400, help="frames of a made-up episode")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--work", type=Path, default=Path("outputs/scoring_benchmark"))
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/RESULTS.md")
    options = parser.parse_args(argv)
    options.work = options.work.resolve()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options.datasets = {"sample": (ROOT / "examples/metaworld_push", 12 * options.episodes)}
    for codec in set(options.data) - {"sample"}:
        made_up(options.work / "data" / f"{codec}_to_train_on", codec, 4, 20, 2)
        folder = options.work / "data" / f"{codec}_{options.episodes}x{options.frames}"
        options.datasets[codec] = (
            made_up(folder, codec, options.episodes, options.frames, 2),
            options.episodes,
        )
    results = [measure(model, data, options) for model in options.models for data in options.data]
    lines = [head(), "", *table(results), *([] if options.no_memory else memory_table(options))]
    print("\n".join(lines))
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    write_between(options.results, f"scoring {kind}", "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
