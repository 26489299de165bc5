"""How fast is training, and where does the time go?

    python benchmarks/train_throughput.py                # the tiny recipe and the real size
    python benchmarks/train_throughput.py --sizes tiny --profile --peer

Three things alternate in one process, so that whatever else the machine does meets all of them:

- **in memory**: one batch that stays on the device; forward, backward, gradient clipping, optimizer. The
  floor: no data, no augmentation, no averaged weights, no trainer.
- **end to end**: `ValueTrainer` as `trainer/run.py` uses it, from the frame store to the averaged weights.
- a matrix product, for what the device can do at this moment.

Clocks: the wall's, and on CPUs the process's own (seconds of CPU), which other programs do not disturb.
`--peer` measures how others make a batch (see `PeerLoader`), `--profile` the parts of a step. The tables go
into --results, between markers.
"""

import argparse
import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from pages import write_between
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from valuecurve.evaluation.backbones import BACKBONES
from valuecurve.training import Prepared, ValueTrainer, load_config, prepare
from valuecurve.training import trainer as trainer_module
from valuecurve.training.mixture import Indices, MixtureSampler

ROOT = Path(__file__).parents[1]
# The vocabulary becomes that of the sample's tokenizer: robot frames use neither Gemma's other rows nor
# its LM head.
SIGLIP, GEMMA = BACKBONES["google/siglip-so400m-patch14-224"], BACKBONES["google/gemma-3-270m"]
# Dense bfloat16 peaks of the makers' data sheets, FLOP/s.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


# --- what is measured --------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Wall and CPU seconds of each round, by name."""

    device: torch.device
    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def now(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def add(self, name: str, begin: tuple[float, float], units: float) -> None:
        """Notes the seconds since `begin`, per unit."""
        wall, cpu = self.now()
        self.wall.setdefault(name, []).append((wall - begin[0]) / units)
        self.cpu.setdefault(name, []).append((cpu - begin[1]) / units)


class TimeSteps(TrainerCallback):
    """Times the steps of a trainer behind the first `warmup` ones."""

    def __init__(self, clock: Clock, warmup: int):
        self.clock, self.warmup = clock, warmup

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.warmup:
            self.begin = self.clock.now()
        if state.global_step == state.max_steps:
            self.clock.add("end to end", self.begin, state.max_steps - self.warmup)


def make_trainer(config, prepared: Prepared, callbacks=()) -> ValueTrainer:
    """The trainer of `trainer/run.py`, without validation."""
    args = config.training
    sampler = MixtureSampler(prepared.data.part_rows("train"), seed=args.seed)
    return ValueTrainer(
        model=prepared.model,
        args=args,
        processing_class=prepared.processor,
        train_dataset=Indices(len(sampler)),
        train_sampler=sampler,
        data_collator=prepared.collator.training(args.state_dropout, args.seed),
        callbacks=list(callbacks),
    )


def in_memory(
    trainer: ValueTrainer, batch: dict[str, torch.Tensor], steps: int, warmup: int, clock: Clock
) -> None:
    """Forward, backward, clipping and optimizer on one batch, after some steps that are not timed."""
    model: Any = trainer.model
    optimizer: Any = trainer.optimizer
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for step in range(-warmup, steps):
        if step == 0:
            begin = clock.now()
        with trainer.accelerator.autocast():
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, trainer.args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    clock.add("in memory", begin, steps)


def matrix_product(clock: Clock, dtype: torch.dtype) -> None:
    """Seconds per FLOP of a square matrix product."""
    size, times = (8192, 20) if clock.device.type == "cuda" else (1536, 4)
    a = torch.randn(size, size, device=clock.device, dtype=dtype)
    torch.mm(a, a)
    begin = clock.now()
    for _ in range(times):
        torch.mm(a, a)
    clock.add("matrix product", begin, 2 * size**3 * times)


def count_flops(model, row: dict[str, torch.Tensor]) -> int:
    """FLOPs of forward and backward for one sample: products, convolutions, attention; nothing recomputed."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(**row).loss.backward()
    model.zero_grad()
    return counter.get_total_flops()


class PeerLoader:
    """How datasets of robot episodes are usually read while training: per sample, in Python, on the CPU.

    For each frame and camera a seek in the mp4 (files stay open) and decoding from the last key frame on, to
    float32, resized, normalised; prompts made and tokenised sample by sample; then stacked and padded.
    """

    def __init__(self, prepared: Prepared):
        self.data, self.processor = prepared.data, prepared.processor
        self.model_config, self.open = prepared.model.config, {}
        self.places = {key: self.data.dataset.video_files(key) for key in self.data.cameras}

    def frame(self, camera: str, row: int) -> torch.Tensor:
        dataset = self.data.dataset
        files, begins = self.places[camera]
        episode = int(np.searchsorted(dataset.starts, row, side="right") - 1)
        wanted = begins[episode] + dataset.frame_index[row] / dataset.fps
        path = files[episode]
        if path not in self.open:
            self.open[path] = av.open(str(path))
        container = self.open[path]
        stream = container.streams.video[0]
        container.seek(int(max(wanted - 0.5 / dataset.fps, 0) / stream.time_base), stream=stream)
        for found in container.decode(stream):
            if found.time >= wanted - 0.5 / dataset.fps:
                return torch.from_numpy(found.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255
        raise ValueError(f"{path}: no frame at {wanted:.2f} s")

    def sample(self, row: int) -> dict[str, Any]:
        size, config, dataset = self.processor.image_size, self.model_config, self.data.dataset
        mean, std = (torch.tensor(x)[:, None, None] for x in (config.image_mean, config.image_std))
        pictures = [self.frame(camera, row) for camera in self.data.cameras]
        resized = [F.interpolate(p[None], (size, size), mode="bilinear", antialias=True)[0] for p in pictures]
        task = dataset.tasks[dataset.task_index[row]]
        state = dataset.states[row : row + 1] if self.processor.state_statistics else None
        prompts = self.processor.tokenize(self.processor.robot_prompts([task], state, dataset.key))
        batch = self.processor.assemble(prompts, images_per_row=len(pictures))
        return {"pixels": torch.stack([(p - mean) / std for p in resized]), **batch}

    def batch(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        samples = [self.sample(int(row)) for row in rows]
        ids = [sample["input_ids"][0] for sample in samples]
        return {
            "pixel_values": torch.cat([sample["pixels"] for sample in samples]),
            "input_ids": torch.nn.utils.rnn.pad_sequence(ids, batch_first=True),
            "value_targets": torch.from_numpy(self.data.targets[rows]),
        }


# --- where the time goes -----------------------------------------------------------------------------------


class Stopwatch:
    """CPU seconds of this thread by part, each without the parts inside it."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.stack: list[float] = []

    @contextmanager
    def part(self, name: str):
        begin = time.thread_time()
        self.stack.append(0.0)
        yield
        total = time.thread_time() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + total - self.stack.pop()
        if self.stack:
            self.stack[-1] += total

    def wrap(self, owner, name: str, part: str) -> None:
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            with self.part(part):
                return inner(*args, **kwargs)

        setattr(owner, name, timed)


class Window(TrainerCallback):
    """What a stopwatch counts between the end of the warm-up and the last step; the rest is the trainer's."""

    def __init__(self, watch: Stopwatch, warmup: int):
        self.watch, self.warmup = watch, warmup

    def on_step_end(self, args, state, control, **kwargs):
        now = time.thread_time(), dict(self.watch.seconds)
        if state.global_step == self.warmup:
            self.begin = now
        if state.global_step == state.max_steps:
            steps = state.max_steps - self.warmup
            parts = {name: seconds - self.begin[1].get(name, 0.0) for name, seconds in now[1].items()}
            parts["trainer and the rest"] = now[0] - self.begin[0] - sum(parts.values())
            self.parts = {name: seconds / steps for name, seconds in parts.items()}


def profile(config, prepared: Prepared, warmup: int) -> dict[str, float]:
    """CPU seconds per step of each part of `ValueTrainer`'s step (on CPUs: a GPU works beside Python)."""
    watch, model = Stopwatch(), prepared.model
    window = Window(watch, warmup)
    trainer = make_trainer(config, prepared, [window])
    trainer.create_optimizer()
    collate, augment = trainer.data_collator, trainer_module.augment
    trainer.data_collator = lambda rows: _timed(watch, "collator", collate, rows)
    trainer_module.augment = lambda *args: _timed(watch, "augmentation", augment, *args)
    watch.wrap(model.vision_tower, "forward", "vision backbone, forward")
    watch.wrap(model.text_model, "forward", "text backbone, forward")
    watch.wrap(model, "forward", "rest of the model, forward")
    watch.wrap(trainer.accelerator, "backward", "backward")
    watch.wrap(trainer.optimizer, "step", "optimizer")
    watch.wrap(trainer.accelerator, "clip_grad_norm_", "gradient clipping")
    if config.training.ema_decay:
        watch.wrap(trainer.start_ema(), "update", "averaged weights")
    try:
        trainer.train()
    finally:
        trainer_module.augment = augment
        for module in (model, model.vision_tower, model.text_model):
            module.__dict__.pop("forward", None)
    return window.parts


def _timed(watch: Stopwatch, part: str, function, *args, **kwargs):
    with watch.part(part):
        return function(*args, **kwargs)


# --- sizes -------------------------------------------------------------------------------------------------


def with_a_third_camera(source: Path, folder: Path) -> Path:
    """The dataset with its first camera under one more name: the same files, linked."""
    info = json.loads((source / "meta/info.json").read_text())
    cameras = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    third = f"{cameras[0]}_again"
    if (folder / "meta/info.json").is_file():
        return folder
    info["features"][third] = info["features"][cameras[0]]
    (folder / "meta/episodes/chunk-000").mkdir(parents=True, exist_ok=True)
    (folder / "videos").mkdir(exist_ok=True)
    for path in source.glob("meta/episodes/chunk-*/file-*.parquet"):
        table = pq.read_table(path)
        for name in [name for name in table.column_names if name.startswith(f"videos/{cameras[0]}/")]:
            table = table.append_column(name.replace(cameras[0], third), pa.chunked_array(table[name]))
        pq.write_table(table, folder / path.relative_to(source))
    for key in [*cameras, third]:
        (folder / "videos" / key).symlink_to((source / "videos" / key.removesuffix("_again")).resolve())
    (folder / "data").symlink_to((source / "data").resolve())
    for name in ("stats.json", "tasks.parquet"):
        (folder / "meta" / name).symlink_to((source / "meta" / name).resolve())
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


def overrides_of(size: str, options, device: torch.device) -> tuple[Path, list[str]]:
    """Recipe and overrides of a size."""
    quiet = {
        "training.output_dir": str(options.work / size),
        "training.max_steps": options.steps + options.warmup,
        "training.eval_strategy": "no",
        "training.save_strategy": "no",
        "training.load_best_model_at_end": "false",
        "training.disable_tqdm": "true",
        "training.logging_steps": 10**6,
    }
    if size == "tiny":
        recipe = ROOT / "trainer/recipes/value_tiny.yaml"
        quiet["data.dataset"] = str(ROOT / "examples/metaworld_push")
        quiet["model.base"] = str(ROOT / "examples/value_tiny_base")
        quiet["training.per_device_train_batch_size"] = options.batch_size or 64
    else:
        recipe = ROOT / "trainer/recipes/value_270m.yaml"
        source = with_a_third_camera(ROOT / "examples/metaworld_push", options.work / "three_cameras")
        on_gpu = device.type == "cuda"
        quiet |= {
            "data.dataset": str(source),
            "data.episodes": "0:20",
            "data.cache_dir": str(options.work / "frames"),
            "model.vision": "null",
            "model.text": "null",
            "model.config.vision_config": json.dumps(SIGLIP),
            "model.config.text_config": json.dumps(GEMMA),
            "model.config.freeze_vision": "true",
            "training.per_device_train_batch_size": options.batch_size or (32 if on_gpu else 1),
            "training.gradient_accumulation_steps": 1,
            "training.activation_checkpointing": "false",
            "training.bf16": "true" if on_gpu else "false",
            "training.dataloader_num_workers": 4 if on_gpu else 0,
        }
    return recipe, [text for key, value in quiet.items() for text in (f"--{key}", str(value))]


def measure(size: str, options, device: torch.device) -> dict[str, Any]:
    """All numbers of one size."""
    recipe, overrides = overrides_of(size, options, device)
    config = load_config(recipe, [*overrides, *options.overrides])
    prepared, clock = prepare(config), Clock(device)
    args, data = config.training, prepared.data
    batch_size = args.per_device_train_batch_size
    rows = data.rows("train")
    random = np.random.default_rng(0)
    held = prepared.collator(random.choice(rows, batch_size, replace=False))
    found: dict[str, Any] = {
        "size": size,
        "batch_size": batch_size,
        "images": len(held["pixel_values"]),
        "tokens": held["input_ids"].shape[1],
        "parameters": sum(p.numel() for p in prepared.model.parameters()),
        "trained": sum(p.numel() for p in prepared.model.parameters() if p.requires_grad),
    }
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    peer = PeerLoader(prepared) if options.peer else None
    for number in range(options.rounds):
        trainer = make_trainer(config, prepared, [TimeSteps(clock, options.warmup)])
        trainer.train()
        held = {name: tensor.to(device) for name, tensor in held.items()}
        in_memory(trainer, held, options.steps, options.warmup, clock)
        matrix_product(clock, dtype)
        chosen = random.choice(rows, batch_size, replace=False)
        begin = clock.now()
        prepared.collator(chosen)
        clock.add("our batch", begin, 1)
        if peer:
            begin = clock.now()
            peer.batch(chosen)
            clock.add("peer batch", begin, 1)
        if number == 0:
            row = prepared.collator(rows[:1])
            row = {name: tensor.to(device) for name, tensor in row.items()}
            found["flops"] = count_flops(prepared.model, row) * batch_size
        say(f"{size}: round {number + 1} of {options.rounds}")
    found["wall"] = {name: median(seconds) for name, seconds in clock.wall.items()}
    found["cpu"] = {name: median(seconds) for name, seconds in clock.cpu.items()}
    if options.profile and device.type == "cpu":
        found["profile"] = profile(config, prepared, options.warmup)
    return found


# --- the tables --------------------------------------------------------------------------------------------


def tables(results: list[dict[str, Any]], device: torch.device) -> str:
    name = torch.cuda.get_device_name() if device.type == "cuda" else _cpu_name()
    kind = "wall" if device.type == "cuda" else "cpu"
    unit = "second" if kind == "wall" else "second of CPU"
    peak = next((peak for gpu, peak in PEAKS.items() if gpu in name), None)
    lines = [
        f"{name}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {date.today()}.",
        "",
        f"| | samples a {unit}, in memory | end to end | share | TFLOP a step | of a matrix product's speed |"
        + (" MFU |" if peak else ""),
        "|---|---:|---:|---:|---:|---:|" + ("---:|" if peak else ""),
    ]
    for result in results:
        times, batch = result[kind], result["batch_size"]
        speed = result["flops"] / times["end to end"]
        cells = [
            f"{result['size']}, {batch} samples, {result['images']} images, {result['tokens']} tokens a row",
            f"{batch / times['in memory']:.3g}",
            f"{batch / times['end to end']:.3g}",
            f"{times['in memory'] / times['end to end']:.0%}",
            f"{result['flops'] / 1e12:.3g}",
            f"{speed * times['matrix product']:.0%}",
        ]
        lines.append("| " + " | ".join(cells + ([f"{speed / peak:.0%}"] if peak else [])) + " |")
    lines += _peer_table(results, kind, unit) + _profile_table(results)
    return "\n".join(lines)


def _peer_table(results: list[dict[str, Any]], kind: str, unit: str) -> list[str]:
    rows = [result for result in results if "peer batch" in result[kind]]
    if not rows:
        return []
    lines = [
        "",
        f"| making batches | samples a {unit}, ours | the usual way | ratio |",
        "|---|---:|---:|---:|",
    ]
    for result in rows:
        ours, theirs = (result[kind][name] / result["batch_size"] for name in ("our batch", "peer batch"))
        lines.append(f"| {result['size']} | {1 / ours:.3g} | {1 / theirs:.3g} | {theirs / ours:.3g} |")
    return lines


def _profile_table(results: list[dict[str, Any]]) -> list[str]:
    lines = []
    for result in results:
        if "profile" in result:
            total = sum(result["profile"].values())
            lines += ["", f"| {result['size']}, a step | ms of CPU | share |", "|---|---:|---:|"]
            for part, seconds in sorted(result["profile"].items(), key=lambda item: -item[1]):
                lines.append(f"| {part} | {seconds * 1e3:.1f} | {seconds / total:.1%} |")
    return lines


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=["tiny", "real"], default=["tiny", "real"])
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a round")
    parser.add_argument("--warmup", type=int, default=2, help="steps of a round before those")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--peer", action="store_true", help="also time how others make a batch")
    parser.add_argument("--profile", action="store_true", help="also time the parts of a step (CPU)")
    parser.add_argument("--work", type=Path, default=Path("outputs/train_throughput"))
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/RESULTS.md")
    options, options.overrides = parser.parse_known_args(argv)
    options.work = options.work.resolve()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = tables([measure(size, options, device) for size in options.sizes], device)
    print(text)
    write_between(options.results, f"train_throughput {device.type} {' '.join(options.sizes)}", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
