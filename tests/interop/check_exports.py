"""LeRobot reads our exports: the half of `make interop` for exports that runs in .venv-lerobot.

    python tests/interop/check_exports.py FOLDER      # FOLDER by make_exports.py

Every frame of every export goes through LeRobotDataset's own reader (with its videos switched off; a few
frames with them) and must have the task text and the numbers of the label set; LeRobot's loader of the
reward-aligned behaviour cloning sidecar must find every frame. A v2.1 export goes through LeRobot's own
converter first.
"""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.rewards.sarm.rabc import RABCWeights
from lerobot.utils.sample_weighting import SampleWeightingConfig, make_sample_weighter

COLUMNS = {
    "lerobot": {"value": "value", "advantage": "advantage", "indicator": "positive"},
    "evo-rl": {
        "complementary_info.value_v1": "value",
        "complementary_info.advantage_v1": "advantage",
        "complementary_info.acp_indicator_v1": "positive",
    },
    "kai0": {},
    "rabc": {},
}
KAI0 = ("relative_advantage", "absolute_value", "absolute_advantage")
STATISTICS = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}


class Policy:
    """As much of a policy as LeRobot asks for when it makes a sample weighter."""

    class config:  # noqa: N801
        chunk_size = 3


def check_frames(
    root: Path, expected: dict, columns: dict[str, str], texts: str, statistics: set[str] = STATISTICS
) -> list[str]:
    """What every frame says, against the label set."""
    dataset = LeRobotDataset("local/export", root=root, video_backend="pyav")
    problems = []
    if len(dataset) != len(expected["value"]):
        problems.append(f"{len(dataset)} frames, {len(expected['value'])} labels")
    sample = np.unique(np.linspace(0, len(dataset) - 1, 9).round().astype(int)).tolist()
    pictures = {i: dataset[i] for i in sample}
    dataset.reader._query_videos = lambda timestamps, episode: {}  # the rest of __getitem__ is LeRobot's own
    for i in range(len(dataset)):
        item = dataset[i]
        found = {key: item[key].item() for key in columns}
        wanted = {key: expected[name][i].item() for key, name in columns.items()}
        wrong = [key for key in columns if found[key] != wanted[key]]
        if item["task"] != expected[texts][i] or wrong:
            problems.append(f"frame {i}: {item['task']!r}, expected {expected[texts][i]!r}; differs: {wrong}")
        if i in pictures and pictures[i]["task"] != item["task"]:
            problems.append(f"frame {i}: another task with its pictures")
    for name in columns:
        kind = dataset.meta.features[name]["dtype"]
        if set(dataset.meta.stats.get(name, {})) != statistics:
            problems.append(f"{name} ({kind}): statistics {sorted(dataset.meta.stats.get(name, {}))}")
        elif abs(dataset.meta.stats[name]["mean"].item() - float(expected[columns[name]].mean())) > 1e-5:
            problems.append(f"{name}: mean {dataset.meta.stats[name]['mean']}")
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4)))
    if [*batch["task"]] != [*expected[texts][:4]]:
        problems.append(f"a DataLoader makes {batch['task']}")
    return problems


def check_rabc(root: Path, expected: dict) -> list[str]:
    """The progress of every frame in LeRobot's own loader, found where its training looks for it."""
    weighter = make_sample_weighter(SampleWeightingConfig(), Policy(), torch.device("cpu"), str(root))
    assert isinstance(weighter, RABCWeights)
    progress = np.array([weighter.progress_lookup[i] for i in range(len(expected["value"]))])
    problems = []
    if not np.allclose(progress, 1 + expected["value"], atol=1e-6):
        problems.append("progress is not 1 + value")
    weights, _ = weighter.compute_batch_weights({"index": torch.arange(8)})
    if not (np.isfinite(weights.numpy()).all() and len(set(weights.tolist())) > 1):
        problems.append(f"weights {weights.tolist()}")
    return problems


def check(folder: Path) -> list[str]:
    """All problems of the exports of one dataset."""
    expected = dict(np.load(folder / "expected.npz"))
    problems = []
    for name, columns in COLUMNS.items():
        texts = name if name in expected else "task"
        problems += [
            f"{folder / name}: {text}" for text in check_frames(folder / name, expected, columns, texts)
        ]
    features = LeRobotDataset("local/export", root=folder / "kai0").meta.features
    problems += [f"{folder / 'kai0'}: no feature {key}" for key in KAI0 if key not in features]
    problems += [f"{folder / 'rabc'}: {text}" for text in check_rabc(folder / "rabc", expected)]
    print(f"{folder}: {len(expected['value'])} frames in each of {', '.join(COLUMNS)}")
    return problems


def check_v21(folder: Path) -> list[str]:
    """A v2.1 export after LeRobot's own conversion to v3.0."""
    root = folder / "lerobot"
    converter = "lerobot.scripts.convert_dataset_v21_to_v30"
    command = [
        sys.executable,
        "-m",
        converter,
        "--repo-id=local/export",
        f"--root={root}",
        "--push-to-hub=false",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return [f"{root}: LeRobot cannot convert it:\n{result.stderr[-2000:]}"]
    expected = dict(np.load(folder / "expected.npz"))
    columns = COLUMNS["lerobot"]
    statistics = {"min", "max", "mean", "std", "count"}  # v2.1 has no quantiles
    problems = check_frames(root, expected, columns, "lerobot", statistics)
    print(f"{folder}: {len(expected['value'])} frames in lerobot (v2.1), converted by LeRobot")
    return [f"{root}: {text}" for text in problems]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.disable(logging.WARNING)
    exports = Path(sys.argv[1])
    found = [text for name in ("sample", "tricky", "partly") for text in check(exports / name)]
    found += check_v21(exports / "tricky_v21")
    print("\n".join(found[:20]) or "exports: every frame's task, numbers, statistics and progress are right")
    sys.exit(1 if found else 0)
