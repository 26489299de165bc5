"""`valuecurve plot`: what it draws from scores, labels, outcomes and videos, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_datasets import TOP, WRIST, make_dataset, read_bars
from tiny_scores import noisy_values, write_scores
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import DatasetError, open_dataset, resolve_outcomes, save_splits
from valuecurve.evaluation.film import film_strips, shrink
from valuecurve.evaluation.scored import read_scored
from valuecurve.labels import read_labels
from valuecurve.returns import bin_centers, dataset_targets

BINS = 41


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def distributions(value: np.ndarray) -> np.ndarray:
    p = np.exp(-0.5 * ((bin_centers(BINS) - value[:, None]) / 0.08) ** 2)
    return p / p.sum(axis=1, keepdims=True)


def scored(root, success=None) -> Path:
    """Scores of a dataset under the tag "t"; returns its folder."""
    dataset = open_dataset(root)
    value = noisy_values(dataset, resolve_outcomes(dataset).success if success is None else success)
    write_scores(dataset, "t", value)
    return root


def with_distributions(root, tag="t") -> Path:
    """Scores with a column `distribution`; returns the dataset's folder."""
    dataset = open_dataset(root)
    value = noisy_values(dataset, resolve_outcomes(dataset).success)
    folder, p = write_scores(dataset, tag, value, num_bins=BINS), distributions(value).astype(np.float32)
    for path in sorted((folder / "scores").glob("*.parquet")):
        table = pq.read_table(path)
        mine, p = p[: table.num_rows], p[table.num_rows :]
        column = pa.FixedSizeListArray.from_arrays(pa.array(mine.ravel()), BINS)
        pq.write_table(table.append_column("distribution", column), path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["scores"]["columns"].append("distribution")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return root


def files(root) -> dict:
    return {p: p.read_bytes() for p in Path(root).rglob("*") if p.is_file() and "values" not in p.parts}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A dataset with distributions and labels, drawn as PNG: (folder, printed, files before)."""
    root = with_distributions(make_dataset(tmp_path_factory.mktemp("drawn") / "dataset"))
    assert run("label", root, "--tag", "t", "--horizon", 4)[0] == 0
    before = files(root)
    code, output = run("plot", root, "--tag", "t", "--format", "png")
    assert code == 0, output
    return root, output, before


def test_everything_that_can_be_drawn_is_drawn_beside_the_scores(drawn):
    root, output, before = drawn
    folder = root / "values/t/pictures"
    names = {path.name for path in folder.iterdir()}
    of_all = {"curves", "reliability", "predicted_against_target", "auroc_over_elapsed", "small_multiples"}
    episodes = {f"episode_00{e}_{kind}" for e in (0, 1, 2, 4, 5) for kind in ("curve", "heat_map")}
    assert names == {f"{name}.png" for name in of_all | episodes}
    for name in names:
        assert str(folder / name) in output
        with Image.open(folder / name) as image:
            image.load()
            assert image.width in (880, 1600)
    assert files(root) == before  # nothing outside of values/


def test_curves_hold_the_labels_the_targets_and_the_frames(drawn):
    root, *_ = drawn
    dataset = open_dataset(root)
    it, labels = read_scored(dataset, "t"), read_labels(dataset, "t")
    strips = film_strips(dataset, dataset.cameras[TOP], [4], 3)
    curve = it.curve(4, strips[4])
    mine = labels.episode_index == 4
    np.testing.assert_array_equal(curve.positive, labels.positive[mine])
    assert curve.advantage is not None and curve.probabilities is not None and curve.target is not None
    np.testing.assert_allclose(curve.advantage, labels.advantage[mine])
    np.testing.assert_allclose(curve.probabilities @ bin_centers(BINS), curve.value, atol=0.06)
    success = resolve_outcomes(dataset).success
    tasks = [dataset.tasks[task] for task in dataset.episode_tasks]
    expected, scales = dataset_targets(dataset.lengths, success, tasks)
    np.testing.assert_allclose(curve.target, expected[dataset.episode_rows([4])], atol=1e-6)
    assert curve.scale_seconds == pytest.approx(scales[curve.task] / dataset.fps)
    assert curve.success is True and it.curve(2).success is False
    episode, frame = read_bars(curve.thumbnails)
    assert episode.tolist() == [4, 4, 4] and frame.tolist() == curve.thumbnail_frames.tolist() == [1, 4, 6]


def test_targets_without_labels_are_those_of_training(make):
    dataset = open_dataset(scored(make(cameras={})))
    it = read_scored(dataset, "t")
    tasks = [dataset.tasks[task] for task in dataset.episode_tasks]
    expected, _ = dataset_targets(dataset.lengths, resolve_outcomes(dataset).success, tasks)
    assert it.labels is None and it.targets is not None
    np.testing.assert_allclose(it.targets, expected, atol=1e-6)
    write_scores(dataset, "p", it.scores.value, fail="penalty", fail_penalty=3.0)
    expected, _ = dataset_targets(
        dataset.lengths, resolve_outcomes(dataset).success, tasks, fail="penalty", fail_penalty=3.0
    )
    targets = read_scored(dataset, "p").targets
    assert targets is not None
    np.testing.assert_allclose(targets, expected, atol=1e-6)


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_film_strips_decode_the_wanted_frames_of_videos_and_of_stored_images(make, version):
    root = make(version=version, image_cameras=() if version == "v2.1" else (WRIST,))
    dataset = open_dataset(root)
    for camera in (TOP, WRIST):
        strips = film_strips(dataset, dataset.cameras[camera], [5, 0, 3], 4)
        assert set(strips) == {0, 3, 5}
        for number, (thumbnails, at) in strips.items():
            episode, frame = read_bars(thumbnails)
            assert set(episode.tolist()) == {number} and frame.tolist() == at.tolist()


def test_frames_are_made_small_but_never_larger():
    assert shrink(np.zeros((3, 480, 640), np.uint8)).shape == (3, 180, 240)
    assert shrink(np.zeros((3, 2000, 3), np.uint8)).shape == (3, 240, 1)
    assert shrink(np.zeros((3, 10, 20), np.uint8)).shape == (3, 10, 20)


def test_without_distributions_the_band_is_the_deviation_and_the_rest_is_named(make):
    root = scored(make())
    code, output = run(
        "plot", root, "--tag", "t", "--episodes", "3", "--format", "svg", "--no-film", "--dark"
    )
    assert code == 0, output
    assert "scored episodes, among them any that the model was trained on" in output
    assert "note: left out heat_map, reliability:" in output and "--distribution" in output
    names = {path.name for path in (root / "values/t/pictures").iterdir()}
    assert "episode_003_curve_dark.svg" in names and "episode_003_heat_map_dark.svg" not in names
    curve = read_scored(open_dataset(root), "t").curve(3)
    low, high = curve.band() or pytest.fail("no band")
    np.testing.assert_allclose(high, np.clip(curve.value + 0.1, -1, 0), atol=1e-6)
    code, output = run("plot", root, "--tag", "t", "--kind", "heat_map")
    assert code == 1 and "error: --kind heat_map" in output and "score with --distribution" in output


def test_unknown_outcomes_are_told_and_drawn_as_such(make):
    root = scored(make(cameras={}, outcome=None), success=np.ones(6, bool))
    code, output = run(
        "plot", root, "--tag", "t", "--episodes", "1:3", "--format", "png", "--no-film", "--json"
    )
    found = json.loads(output[output.index("{") :])
    assert code == 0 and "outcomes are not known" in found["notes"][0]
    names = [Path(path).name for path in found["written"]]
    assert names == [
        "episode_001_curve.png",
        "episode_002_curve.png",
        "curves.png",
        "small_multiples.png",
    ]
    it = read_scored(open_dataset(root), "t")
    assert it.curve(1).success is None and it.targets is None and it.choose(2) == [0, 1]
    assert read_scored(open_dataset(root), "t", assume_outcome="success").curve(1).success is True


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--tag", "tt"], ["did you mean 't'?"]),
        (["--tag", "t", "--episodes", "9"], ["--episodes: '9' is none of the episodes 0:6"]),
        (["--tag", "t", "--episodes", "1-3"], ["'1-3' is no selection"]),
        (["--tag", "t", "--episodes", "5"], ["episode 5 is not scored", "episodes 0 to 3"]),
        (["--tag", "t", "--kind", "heatmap"], ["--kind must be some of", "did you mean 'heat_map'?"]),
        (["--tag", "t", "--format", "jpg"], ["--format must be some of png, svg, pdf"]),
        (["--tag", "t", "--camera", "wirst"], ["no camera 'wirst'", "did you mean 'wrist'?"]),
        (["--tag", "t", "--outcome-column", "nothing"], ["nothing"]),
        (["--tag", "t", "--assume-outcome", "maybe"], ["--assume-outcome must be success or failure, got"]),
    ],
)
def test_what_cannot_be_is_named_with_what_to_do(scored_partly, arguments, messages):
    code, output = run("plot", scored_partly, *arguments)
    assert code == 1 and output.count("error:") == 1
    for message in messages:
        assert message in output.replace("\n", " ")
    assert not (scored_partly / "values/t/pictures").exists()


@pytest.fixture(scope="module")
def scored_partly(tmp_path_factory):
    """Episodes 0 to 3 of 6 are scored."""
    root = make_dataset(tmp_path_factory.mktemp("partly") / "dataset")
    dataset = open_dataset(root)
    rows = dataset.episode_rows([0, 1, 2, 3])
    value = noisy_values(dataset, resolve_outcomes(dataset).success)[rows]
    write_scores(dataset, "t", value, episodes=[0, 1, 2, 3])
    return root


SPLIT = {"train": [1, 3], "validation": [2], "test": [0, 4, 5]}


@pytest.fixture(scope="module")
def with_split(scored_partly, tmp_path_factory):
    """A checkpoint's folder with the split of `scored_partly`, of whose test episodes 0 alone is scored."""
    folder = tmp_path_factory.mktemp("model")
    save_splits(folder / "split.json", [(open_dataset(scored_partly), SPLIT)])
    return folder


def test_of_a_split_its_scored_episodes_alone_are_drawn(scored_partly, with_split, tmp_path):
    words = ["--tag", "t", "--format", "png", "--no-film", "--json", "--output", tmp_path]
    code, output = run("plot", scored_partly, *words, "--split", "train", "--checkpoint", with_split)
    found = json.loads(output)
    assert code == 0 and "the 2 scored episodes of the split 'train' alone" in found["notes"][-1]
    names = {Path(path).stem for path in found["written"]}
    assert {"episode_001_curve", "episode_003_curve"} == {
        name for name in names if name.startswith("episode")
    }
    words += ["--split", "test", "--checkpoint", with_split, "--kind", "curve", "--episodes", "0:3"]
    found = json.loads(run("plot", scored_partly, *words)[1])
    assert [Path(path).stem for path in found["written"]] == ["episode_000_curve"]


def test_scores_of_a_split_have_its_labels_and_targets(drawn):
    it = read_scored(open_dataset(drawn[0]), "t")
    some = it.only("test", [5, 2])
    assert some.view.episode_ids.tolist() == [2, 5] and sorted(some.choose()) == [2, 5]
    for episode in (2, 5):
        whole, part = it.curve(episode), some.curve(episode)
        for name in ("value", "probabilities", "target", "positive", "advantage", "threshold"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name), err_msg=name)
        assert part.success == whole.success


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tests"], "--split must be one of test, validation, train, all, got 'tests'; did you"),
        (["--split", "test"], "--split test needs --checkpoint"),
        (["--checkpoint", "MODEL"], "--checkpoint tells the episodes of a split: name one, as --split test"),
        (["--split", "test", "--checkpoint", "no/such/model"], "there is no checkpoint at no/such/model"),
        (["--split", "test", "--checkpoint", "DATASET"], "has no split.json"),
        (
            ["--split", "test", "--checkpoint", "MODEL", "--episodes", "1:4"],
            "chooses no episode of the split",
        ),
        (["--split", "test", "--checkpoint", "MODEL", "--episodes", "0, 4"], "episode 4 is not scored"),
    ],
)
@pytest.mark.parametrize("command", ["plot", "video"])
def test_a_split_that_cannot_be_is_named(scored_partly, with_split, tmp_path, command, arguments, message):
    names = {"MODEL": with_split, "DATASET": scored_partly}
    arguments = [names.get(word, word) for word in arguments]
    code, output = run(command, scored_partly, "--tag", "t", "--output", tmp_path / "new", *arguments)
    assert code == 1 and output.count("error:") == 1 and message in output.replace("\n", " ")
    assert not (tmp_path / "new").exists()


def test_a_split_without_a_scored_episode_is_named(scored_partly):
    with pytest.raises(DatasetError, match="no episode of the split 'test' is scored; episodes 0 to 3 are"):
        read_scored(open_dataset(scored_partly), "t").only("test", [4, 5])


def test_a_file_where_the_pictures_should_go_is_named(scored_partly, tmp_path):
    (tmp_path / "file").touch()
    code, output = run(
        "plot", scored_partly, "--tag", "t", "--kind", "small_multiples", "--output", tmp_path / "file"
    )
    assert code == 1 and output.count("error:") == 1
    assert "there is a file in its place. Name a folder with --output" in output.replace("\n", " ")
    assert "drawing" not in output  # no bar above it


def test_a_damaged_video_is_an_error_that_names_it_and_no_film_does_without(make):
    root = scored(make())
    for path in root.rglob("*.mp4"):
        path.write_bytes(bytes(path.stat().st_size))
    code, output = run("plot", root, "--tag", "t", "--episodes", "0", "--kind", "curve")
    assert code == 1 and "error:" in output and ".mp4" in output and "damaged: copy it again" in output
    code, output = run("plot", root, "--tag", "t", "--episodes", "0", "--kind", "curve", "--no-film")
    assert code == 0, output


def test_episodes_of_both_outcomes_are_chosen_with_tasks_taking_turns(make):
    root = scored(make(cameras={}, lengths=(5,) * 12, success=[i % 4 != 3 for i in range(12)]))
    it = read_scored(open_dataset(root), "t")
    chosen = it.choose(3)
    success = [it.curve(episode).success for episode in chosen]
    assert success == [True] * 3 + [False] * 3
    assert chosen[:3] == [0, 1, 2]  # tasks alternate with the episodes


def test_the_outermost_quantiles_are_the_band_where_there_are_any(make):
    it = read_scored(open_dataset(scored(make(cameras={}))), "t")
    value = it.scores.value[:, None]
    it.scores.columns["quantiles"] = np.clip(value + np.array([0.0, 0.2, -0.3], np.float32), -1, 0)
    it.about["quantile_levels"] = [0.5, 0.95, 0.05]
    curve = it.curve(1)
    low, high = curve.band() or pytest.fail("no band")
    np.testing.assert_allclose(low, np.clip(curve.value - 0.3, -1, 0), atol=1e-6)
    np.testing.assert_allclose(high, np.clip(curve.value + 0.2, -1, 0), atol=1e-6)
    assert curve.band_name == "5%–95% of the prediction"


def test_scores_of_pairs_have_no_targets_and_no_seconds(make):
    root = make(cameras={})
    dataset = open_dataset(root)
    value = np.linspace(-1, 1, dataset.frames.num_rows)
    write_scores(
        dataset, "t", value, {"relative": value, "absolute_value": value}, v_min=-1.0, v_max=1.0, scales={}
    )
    code, output = run("plot", root, "--tag", "t", "--episodes", "2", "--format", "png")
    assert code == 0 and "left out predicted_against_target: targets need outcomes" in output, output
    curve = read_scored(dataset, "t").curve(2)
    assert curve.target is None and not curve.has_seconds and (curve.v_min, curve.v_max) == (-1, 1)
