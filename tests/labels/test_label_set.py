"""label_set.py: what is written is read back, and everything that does not fit is refused by name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_scores import write_scores

from valuecurve.episodes import DatasetError, open_dataset
from valuecurve.labels import read_labels, write_labels
from valuecurve.scoring import read_manifest

SETTINGS = {"mode": "n_step", "horizon": 3, "positive_fraction": 0.3, "thresholds": {"push the puck": 0.1}}


def a_table(dataset, rows, **columns) -> pa.Table:
    n = len(rows)
    names = ("index", "episode_index", "frame_index", "task_index")
    table = {name: dataset.frames[name].take(pa.array(rows)) for name in names}
    table |= {"value": np.linspace(-1, 0, n), "value_std": np.full(n, 0.1), "return": [None] * n}
    table |= {"advantage": np.linspace(-0.5, 0.5, n), "positive": np.arange(n) % 3 == 0}
    return pa.table(table | {"intervention": np.zeros(n, bool)} | columns)


@pytest.fixture
def labelled(make):
    """(dataset, folder) with scores and labels under the tag "t"."""
    dataset = open_dataset(make(cameras={}))
    rows = np.arange(dataset.frames.num_rows)
    folder = write_scores(dataset, "t", np.linspace(-1, 0, len(rows)))
    write_labels(dataset, "t", a_table(dataset, rows), SETTINGS)
    return dataset, folder


def test_what_is_written_is_read_back(labelled):
    dataset, folder = labelled
    labels = read_labels(dataset, "t")
    n = dataset.frames.num_rows
    assert labels.folder == folder and labels.settings == SETTINGS
    assert labels.rows.tolist() == list(range(n)) and labels.rows.dtype == np.int64
    assert labels.index.tolist() == list(range(n))
    assert np.array_equal(labels.episode_index, dataset.episode_index)
    assert np.array_equal(labels.frame_index, dataset.frame_index)
    assert np.array_equal(labels.task_index, dataset.task_index)
    assert labels.value.dtype == labels.advantage.dtype == np.float32
    assert labels.positive.dtype == labels.intervention.dtype == bool
    assert labels.positive.tolist() == [i % 3 == 0 for i in range(n)]
    assert labels.table["return"].null_count == n and np.isnan(labels.returns).all()
    assert labels.stage is None and labels.slice is None


def test_labels_of_some_episodes_know_their_rows(make):
    dataset = open_dataset(make(cameras={}))
    rows = dataset.episode_rows([1, 4])
    write_scores(dataset, "some", np.zeros(len(rows)), episodes=[1, 4])
    table = a_table(dataset, rows, slice=np.arange(len(rows)), stage=np.zeros(len(rows), int))
    written = write_labels(dataset, "some", table, SETTINGS)
    labels = read_labels(dataset, "some")
    assert labels.rows.tolist() == written.rows.tolist() == rows.tolist()
    assert labels.table.equals(written.table)
    assert labels.slice is not None and labels.slice.dtype == np.int32
    assert labels.slice.tolist() == list(range(len(rows)))


def test_labelling_again_replaces_the_labels_and_leaves_the_scores(labelled):
    dataset, folder = labelled
    before = read_manifest(folder)["scores"]
    parts = {path: path.read_bytes() for path in (folder / "scores").iterdir()}
    rows = np.arange(dataset.frames.num_rows)
    write_labels(dataset, "t", a_table(dataset, rows, positive=rows < 3), {**SETTINGS, "horizon": 5})
    labels = read_labels(dataset, "t")
    assert labels.settings["horizon"] == 5 and labels.positive.sum() == 3
    assert labels.manifest["scores"] == before
    assert {path: path.read_bytes() for path in (folder / "scores").iterdir()} == parts
    assert sorted(path.name for path in folder.iterdir()) == ["labels.parquet", "manifest.json", "scores"]


def test_writing_twice_gives_the_same_bytes(labelled):
    dataset, folder = labelled
    first = (folder / "labels.parquet").read_bytes(), (folder / "manifest.json").read_bytes()
    write_labels(dataset, "t", a_table(dataset, np.arange(dataset.frames.num_rows)), SETTINGS)
    assert ((folder / "labels.parquet").read_bytes(), (folder / "manifest.json").read_bytes()) == first


def test_sidecars_may_lie_elsewhere(make, tmp_path):
    dataset = open_dataset(make(cameras={}))
    rows = np.arange(dataset.frames.num_rows)
    write_scores(dataset, "t", np.zeros(len(rows)), values=tmp_path / "elsewhere")
    write_labels(dataset, "t", a_table(dataset, rows), SETTINGS, values=tmp_path / "elsewhere")
    assert not (dataset.root / "values").exists()
    assert len(read_labels(dataset, "t", tmp_path / "elsewhere").rows) == len(rows)


def test_a_tag_without_scores_cannot_be_labelled(labelled):
    dataset, _ = labelled
    with pytest.raises(DatasetError, match="did you mean 't'|there are the tags t"):
        write_labels(dataset, "u", a_table(dataset, np.arange(3)), SETTINGS)


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def rewrite(folder, change):
    table = pq.read_table(folder / "labels.parquet")
    pq.write_table(change(table), folder / "labels.parquet")


def set_value(table, name, row, value):
    cells = table[name].to_pylist()
    cells[row] = value
    column = pa.array(cells, table.schema.field(name).type)
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: edit_manifest(f, lambda m: m.pop("labels")),
            "has no labels; label again: valuecurve label",
        ),
        (lambda f: (f / "labels.parquet").unlink(), "has no labels"),
        (lambda f: edit_manifest(f, lambda m: m["dataset"].update(fingerprint="0" * 32)), "another revision"),
        (lambda f: edit_manifest(f, lambda m: m["scores"].update(weights="1")), "made from other scores"),
        (lambda f: edit_manifest(f, lambda m: m["labels"].update(horizon=9)), "labelling was interrupted"),
        (lambda f: (f / "labels.parquet").write_bytes(b"PAR1 no"), "labels.parquet .*cannot be read"),
        (lambda f: rewrite(f, lambda t: t.drop(["advantage"])), "missing or of another type: advantage"),
        (
            lambda f: rewrite(f, lambda t: set_value(t, "advantage", 14, float("nan"))),
            "episode 1, frame 2 has a",
        ),
        (
            lambda f: rewrite(f, lambda t: set_value(t, "index", 14, 99)),
            "episode 1, frame 2 is not in the dataset",
        ),
        (lambda f: rewrite(f, lambda t: pa.concat_tables([t.slice(5), t.slice(0, 5)])), "out of order"),
        (lambda f: rewrite(f, lambda t: set_value(t, "positive", 14, None)), "'positive' is not filled in"),
        (lambda f: rewrite(f, lambda t: t.slice(0, 0)), "'index' is not filled in"),
        (lambda f: rewrite(f, lambda t: t.slice(0, 15)), "episode 1, frame 0 is of an episode that is not"),
        (
            lambda f: rewrite(f, lambda t: set_value(t, "task_index", 14, 0)),
            "episode 1, frame 2 is not in the dataset",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(labelled, damage, message):
    dataset, folder = labelled
    damage(folder)
    with pytest.raises(DatasetError, match=message):
        read_labels(dataset, "t")
