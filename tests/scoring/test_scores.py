"""Scores on disk: what is read back, and what is wrong with scores that are not what they say."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_datasets import edit_json, edit_parquet

from valuecurve.episodes import DatasetError, open_dataset
from valuecurve.scoring.scores import (
    part_path,
    read_manifest,
    read_scores,
    tag_folder,
    write_manifest,
    write_part,
)


def made_up_scores(dataset, folder, episodes_per_part=2, failed=(), episodes=None, **more):
    """Scores -frame/100 of a dataset, as a run would leave them."""
    asked = dataset.episode_ids.tolist() if episodes is None else episodes
    parts = [asked[i : i + episodes_per_part] for i in range(0, len(asked), episodes_per_part)]
    for number, part in enumerate(parts):
        rows = dataset.episode_rows([episode for episode in part if episode not in failed])
        columns = {
            "index": rows,
            "episode_index": dataset.episode_index[rows],
            "frame_index": dataset.frame_index[rows],
            "value": (-dataset.frame_index[rows] / 100).astype(np.float32),
            "value_std": np.full(len(rows), 0.1, np.float32),
        } | {name: make(rows) for name, make in more.items()}
        write_part(part_path(folder, number), pa.table(columns))
    scores = {
        "parts": len(parts),
        "episodes": "all" if episodes is None else episodes,
        "failed_episodes": {str(episode): "cut short" for episode in failed},
        "columns": ["index", "episode_index", "frame_index", "value", "value_std", *more],
        "complete": True,
        "scales": {},
        "fps": dataset.fps,
    }
    about = {"key": dataset.key, "fingerprint": dataset.fingerprint}
    about |= {"frames": dataset.frames.num_rows, "episodes": len(dataset.episode_ids)}
    write_manifest(folder, {"format": 1, "dataset": about, "scores": scores})


@pytest.fixture
def dataset(make):
    return open_dataset(make())


@pytest.fixture
def folder(dataset):
    folder = tag_folder(dataset, "v1")
    made_up_scores(dataset, folder)
    return folder


def test_scores_come_back_in_the_order_of_the_dataset(dataset, folder):
    scores = read_scores(dataset, "v1")
    assert scores.folder == folder == dataset.root / "values" / "v1"
    assert scores.rows.tolist() == list(range(dataset.frames.num_rows))
    assert scores.value.dtype == np.float32
    np.testing.assert_array_equal(scores.value, (-dataset.frame_index / 100).astype(np.float32))
    assert scores.columns == {}
    assert open_dataset(dataset.root).fingerprint == dataset.fingerprint  # does not depend on values/


def test_scores_may_lie_elsewhere_and_hold_more_columns_and_fewer_episodes(dataset, tmp_path):
    folder = tag_folder(dataset, "v1", tmp_path / "elsewhere")

    def quantiles(rows):
        flat = pa.array(np.repeat(rows, 2).astype(np.float32))
        return pa.FixedSizeListArray.from_arrays(flat, 2)

    made_up_scores(dataset, folder, episodes=[0, 2, 3], failed=[2], quantiles=quantiles)
    scores = read_scores(dataset, "v1", tmp_path / "elsewhere")
    np.testing.assert_array_equal(scores.rows, dataset.episode_rows([0, 3]))
    np.testing.assert_array_equal(scores.columns["quantiles"], np.stack([scores.rows] * 2, axis=1))


@pytest.mark.parametrize("tag", ["", "a/b", "..", "a b", "ä", "a" * 101])
def test_a_tag_is_a_plain_name(dataset, tag):
    with pytest.raises(DatasetError, match="must be made of letters"):
        tag_folder(dataset, tag)


def test_sidecars_do_not_lie_among_the_files_of_the_dataset(dataset):
    for values in (dataset.root, dataset.root / "data", dataset.root / "videos/../own"):
        with pytest.raises(DatasetError, match="lies among the files of the dataset"):
            tag_folder(dataset, "v1", values)
    assert tag_folder(dataset, "v1", dataset.root / "values") == dataset.values / "v1"
    assert tag_folder(dataset, "v1", dataset.root.parent / "V") == dataset.root.parent / "V" / "v1"


def test_a_tag_that_is_not_there_suggests_one_that_is(dataset, folder):
    with pytest.raises(DatasetError, match=r"values/v2 holds no scores \(there are the tags v1\)"):
        read_scores(dataset, "v2")
    with pytest.raises(DatasetError, match=r"values/v11 holds no scores \(did you mean 'v1'\?\)"):
        read_scores(dataset, "v11")


def test_a_manifest_that_is_no_manifest_is_named(dataset, folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DatasetError, match="manifest.json cannot be read"):
        read_scores(dataset, "v1")
    (folder / "manifest.json").write_text('{"format": 7}')
    with pytest.raises(DatasetError, match="format 7"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        *[("complete", None), ("complete", "no"), ("parts", 0), ("columns", ["index"]), ("fps", 0)],
        *[("episodes", "some"), ("failed_episodes", {"x": ""}), ("scales", {"push the puck": -1})],
    ],
)
def test_a_manifest_that_was_edited_names_the_entry(dataset, folder, entry, value):
    scores = read_manifest(folder)["scores"]
    edit_json(folder / "manifest.json", scores=scores | {entry: value})
    with pytest.raises(DatasetError, match=f"manifest.json has no valid scores: {entry}: was it edited"):
        read_scores(dataset, "v1")


def test_a_manifest_that_does_not_say_of_which_dataset_it_is(dataset, folder):
    edit_json(folder / "manifest.json", dataset={})
    with pytest.raises(DatasetError, match="has no valid dataset: fingerprint"):
        read_scores(dataset, "v1")


def test_a_run_in_which_every_episode_failed_leaves_no_scores_and_no_error(dataset):
    made_up_scores(dataset, tag_folder(dataset, "none"), failed=range(6))
    assert len(read_scores(dataset, "none").rows) == 0


def test_scores_of_another_revision_are_refused(dataset, folder):
    edit_parquet(dataset.data_files[0], "observation.state", lambda rows: [[0.5] * 3, *rows[1:]])
    with pytest.raises(DatasetError, match="another dataset or another revision: it was made of 'dataset'"):
        read_scores(open_dataset(dataset.root), "v1")


def test_an_unfinished_run_is_not_read(dataset, folder):
    scores = read_manifest(folder)["scores"]
    edit_json(folder / "manifest.json", scores=scores | {"complete": False})
    with pytest.raises(DatasetError, match="not finished; run the same valuecurve score command again"):
        read_scores(dataset, "v1")


def test_a_half_written_part_is_named(dataset, folder):
    path = part_path(folder, 1)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"part-00001.parquet \(300 bytes\) cannot be read"):
        read_scores(dataset, "v1")
    path.unlink()
    with pytest.raises(DatasetError, match="part-00001.parquet is missing: run valuecurve score again"):
        read_scores(dataset, "v1")


def test_a_part_with_other_frames_is_named(dataset, folder):
    table = pq.read_table(part_path(folder, 2))
    write_part(part_path(folder, 2), table.slice(0, table.num_rows - 1))
    with pytest.raises(DatasetError, match="part-00002.parquet holds nothing more where episode 5, frame 10"):
        read_scores(dataset, "v1")
    write_part(part_path(folder, 2), table)
    table = pq.read_table(part_path(folder, 0))
    write_part(part_path(folder, 0), table.take(pa.array([1, 0, *range(2, table.num_rows)])))
    with pytest.raises(DatasetError, match="part-00000.parquet holds episode 0, frame 1 where episode 0, fr"):
        read_scores(dataset, "v1")


def test_a_value_that_is_no_number_is_named(dataset, folder):
    edit_parquet(part_path(folder, 1), "value", lambda values: [*values[:10], float("nan"), *values[11:]])
    with pytest.raises(DatasetError, match="part-00001.parquet, episode 3, frame 1: value is not a number"):
        read_scores(dataset, "v1")


def test_a_folder_that_cannot_be_written_names_the_option(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        write_manifest(tmp_path / "file" / "v1", {})


def test_a_manifest_holds_no_nan(folder):
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(folder, {"format": 1, "x": float("nan")})
    assert json.loads((folder / "manifest.json").read_text())["format"] == 1
