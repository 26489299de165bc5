"""Collect the two example datasets in MuJoCo: `metaworld_push/` (episodes) and `metaworld_vqa/` (questions).

    pip install -e '.[sim]'              # and OSMesa: apt install libosmesa6; `make data` does both
    python examples/collect_metaworld.py --output examples --seed 0

The same seed gives the same states, actions and pixels, with any number of workers.
"""

import io
import json
import multiprocessing
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from metaworld_sim import cards
from metaworld_sim.questions import looked_at
from metaworld_sim.rollout import BLOCK, EPISODES, Episode, collect, task_of
from metaworld_sim.scene import ACTION_NAMES, CAMERAS, FPS, STATE_NAMES, TASK_TEXTS, Scene
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from valuecurve.episodes.writing import DatasetWriter

SIZE = 128  # pixels
VIDEO = {"crf": 30, "gop": 30, "preset": "slower"}  # chosen so that 350 episodes fit 12 MB
WEBP = {"quality": 85, "method": 6}  # chosen so that 2,500 pictures fit 6 MB
VALIDATION_EVERY = 10  # every tenth rollout's questions are held out
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (4,), "names": STATE_NAMES},
    "action": {"dtype": "float32", "shape": (4,), "names": ACTION_NAMES},
    "next.reward": {"dtype": "float32"},
    "next.success": {"dtype": "bool"},
    "next.done": {"dtype": "bool"},
}
TURN = {name: {"_type": "Value", "dtype": "string"} for name in ("user", "assistant", "source")}
VQA_FEATURES = {  # the `datasets` schema of the_cauldron
    "images": {"_type": "List", "feature": {"_type": "Image"}},
    "texts": {"_type": "List", "feature": TURN},
}
VQA_SCHEMA = pa.schema(
    {
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "texts": pa.list_(pa.struct({name: pa.string() for name in TURN})),
    },
    metadata={"huggingface": json.dumps({"info": {"features": VQA_FEATURES}})},
)
_scene: Scene | None = None  # one a process: OSMesa serves one renderer at a time


def scene_for(task: str) -> Scene:
    """The process's scene, changed to `task` where it is the other one."""
    global _scene
    if _scene is None or _scene.task != task:
        if _scene is not None:
            _scene.close()
        _scene = Scene(task, SIZE)
    return _scene


def collect_episode(job: tuple[int, int]) -> Episode:
    """One episode from (seed, number)."""
    seed, number = job
    return collect(scene_for(task_of(number)), seed, EPISODES, number)


def collect_rows(job: tuple[int, int]) -> list[dict]:
    """The pictures and questions of one rollout from (seed, number)."""
    seed, number = job
    return looked_at(scene_for(task_of(number)), seed, number)


@contextmanager
def mapping(workers: int):
    """`map` in this process or over several, in order, in blocks of one task."""
    if workers <= 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield lambda function, jobs: pool.imap(function, jobs, chunksize=BLOCK)


def progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def write_episodes(root: Path, count: int, seed: int, workers: int, command: str) -> list[Episode]:
    """Collect and write `count` episodes and their card; what was collected, without the pictures."""
    cameras = {f"observation.images.{name}": (SIZE, SIZE) for name in CAMERAS}
    options = {"robot_type": "sawyer", "tasks": list(TASK_TEXTS.values()), "overwrite": True, **VIDEO}
    collected: list[Episode] = []
    strips: dict[int, np.ndarray] = {}
    with (
        DatasetWriter(root, FPS, cameras, FEATURES, **options) as writer,
        mapping(workers) as each,
        progress() as bar,
    ):
        jobs = [(seed, number) for number in range(count)]
        for episode in bar.track(each(collect_episode, jobs), count, description=root.name):
            add_episode(writer, episode, seed)
            strips[episode.number] = cards.spread(episode.images["side"])
            episode.images = {}
            collected.append(episode)
    cards.write_strip(root / "strip.webp", [strips[episode.number] for episode in cards.shown(collected)])
    cards.write_push_card(root, collected, SIZE, command)
    return collected


def add_episode(writer: DatasetWriter, episode: Episode, seed: int) -> None:
    """One collected episode into the dataset."""
    frames = {
        "observation.state": episode.states,
        "action": episode.actions,
        "next.reward": episode.rewards,
        "next.success": episode.successes,
        "next.done": np.arange(1, len(episode) + 1) == len(episode),
    }
    images = {f"observation.images.{name}": pictures for name, pictures in episode.images.items()}
    columns = {
        "success": episode.script.success,
        "failure_kind": episode.script.failure,
        "skill": episode.script.skill,
        "seed": f"{seed}/{EPISODES}/{episode.number}/{episode.attempt}",
    }
    writer.add_episode(frames, images, TASK_TEXTS[episode.task], columns)


def write_questions(root: Path, count: int, seed: int, workers: int, command: str) -> dict[str, list[dict]]:
    """Collect rollouts until there are `count` rows; write both splits and the card."""
    rows: dict[str, list[dict]] = {"train": [], "validation": []}
    with mapping(workers) as each, progress() as bar:
        shown = bar.add_task(root.name, total=count)
        for number, found in enumerate(each(collect_rows, [(seed, number) for number in range(count)])):
            rows["validation" if number % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"] += found
            total = sum(map(len, rows.values()))
            bar.update(shown, completed=min(total, count))
            if total >= count:
                break
    temporary = root.with_name(f"{root.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "data").mkdir(parents=True)
    for split, found in rows.items():
        table = pa.Table.from_pylist([encoded(row) for row in found], VQA_SCHEMA)
        pq.write_table(
            table,
            temporary / "data" / f"{split}-00000-of-00001.parquet",
            compression="zstd",
            row_group_size=100,
        )
    pictures = np.stack([row["images"][0] for row in rows["train"][:: max(1, len(rows["train"]) // 8)][:8]])
    cards.write_strip(temporary / "strip.webp", [pictures])
    cards.write_vqa_card(temporary, rows, SIZE, command)
    shutil.rmtree(root, ignore_errors=True)
    temporary.rename(root)
    return rows


def encoded(row: dict) -> dict:
    """The row with its pictures as WebP bytes, as `datasets` stores images."""
    images = []
    for picture in row["images"]:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "WEBP", **WEBP)
        images.append({"bytes": buffer.getvalue(), "path": None})
    return {**row, "images": images}


def summary(episodes: list[Episode]) -> Table:
    """Episodes and their lengths by task and outcome."""
    table = Table("task", "outcome", "episodes", "frames", "lengths")
    for cells in cards.outcomes(episodes):
        table.add_row(*cells)
    return table


def main(
    output: Annotated[Path, typer.Option(help="folder to write both datasets into")] = Path("examples"),
    episodes: Annotated[int, typer.Option(help="episodes of metaworld_push; 0 leaves it as it is")] = 350,
    vqa_rows: Annotated[
        int, typer.Option(help="pictures of metaworld_vqa, at least; 0 leaves it as it is")
    ] = 2500,
    seed: Annotated[int, typer.Option(help="everything follows from it")] = 0,
    workers: Annotated[int, typer.Option(help="processes that simulate")] = 1,
) -> None:
    """Collect metaworld_push and metaworld_vqa."""
    console = Console()
    command = f"python examples/collect_metaworld.py --output examples --seed {seed}"
    if episodes:
        root = output / "metaworld_push"
        found = write_episodes(root, episodes, seed, workers, f"{command} --episodes {episodes} --vqa-rows 0")
        console.print(summary(found))
        console.print(f"wrote {root}: {cards.folder_size(root) / 1e6:.1f} MB")
    if vqa_rows:
        root = output / "metaworld_vqa"
        rows = write_questions(root, vqa_rows, seed, workers, f"{command} --episodes 0 --vqa-rows {vqa_rows}")
        console.print(
            f"wrote {root}: {sum(map(len, rows.values()))} rows, {cards.folder_size(root) / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    typer.run(main)
