"""Exports: what each format writes, and that everything else is the source's."""

import hashlib
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_up_labels import made_up_labels
from tiny_datasets import TOP, WRIST, make_dataset, read_bars
from tricky_dataset import LENGTHS, NOTE, make_tricky

from valuecurve.advantages import dataset_progress_difference, indicator_text
from valuecurve.episodes import DatasetError, decode_video, open_dataset
from valuecurve.episodes.statistics import array_statistics
from valuecurve.labels.exports import FORMATS, export_labels
from valuecurve.labels.exports.statistics import episode_statistics

VERSIONS = ("v3.0", "v2.1")


@pytest.fixture(params=VERSIONS)
def tricky(request, tmp_path):
    return open_dataset(make_tricky(tmp_path / "source", request.param))


@pytest.fixture
def plain(tmp_path):
    return open_dataset(make_dataset(tmp_path / "source"))


def files_of(root: Path) -> dict[str, str]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def tables_of(root: Path) -> dict[str, pq.ParquetFile]:
    return {str(p.relative_to(root)): pq.ParquetFile(p) for p in sorted((root / "data").rglob("*.parquet"))}


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def per_episode_statistics(root: Path, version: str, name: str) -> list[dict]:
    """Statistics of a feature in every episode, however the version keeps them."""
    if version == "v2.1":
        return [row["stats"][name] for row in json_lines(root / "meta/episodes_stats.jsonl")]
    parts = [pq.read_table(path) for path in sorted((root / "meta/episodes").rglob("*.parquet"))]
    rows = pa.concat_tables(parts).to_pylist()
    prefix = f"stats/{name}/"
    return [{k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)} for row in rows]


# -- what does not change ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_the_source_is_never_changed_and_the_export_is_a_sound_dataset(tricky, tmp_path, format):
    made_up_labels(tricky)
    before = files_of(tricky.root)
    export_labels(tricky, "v1", format, tmp_path / "out")
    assert files_of(tricky.root) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]
    if format != "parquet":
        made = open_dataset(tmp_path / "out")
        assert made.frames.num_rows == sum(LENGTHS) and made.version == tricky.version


@pytest.mark.parametrize("format", ["lerobot", "kai0", "evo-rl"])
def test_everything_in_the_data_files_but_the_labels_stays_bit_for_bit(tricky, tmp_path, format):
    made_up_labels(tricky)
    export_labels(tricky, "v1", format, tmp_path / "out")
    sources, exports = tables_of(tricky.root), tables_of(tmp_path / "out")
    assert sources.keys() == exports.keys() and len(sources) > 2
    for name, source in sources.items():
        export = exports[name]
        kept = [c for c in source.schema_arrow.names if c != "task_index" or format == "evo-rl"]
        assert export.read(kept).equals(source.read(kept))
        assert {NOTE, WRIST, "action"} <= set(kept)
        same = [export.schema_arrow.field(c).equals(source.schema_arrow.field(c)) for c in kept]
        assert all(same) and export.schema_arrow.field("task_index").type == pa.int32()
        assert export.num_row_groups == source.num_row_groups
        assert export.metadata.row_group(0).column(0).compression == "GZIP"
        before, after = source.schema_arrow.metadata, export.schema_arrow.metadata
        assert after[b"somebody"] == b"else"
        known = json.loads(before[b"huggingface"])["info"]["features"]
        features = json.loads(after[b"huggingface"])["info"]["features"]
        assert {key: features[key] for key in known} == known
        new = set(features) - set(known)
        assert new == set(export.schema_arrow.names) - set(source.schema_arrow.names)
        assert len(new) == 3


@pytest.mark.parametrize("format", ["lerobot", "kai0", "evo-rl", "rabc", "opentau"])
def test_other_metadata_and_other_files_are_taken_over(tricky, tmp_path, format):
    made_up_labels(tricky)
    export_labels(tricky, "v1", format, tmp_path / "out")
    assert (tmp_path / "out/README.md").read_text() == "# A dataset\n"
    assert not (tmp_path / "out/.cache").exists() and not (tmp_path / "out/values").exists()
    made = open_dataset(tmp_path / "out")
    assert made.info["robot_name"] == "own key"
    assert made.info["features"][NOTE] == tricky.info["features"][NOTE]
    kept = [name for name in tricky.episodes.column_names if name != "tasks"]
    assert made.episodes.select(kept).equals(tricky.episodes.select(kept))
    stats = tmp_path / "out/meta" / ("stats.json" if tricky.version == "v3.0" else "episodes_stats.jsonl")
    before = tricky.root / "meta" / stats.name
    if tricky.version == "v3.0":
        assert json.loads(stats.read_text())["action"] == json.loads(before.read_text())["action"]
    else:
        assert [row["stats"]["action"] for row in json_lines(stats)] == [
            row["stats"]["action"] for row in json_lines(before)
        ]


def test_videos_are_hard_links_and_files_that_people_edit_are_not(tricky, tmp_path):
    made_up_labels(tricky)
    for format in ("lerobot", "rabc"):
        made = export_labels(tricky, "v1", format, tmp_path / format)
        videos = sorted(path for path in (tmp_path / format / "videos").rglob("*.mp4"))
        assert videos and made.copied == 0
        images = len(tricky.data_files) if format == "rabc" else 0  # these data files hold images, unchanged
        assert made.linked == len(videos) + images
        for path in videos:
            assert path.samefile(tricky.root / path.relative_to(tmp_path / format))
        for name in ("README.md", "meta/info.json"):
            assert not (tmp_path / format / name).samefile(tricky.root / name)


def test_data_files_without_images_are_copied_where_they_stay_as_they_are(plain, tmp_path):
    made_up_labels(plain)
    export_labels(plain, "v1", "opentau", tmp_path / "out")
    for path in plain.data_files:
        copy = tmp_path / "out" / path.relative_to(plain.root)
        assert copy.read_bytes() == path.read_bytes() and not copy.samefile(path)


def test_a_snapshot_of_the_hub_whose_files_are_links_is_linked_to_the_real_files(plain, tmp_path):
    snapshot = tmp_path / "hub/snapshots/1"
    for path in sorted(plain.root.rglob("*")):
        link = snapshot / path.relative_to(plain.root)
        link.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            link.symlink_to(path)
    dataset = open_dataset(snapshot)
    made_up_labels(dataset, values=tmp_path / "values")
    export_labels(dataset, "v1", "lerobot", tmp_path / "out", values=tmp_path / "values")
    video = f"videos/{TOP}/chunk-000/file-000.mp4"
    assert not (tmp_path / "out" / video).is_symlink()
    assert (tmp_path / "out" / video).samefile(plain.root / video)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_labels_give_the_same_bytes(tricky, tmp_path, format):
    made_up_labels(tricky)
    for name in ("one", "two"):
        export_labels(tricky, "v1", format, tmp_path / name)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


# -- lerobot -----------------------------------------------------------------------------------------------


def test_lerobot_writes_the_indicator_into_the_task_of_every_frame(tricky, tmp_path):
    labels = made_up_labels(tricky, interventions=True)
    export_labels(tricky, "v1", "lerobot", tmp_path / "out")
    made = open_dataset(tmp_path / "out")
    words = ["positive" if flag else "negative" for flag in labels.positive]
    tasks = [tricky.tasks[task].strip() for task in labels.task_index]
    expected = [f"{task}\nAdvantage: {word}" for task, word in zip(tasks, words, strict=True)]
    assert [made.tasks[task] for task in made.task_index] == expected
    assert made.info["total_tasks"] == len(made.tasks) == 4
    for column, array in (("advantage", labels.advantage), ("value", labels.value)):
        np.testing.assert_array_equal(made.frames[column].to_numpy(), array)
        assert made.info["features"][column] == {"dtype": "float32", "shape": [1], "names": None}
    assert made.frames["indicator"].to_pylist() == labels.positive.tolist()
    assert made.info["features"]["indicator"]["dtype"] == "bool"


def test_lerobot_lists_the_tasks_of_every_episode_in_their_order(tricky, tmp_path):
    made_up_labels(tricky)
    export_labels(tricky, "v1", "lerobot", tmp_path / "out")
    made = open_dataset(tmp_path / "out")
    for i, tasks in enumerate(made.episodes["tasks"].to_pylist()):
        rows = slice(made.starts[i], made.starts[i] + made.lengths[i])
        assert tasks == list(dict.fromkeys(made.tasks[task] for task in made.task_index[rows]))


def test_lerobot_keeps_the_statistics_of_what_it_adds_and_changes(tricky, tmp_path):
    labels = made_up_labels(tricky)
    export_labels(tricky, "v1", "lerobot", tmp_path / "out")
    new = open_dataset(tmp_path / "out")
    arrays = {"advantage": labels.advantage, "value": labels.value, "indicator": labels.positive}
    for name, array in {**arrays, "task_index": new.task_index}.items():
        found = per_episode_statistics(tmp_path / "out", tricky.version, name)
        for i, stats in enumerate(found):
            expected = array_statistics(array[new.starts[i] : new.starts[i] + new.lengths[i]])
            names = expected if tricky.version == "v3.0" else ("min", "max", "mean", "std", "count")
            assert set(stats) == set(names)
            for statistic in names:
                np.testing.assert_allclose(stats[statistic], expected[statistic], rtol=1e-12, atol=1e-15)
    if tricky.version == "v3.0":
        stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
        assert stats["advantage"]["mean"] == [pytest.approx(labels.advantage.mean(dtype=np.float64))]
        assert stats["indicator"]["count"] == [len(labels.positive)]
        assert stats["task_index"]["max"] == [3.0]


def test_statistics_of_all_episodes_at_once_are_those_of_each():
    lengths = np.array([1, 2, 7, 30])
    values = np.random.default_rng(0).normal(size=lengths.sum())
    found = episode_statistics(values, lengths)
    for i, part in enumerate(np.split(values, np.cumsum(lengths)[:-1])):
        for name, expected in array_statistics(part).items():
            np.testing.assert_allclose(found[name][i], expected[0], atol=1e-12)


def test_a_template_of_ones_own_or_a_preset(plain, tmp_path):
    labels = made_up_labels(plain)
    for name, template in (
        ("a", "[{indicator}] {task}!"),
        ("b", "kai0"),
        ("c", "{task}: {indicator} {task}"),
    ):
        export_labels(plain, "v1", "lerobot", tmp_path / name, template=template)
        made = open_dataset(tmp_path / name)
        for row in (0, 20, 56):
            text = indicator_text(plain.tasks[labels.task_index[row]], bool(labels.positive[row]), template)
            assert made.tasks[made.task_index[row]] == text


def test_bad_templates_and_templates_without_effect_are_refused(plain, tmp_path):
    made_up_labels(plain)
    for template in ("{task}", ""):
        with pytest.raises(DatasetError, match="a template needs {task} and {indicator}"):
            export_labels(plain, "v1", "lerobot", tmp_path / "out", template=template)
    with pytest.raises(DatasetError, match="writes no task texts, so --template has no effect"):
        export_labels(plain, "v1", "rabc", tmp_path / "out", template="kai0")


def test_a_column_that_is_there_already_is_not_replaced(plain, tmp_path):
    made_up_labels(plain)
    export_labels(plain, "v1", "lerobot", tmp_path / "out")
    again = open_dataset(tmp_path / "out")
    made_up_labels(again)
    with pytest.raises(DatasetError, match="has the column 'advantage' already"):
        export_labels(again, "v1", "lerobot", tmp_path / "twice")
    assert not list(tmp_path.glob("twice*"))


# -- kai0 --------------------------------------------------------------------------------------------------


def test_kai0_numbers_the_classes_of_each_task_from_zero(tricky, tmp_path):
    labels = made_up_labels(tricky)
    export_labels(tricky, "v1", "kai0", tmp_path / "out")
    made = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(made.task_index, 2 * labels.task_index + labels.positive)
    rows = json_lines(tmp_path / "out/meta/tasks.jsonl")
    assert rows[:2] == [
        {"task_index": 0, "task": 'push the "puck", Advantage: negative'},
        {"task_index": 1, "task": 'push the "puck", Advantage: positive'},
    ]
    assert [row["task"] for row in rows] == made.tasks


def test_kai0_writes_slices_where_the_labels_have_them(plain, tmp_path):
    labels = made_up_labels(plain, slices=5)
    assert labels.slice is not None
    export_labels(plain, "v1", "kai0", tmp_path / "out")
    made = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(made.task_index, 5 * labels.task_index + labels.slice)
    assert made.tasks[7] == "open the drawer, Advantage: 2" and len(made.tasks) == 10


def test_kai0_takes_the_columns_of_a_pairwise_checkpoint(plain, tmp_path):
    labels = made_up_labels(plain, pairwise=True)
    export_labels(plain, "v1", "kai0", tmp_path / "out")
    made = open_dataset(tmp_path / "out").frames
    for column, source in (
        ("relative_advantage", "relative"),
        ("absolute_value", "absolute_value"),
        ("absolute_advantage", "absolute_advantage"),
    ):
        assert made[column].to_pylist() == labels.table[source].to_pylist()


def test_kai0_derives_its_columns_from_the_values_of_other_checkpoints(plain, tmp_path):
    labels = made_up_labels(plain)  # horizon 3
    export_labels(plain, "v1", "kai0", tmp_path / "out")
    made = {name: column.to_numpy() for name, column in zip(*_columns(tmp_path / "out"), strict=True)}
    progress = labels.value + 1
    np.testing.assert_allclose(made["absolute_value"], progress, atol=1e-6)
    np.testing.assert_allclose(made["absolute_advantage"][0], progress[3] - progress[0], atol=1e-6)
    difference = dataset_progress_difference(progress, plain.lengths, 3)
    np.testing.assert_allclose(made["relative_advantage"], difference, atol=1e-6)
    np.testing.assert_allclose(made["absolute_advantage"], difference.clip(-1, 1), atol=1e-6)


def _columns(root: Path):
    frames = open_dataset(root).frames
    names = ["relative_advantage", "absolute_value", "absolute_advantage"]
    return names, [frames[name] for name in names]


# -- evo-rl, rabc, opentau, parquet ------------------------------------------------------------------------


def test_evo_rl_writes_three_features_under_the_tag(tricky, tmp_path):
    labels = made_up_labels(tricky, tag="r1.0")
    export_labels(tricky, "r1.0", "evo-rl", tmp_path / "out")
    made = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(made.frames["complementary_info.value_r1.0"], labels.value)
    np.testing.assert_array_equal(made.frames["complementary_info.advantage_r1.0"], labels.advantage)
    indicator = made.frames["complementary_info.acp_indicator_r1.0"]
    assert indicator.type == pa.int64()
    assert indicator.to_pylist() == [int(flag) for flag in labels.positive]
    assert made.tasks == tricky.tasks
    np.testing.assert_array_equal(made.task_index, tricky.task_index)


@pytest.mark.parametrize("pairwise", [False, True])
def test_rabc_writes_the_progress_where_lerobot_looks_for_it(plain, tmp_path, pairwise):
    labels = made_up_labels(plain, pairwise=pairwise)
    export_labels(plain, "v1", "rabc", tmp_path / "out")
    table = pq.read_table(tmp_path / "out/sarm_progress.parquet")
    assert table.column_names == ["index", "episode_index", "frame_index", "progress_sparse"]
    assert [field.type for field in table.schema] == [pa.int64()] * 3 + [pa.float32()]
    assert table["index"].to_pylist() == list(range(len(labels.rows)))
    expected = labels.table["absolute_value"].to_numpy() if pairwise else 1 + labels.value
    np.testing.assert_allclose(table["progress_sparse"], expected, atol=1e-6)
    assert table.schema.metadata == {b"reward_model_path": b"made/up"}


def read_as_opentau(root: Path) -> dict[tuple[int, float], float]:
    """What OpenTau makes of meta/advantages.json: its behaviour, written anew."""
    entries = json.loads((root / "meta/advantages.json").read_text()).items()
    return {(int(key.split(",")[0]), float(key.split(",")[1])): float(value) for key, value in entries}


@pytest.mark.parametrize("scope", ["task", "global"])
def test_opentau_finds_every_frame_and_with_threshold_0_its_indicator(tmp_path, scope):
    root = make_dataset(tmp_path / "source", fps=30, lengths=(200, 90, 120))  # 1/30 is no float32
    dataset = open_dataset(root)
    labels = made_up_labels(dataset, interventions=True, scope=scope)
    export_labels(dataset, "v1", "opentau", tmp_path / "out")
    advantages = read_as_opentau(tmp_path / "out")
    assert len(advantages) == 410
    found = []
    for row in range(410):  # an item of its dataset: tensors, the timestamp in float32
        episode = torch.tensor(int(dataset.episode_index[row]))
        timestamp = torch.tensor(float(dataset.frames["timestamp"][row].as_py()), dtype=torch.float32)
        number = advantages[(int(episode.item()), float(timestamp.item()))]
        found.append(bool(torch.tensor(number, dtype=torch.bfloat16) >= 0.0))
    assert found == labels.positive.tolist()
    earned = labels.positive & ~labels.intervention
    task = labels.task_index if scope == "task" else np.zeros(410, int)
    for group in np.unique(task):  # within a group the differences are those of the advantages
        numbers = np.array(list(advantages.values()))[earned & (task == group)]
        np.testing.assert_allclose(
            np.diff(numbers), np.diff(labels.advantage[earned & (task == group)]), atol=1e-6
        )


def test_opentau_needs_timestamps_that_tell_frames_apart(tmp_path):
    root = make_dataset(tmp_path / "source", columns={"timestamp": [0.0] * 57})
    dataset = open_dataset(root)
    made_up_labels(dataset)
    with pytest.raises(DatasetError, match="timestamps do not grow within an episode"):
        export_labels(dataset, "v1", "opentau", tmp_path / "out")


def test_parquet_is_flat_and_loads_by_datasets(tricky, tmp_path):
    labels = made_up_labels(tricky, episodes=[0, 3])
    made = export_labels(tricky, "v1", "parquet", tmp_path / "out")
    assert (made.frames, made.episodes) == (22, 2)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(loaded) == 22
    assert loaded["positive"][:] == labels.positive.tolist()
    assert loaded["advantage"][:] == [pytest.approx(a) for a in labels.advantage.tolist()]
    texts = [tricky.tasks[task] for task in labels.task_index]
    assert loaded["task"][:] == texts
    prompts = [indicator_text(t, bool(p)) for t, p in zip(texts, labels.positive, strict=True)]
    assert loaded["prompt"][:] == prompts
    rows = labels.rows
    assert loaded["timestamp"][:] == [pytest.approx(t) for t in (tricky.frame_index[rows] / 10).tolist()]


def test_parquet_of_many_rows_is_several_files(plain, tmp_path, monkeypatch):
    monkeypatch.setattr("valuecurve.labels.exports.formats.ROWS", 20)
    labels = made_up_labels(plain)
    export_labels(plain, "v1", "parquet", tmp_path / "out")
    assert len(list((tmp_path / "out/data").iterdir())) == 3
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["index"][:] == labels.index.tolist()
    export_labels(plain, "v1", "opentau", tmp_path / "tau")
    assert len(read_as_opentau(tmp_path / "tau")) == 57


# -- partly labelled datasets ------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "parquet"])
def test_datasets_are_exported_whole_or_the_unlabelled_episodes_are_named(plain, tmp_path, format):
    made_up_labels(plain, episodes=[0, 1, 3, 5])
    with pytest.raises(DatasetError, match="no labels under 'v1' for episodes 2, 4; .*--drop-unlabelled"):
        export_labels(plain, "v1", format, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


KEPT = [1, 3, 4]  # the first file of v3.0 holds episodes 0 and 1, the last one only 4


@pytest.fixture
def partly(tricky, tmp_path):
    """An export of the labelled episodes of a dataset alone, and the rows of the source that it holds."""
    labels = made_up_labels(tricky, episodes=KEPT)
    before = files_of(tricky.root)
    made = export_labels(tricky, "v1", "lerobot", tmp_path / "out", drop_unlabelled=True)
    assert (made.episodes, made.frames) == (3, 25) and files_of(tricky.root) == before
    return tricky, open_dataset(tmp_path / "out"), labels


def test_unlabelled_episodes_can_be_left_out_and_the_others_are_numbered_anew(partly):
    source, made, labels = partly
    assert made.lengths.tolist() == [7, 10, 8] and made.episode_ids.tolist() == [0, 1, 2]
    assert made.frames["index"].to_pylist() == list(range(25))
    assert made.info["total_episodes"] == 3 and made.info["total_frames"] == 25
    assert made.info["splits"] == {"train": "0:3"}
    assert made.episodes["operator"].to_pylist() == ["bob", "bob", "ann"]
    np.testing.assert_array_equal(made.states, source.states[labels.rows])
    np.testing.assert_array_equal(made.frames["advantage"], labels.advantage)
    expected = [
        indicator_text(source.tasks[t], bool(p))
        for t, p in zip(labels.task_index, labels.positive, strict=True)
    ]
    assert [made.tasks[task] for task in made.task_index] == expected
    if source.version == "v3.0":
        assert made.episodes["dataset_from_index"].to_pylist() == [0, 7, 17]
        assert made.episodes["dataset_to_index"].to_pylist() == [7, 17, 25]
    else:
        assert made.info["total_videos"] == 3 and made.info["total_chunks"] == 1


def test_pictures_stay_with_their_episodes_when_others_are_left_out(partly):
    source, made, labels = partly
    for camera in (TOP, WRIST):  # video, images in the tables
        pictures = np.concatenate([chunk for _, chunk in decode_video(made, camera)])
        episode, frame = read_bars(pictures)
        np.testing.assert_array_equal(episode, source.episode_index[labels.rows])
        np.testing.assert_array_equal(frame, source.frame_index[labels.rows])
    names = {path.name for path in (made.root / "videos").rglob("*.mp4")}
    expected = {"file-000.mp4", "file-001.mp4"}
    if source.version == "v2.1":
        expected = {f"episode_00000{i}.mp4" for i in range(3)}
    assert names == expected


def test_statistics_are_those_of_the_episodes_that_are_kept(partly):
    source, made, labels = partly
    found = per_episode_statistics(made.root, made.version, "value")
    assert [stats["count"] for stats in found] == [[7], [10], [8]]
    index = per_episode_statistics(made.root, made.version, "index")
    assert [stats["min"] for stats in index] == [[0], [7], [17]]
    if made.version == "v3.0":
        stats = json.loads((made.root / "meta/stats.json").read_text())
        assert stats["value"]["count"] == [25] and stats["index"]["max"] == [24.0]


@pytest.mark.parametrize("format", ["kai0", "evo-rl", "rabc", "opentau"])
def test_every_format_can_leave_unlabelled_episodes_out(tricky, tmp_path, format):
    labels = made_up_labels(tricky, episodes=KEPT)
    export_labels(tricky, "v1", format, tmp_path / "out", drop_unlabelled=True)
    made = open_dataset(tmp_path / "out")
    assert made.lengths.tolist() == [7, 10, 8]
    if format == "rabc":
        table = pq.read_table(tmp_path / "out/sarm_progress.parquet")
        assert table["index"].to_pylist() == list(range(25))
        assert table["episode_index"].to_pylist() == made.episode_index.tolist()
    if format == "opentau":
        keys = list(read_as_opentau(tmp_path / "out"))
        assert [episode for episode, _ in keys] == made.episode_index.tolist()
        assert [second for _, second in keys] == made.frames["timestamp"].to_pylist()
    if format == "kai0":
        progress = dataset_progress_difference(1 + labels.value, made.lengths, 3)
        np.testing.assert_allclose(made.frames["relative_advantage"], progress, atol=1e-6)


def test_statistics_of_other_features_are_merged_of_the_episodes_that_are_kept(tmp_path):
    random = np.random.default_rng(0)
    values = [random.normal(size=(length, 2)) for length in (4, 5, 6)]
    columns = {}
    for name in ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"):
        columns[f"stats/action/{name}"] = [array_statistics(part)[name].tolist() for part in values]
    root = make_dataset(tmp_path / "source", lengths=(4, 5, 6), files=1, metadata=columns)
    whole = {name: v.tolist() for name, v in array_statistics(np.concatenate(values)).items()}
    (root / "meta/stats.json").write_text(json.dumps({"action": whole, "unknown": {"mean": [1.0]}}))
    dataset = open_dataset(root)
    made_up_labels(dataset, episodes=[0, 2])
    export_labels(dataset, "v1", "evo-rl", tmp_path / "out", drop_unlabelled=True)
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    expected = array_statistics(np.concatenate([values[0], values[2]]))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(stats["action"][name], expected[name])
    assert stats["unknown"] == {"mean": [1.0]}
