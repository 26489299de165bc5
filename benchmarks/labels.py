"""Advantages, thresholds, indicators and slices of many frames: ours, and a plain loop over the frames.

    python benchmarks/labels.py                 # 10 million frames: about a minute

Made-up rewards and values of episodes of 50 to 600 frames in 20 tasks that take turns. Ours treats all
frames; the loop, as most such scripts have it, treats whole episodes up to --loop-frames and is scaled to all
frames. Both give the same numbers on the frames that both treat, or the program fails. Seconds are of the
clock and of the process's own CPU time (the machine may be shared); memory is the highest of the whole
process, inputs and Python included, up to the indicators. Writes the table into --docs.
"""

import argparse
import platform
import sys
import time
from collections import defaultdict
from datetime import date
from pathlib import Path

import numpy as np
from pages import write_between

from valuecurve.advantages import dataset_n_step, indicators, n_slices, thresholds

ROOT = Path(__file__).parents[1]
HORIZON, FRACTION, TASKS, SLICES = 50, 0.3, 20, 10


def made_up(frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Lengths `[E]`; tasks (of each frame), rewards and values `[N]`."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(50, 601, frames // 50)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), frames)) + 1]
    lengths[-1] -= lengths.sum() - frames
    rewards = np.full(frames, -1 / 600)
    rewards[np.cumsum(lengths) - 1] = np.where(generator.random(len(lengths)) < 0.6, 0.0, -1.0)
    values = generator.uniform(-1, 0, frames).astype(np.float32)
    tasks = np.repeat(generator.integers(0, TASKS, len(lengths)), lengths)
    return {"lengths": lengths, "tasks": tasks, "rewards": rewards, "values": values}


def clocks() -> np.ndarray:
    """Seconds of the clock and of this process's CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def ours(data: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict]:
    """{step: its seconds [clock, CPU]}, and the results."""
    seconds, results = {}, {}

    def step(name: str, call) -> None:
        start = clocks()
        results[name] = call()
        seconds[name] = clocks() - start

    step(
        "advantages",
        lambda: dataset_n_step(data["rewards"], data["values"], data["lengths"], HORIZON).astype(np.float32),
    )
    a_t, tasks = results["advantages"], data["tasks"]
    step("thresholds", lambda: thresholds(a_t, tasks, FRACTION))
    step("indicators", lambda: indicators(a_t, tasks, results["thresholds"]))
    results["memory"] = peak_memory()
    step("slices", lambda: n_slices(a_t, SLICES, tasks))
    texts = np.array([f"put object {task} into the basket" for task in range(TASKS)])[tasks]
    step("of texts", lambda: indicators(a_t, texts, thresholds(a_t, texts, FRACTION)))
    return seconds, results


def plain_loop(data: dict[str, np.ndarray], most: int) -> tuple[dict[str, np.ndarray], dict, int]:
    """The same by a loop over frames, for the first episodes with `most` frames at most."""
    episodes = int(np.searchsorted(np.cumsum(data["lengths"]), most, side="right"))
    lengths = data["lengths"][: max(episodes, 1)].tolist()
    frames = sum(lengths)
    rewards, values = data["rewards"][:frames].tolist(), data["values"][:frames].tolist()
    tasks = data["tasks"][:frames].tolist()
    seconds = {}
    start, first = clocks(), 0
    advantages = []
    for length in lengths:
        for t in range(length):
            end = min(t + HORIZON, length)
            total = 0.0
            for k in range(t, end):
                total += rewards[first + k]
            later = values[first + t + HORIZON] if t + HORIZON < length else 0.0
            advantages.append(total + later - values[first + t])
        first += length
    seconds["advantages"] = clocks() - start
    advantages = np.array(advantages, np.float32).tolist()
    start = clocks()
    by_task = defaultdict(list)
    for advantage, task in zip(advantages, tasks, strict=True):
        by_task[task].append(advantage)
    levels = {task: float(np.percentile(found, 100 * (1 - FRACTION))) for task, found in by_task.items()}
    seconds["thresholds"] = clocks() - start
    start = clocks()
    positive = []
    for advantage, task in zip(advantages, tasks, strict=True):
        positive.append(advantage >= levels[task])
    seconds["indicators"] = clocks() - start
    return seconds, {"advantages": advantages, "thresholds": levels, "indicators": positive}, frames


def check_equal(data: dict[str, np.ndarray], loop: dict, frames: int) -> None:
    """Raises where ours differs from the loop on the first `frames` frames."""
    episodes = int(np.searchsorted(np.cumsum(data["lengths"]), frames)) + 1
    part = {name: array[:frames] for name, array in data.items()} | {"lengths": data["lengths"][:episodes]}
    _, found = ours(part)
    np.testing.assert_allclose(found["advantages"], loop["advantages"], atol=1e-6)
    for task, level in loop["thresholds"].items():
        np.testing.assert_allclose(found["thresholds"][task], level, atol=1e-6)
    np.testing.assert_array_equal(found["of texts"], found["indicators"])
    different = np.flatnonzero(found["indicators"] != np.array(loop["indicators"]))
    if len(different) > 1e-5 * frames:  # an advantage that rounding moved across its threshold
        raise AssertionError(f"{len(different)} indicators differ, the first at frame {different[0]}")


def peak_memory() -> float:
    """The most memory that this process has had, in GB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1e6


def table(frames: int, results: tuple, loop: tuple) -> str:
    seconds, found = results
    loop_seconds, _, loop_frames = loop
    factor = frames / loop_frames
    both = ["thresholds", "indicators"]
    rows = [("advantages (n-step, 50)", ["advantages"]), ("thresholds", ["thresholds"])]
    rows += [
        ("indicators", ["indicators"]),
        ("**thresholds and indicators**", both),
        ("the same, tasks as texts", ["of texts"]),
        ("10 slices", ["slices"]),
    ]
    lines = [
        f"{processor()}, 1 thread, numpy {np.__version__}, {date.today()}; {frames:,} frames, {TASKS} tasks. "
        f"The loop ran over {loop_frames:,} frames. Highest memory of ours: **{found['memory']:.2f} GB**.",
        "",
        "| | ours, s | of CPU, s | plain loop, s of CPU for as many | times |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, steps in rows:
        clock, cpu = np.sum([seconds[step] for step in steps], axis=0)
        theirs = sum(loop_seconds[step][1] for step in steps) * factor if steps[0] in loop_seconds else None
        last = f"{theirs:.1f} | {theirs / cpu:.0f}" if theirs else "– | –"
        lines.append(f"| {name} | {clock:.2f} | {cpu:.2f} | {last} |")
    return "\n".join(lines)


def processor() -> str:
    """The CPU's name, without its model number."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()[:2]) if names else platform.machine()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--loop-frames", type=int, default=500_000, help="at most, for the plain loop")
    parser.add_argument("--docs", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    data = made_up(options.frames)
    results = ours(data)
    loop = plain_loop(data, options.loop_frames)
    check_equal(data, loop[1], loop[2])
    text = table(options.frames, results, loop)
    print(text)
    write_between(options.docs, "labels", text)
    print(f"written to {options.docs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
