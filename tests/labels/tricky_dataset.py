"""A small dataset with everything that an export must carry over: see `make_tricky`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_datasets import TOP, WRIST, make_dataset

LENGTHS = (12, 7, 9, 10, 8)
NOTE = "annotation.note"


def make_tricky(root: Path, version: str) -> Path:
    """Several chunks, images in the tables, texts, tasks that change inside an episode, metadata of schemas.

    Also: an episode table and statistics with columns of their own, int32 task indices in row groups of 5
    frames compressed by gzip, keys of info.json that nobody knows, a README and a hidden file.
    """
    frames = sum(LENGTHS)
    notes = [f"frame {i}: ünï" for i in range(frames)]
    task = np.arange(frames) // 5 % 2  # changes inside episodes
    make_dataset(
        root,
        version=version,
        lengths=LENGTHS,
        image_cameras=(WRIST,),
        files=3,
        tasks=('push the "puck"', "öffne {task}\n"),
        columns={NOTE: notes, "task_index": task.tolist()},
        metadata={"operator": ["ann", "bob", "ann", "bob", "ann"]},
    )
    _more_chunks(root, version)
    for path in sorted((root / "data").glob("*/*.parquet")):
        _rewrite_with_metadata(path)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][NOTE] = {"dtype": "string", "shape": [1], "names": None}
    info["robot_name"] = "own key"
    (root / "meta/info.json").write_text(json.dumps(info))
    _write_statistics(root, version)
    (root / "README.md").write_text("# A dataset\n")
    (root / ".cache").mkdir()
    (root / ".cache/lock").write_text("")
    return root


def _more_chunks(root: Path, version: str) -> None:
    """The last of the files goes into a second chunk."""
    if version == "v3.0":
        moved = {"data": root / "data", TOP: root / "videos" / TOP}
        for folder in moved.values():
            (folder / "chunk-001").mkdir()
            (path,) = (folder / "chunk-000").glob("file-002.*")
            path.rename(folder / "chunk-001" / f"file-000{path.suffix}")
        path = root / "meta/episodes/chunk-000/file-000.parquet"
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            for prefix in ("data", f"videos/{TOP}"):
                if row[f"{prefix}/file_index"] == 2:
                    row[f"{prefix}/chunk_index"], row[f"{prefix}/file_index"] = 1, 0
        start = 0
        for row in rows:
            row["dataset_from_index"], start = start, start + row["length"]
            row["dataset_to_index"] = start
        pq.write_table(pa.Table.from_pylist(rows[:3]), path)
        pq.write_table(pa.Table.from_pylist(rows[3:]), path.with_name("file-001.parquet"))
        return
    for folder, inner in ((root / "data", ""), (root / "videos", TOP)):
        for path in sorted((folder / "chunk-000").rglob("episode_000004.*")):
            target = folder / "chunk-001" / inner / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    info = json.loads((root / "meta/info.json").read_text())
    info |= {"chunks_size": 4, "total_chunks": 2, "total_videos": len(LENGTHS)}
    (root / "meta/info.json").write_text(json.dumps(info))


def _rewrite_with_metadata(path: Path) -> None:
    """Row groups of 5 frames, gzip, int32 tasks, and the metadata of `datasets` and one of somebody else."""
    table = pq.read_table(path)
    place = table.column_names.index("task_index")
    table = table.set_column(place, "task_index", table["task_index"].cast(pa.int32()))
    kinds = {
        name: {"dtype": "int32" if name == "task_index" else "int64", "_type": "Value"}
        for name in ("task_index", "frame_index", "episode_index", "index")
    }
    kinds[WRIST] = {"_type": "Image"}
    metadata = {"huggingface": json.dumps({"info": {"features": kinds}}), "somebody": "else"}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=5, compression="gzip")


def _write_statistics(root: Path, version: str) -> None:
    one = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.25], "count": [sum(LENGTHS)]}
    if version == "v3.0":
        texts = pq.read_table(root / "meta/tasks.parquet")[
            "task"
        ].to_pylist()  # as LeRobot itself writes them
        index = pd.Index(texts, name="task")
        pd.DataFrame({"task_index": range(len(texts))}, index).to_parquet(root / "meta/tasks.parquet")
        stats = {"action": one, "task_index": one}
        (root / "meta/stats.json").write_text(json.dumps(stats))
        return
    rows = [
        {"episode_index": i, "stats": {"action": {**one, "count": [n]}, "task_index": one}}
        for i, n in enumerate(LENGTHS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "meta/episodes_stats.jsonl").write_text(text)
