"""Labels made up for two datasets, exported: the half of `make interop` for exports that runs in .venv.

    python tests/interop/make_exports.py DATASET FOLDER

Writes FOLDER/<sample, tricky, partly, tricky_v21>/<format> and expected.npz beside, what LeRobot must read.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "labels")]

from made_up_labels import made_up_labels  # noqa: E402
from tricky_dataset import make_tricky  # noqa: E402

from valuecurve.advantages import indicator_text  # noqa: E402
from valuecurve.episodes import open_dataset  # noqa: E402
from valuecurve.labels.exports import export_labels  # noqa: E402

FORMATS = ("lerobot", "kai0", "rabc", "evo-rl")


def make(
    source: Path, folder: Path, formats: tuple[str, ...] = FORMATS, episodes: list[int] | None = None
) -> None:
    """Label a dataset (or some episodes) by a formula, export it and write down what must come out."""
    dataset, values = open_dataset(source), folder / "values"
    labels = made_up_labels(dataset, values=values, interventions=True, episodes=episodes)
    for name in formats:
        export_labels(dataset, "v1", name, folder / name, values=values, drop_unlabelled=episodes is not None)
    texts = {
        name: [
            indicator_text(dataset.tasks[task], bool(flag), template)
            for task, flag in zip(labels.task_index, labels.positive, strict=True)
        ]
        for name, template in (("lerobot", "default"), ("kai0", "kai0"))
    }
    np.savez(
        folder / "expected.npz",
        source=str(source),
        labels=str(labels.folder / "labels.parquet"),
        task=np.array(dataset.tasks)[labels.task_index],
        lerobot=np.array(texts["lerobot"]),
        kai0=np.array(texts["kai0"]),
        value=labels.value,
        advantage=labels.advantage,
        positive=labels.positive,
    )
    print(f"valuecurve: {len(labels.rows)} frames of {source} exported to {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    shutil.rmtree(target, ignore_errors=True)
    make(Path(sys.argv[1]), target / "sample")
    make(make_tricky(target / "tricky_source", "v3.0"), target / "tricky")
    make(target / "tricky_source", target / "partly", episodes=[1, 3, 4])
    make(make_tricky(target / "tricky_v21_source", "v2.1"), target / "tricky_v21", ("lerobot",))
