"""Label sets and datasets pushed to the Hub on this machine, and loaded again by those who do not know us."""

import io
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from huggingface_hub import RepoCard
from PIL import Image
from tiny_datasets import TOP, make_dataset, read_bars
from tiny_scores import noisy_values, write_scores
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import decode_video, open_dataset, resolve_outcomes, write_outcomes
from valuecurve.labels.label_set import read_labels
from valuecurve.scoring import read_scores

REPO = "robots/labels"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with the labels v1 (of all tasks, per stage) and v2, and scores v3. Read only."""
    folder = make_dataset(tmp_path_factory.mktemp("labelled") / "pushes")
    dataset = open_dataset(folder)
    success = resolve_outcomes(dataset).success
    for seed, tag in enumerate(("v1", "v2", "v3")):
        write_scores(dataset, tag, noisy_values(dataset, success, seed))
    run("label", str(folder), "--tag", "v1", "--horizon", "5")
    run("label", str(folder), "--tag", "v2", "--mode", "full", "--per-stage", "2", "--scope", "global")
    return folder


@pytest.fixture
def own(labelled: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(labelled, tmp_path / "own")


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.stderr + result.stdout
    return result


def export(folder: Path | str, output: str, format: str = "lerobot", tag: str = "v1") -> Path:
    run("export", str(folder), "--tag", tag, "--format", format, "--output", output)
    return Path(output)


def card(hub, repo: str = REPO) -> RepoCard:
    return RepoCard(hub.files("dataset", repo)["README.md"].decode())


# -- label sets --------------------------------------------------------------------------------------------


def test_load_dataset_reads_a_tag_as_a_configuration_streamed_too(hub, labelled):
    run("push", "dataset", str(labelled), REPO, "--tag", "v1")
    local = read_labels(open_dataset(labelled), "v1")
    rows = datasets.load_dataset(REPO, "v1", split="train")
    assert isinstance(rows, datasets.Dataset)
    assert rows["advantage"][:] == local.advantage.tolist()
    assert rows["positive"][:] == local.positive.tolist()
    assert set(rows["task"][:]) == {"push the puck", "open the drawer"}
    first = next(iter(datasets.load_dataset(REPO, "v1", split="train", streaming=True)))
    assert first == rows[0]
    assert first["timestamp"] == 0.0
    assert hub.history("dataset", REPO) == ["Label set v1", "initial commit"]


def test_several_tags_accumulate_each_with_its_block_of_the_card(hub, labelled):
    run("push", "dataset", str(labelled), REPO, "--tag", "v1")
    run("push", "dataset", str(labelled), REPO, "--tag", "v2", "--tag", "v3")
    assert datasets.get_dataset_config_names(REPO) == ["v1", "v2", "v3"]
    rows = datasets.load_dataset(REPO, "v2", split="train")
    assert isinstance(rows, datasets.Dataset) and set(rows["stage"][:]) == {0, 1}
    scores = datasets.load_dataset(REPO, "v3", split="train")
    assert isinstance(scores, datasets.Dataset)
    assert scores["value"][:] == read_scores(open_dataset(labelled), "v3").value.tolist()
    text = card(hub).text
    assert [text.count(title) for title in ("## Labels `v1`", "## Labels `v2`", "## Scores `v3`")] == [
        1,
        1,
        1,
    ]
    assert text.count("<!-- valuecurve:begin -->") == text.count("<!-- valuecurve:end -->") == 1
    assert hub.history("dataset", REPO)[0] == "Label sets v2, v3"


def test_the_card_says_thresholds_shares_and_who_scored_it(hub, labelled):
    run("push", "dataset", str(labelled), REPO, "--tag", "v1")
    labels = read_labels(open_dataset(labelled), "v1")
    text = card(hub).text
    assert "![Histograms of the advantages, with the thresholds](values/v1/labels.png)" in text
    assert "values/v1/labels.png" in hub.files("dataset", REPO)
    for task, threshold in labels.settings["thresholds"].items():
        mine = labels.positive[labels.task_index == ["push the puck", "open the drawer"].index(task)]
        assert f"| {task} | {len(mine)} | {mine.mean():.1%} | {threshold:+.4f} |" in text
    assert "scored by `tiny`, weights sha256 `000000000000`" in text
    assert "n-step advantages over 5 frames (0.5 s)" in text
    assert "| `advantage` | float | value units |" in text
    assert f'load_dataset("{REPO}", "v1", split="train")' in text


def test_histograms_are_drawn_where_labelling_has_left_none(hub, own):
    (own / "values/v2/labels.png").unlink()
    run("push", "dataset", str(own), REPO, "--tag", "v2")
    drawn = hub.files("dataset", REPO)["values/v2/labels.png"]
    assert Image.open(io.BytesIO(drawn)).width == 1600
    assert "nothing has changed" in run("push", "dataset", str(own), REPO, "--tag", "v2").stdout


def test_a_card_that_people_edited_is_kept_around_our_part(hub, api, labelled):
    run("push", "dataset", str(labelled), REPO, "--tag", "v1")
    edited = card(hub).content.replace("# labels\n", "# My labels\n\nMade with care.\n", 1) + "\n## Thanks\n"
    edited = edited.replace("---\n", "---\nlicense: mit\n", 1)
    api.upload_file(
        path_or_fileobj=edited.encode(), path_in_repo="README.md", repo_id=REPO, repo_type="dataset"
    )
    run("push", "dataset", str(labelled), REPO, "--tag", "v2")
    merged = card(hub)
    assert "# My labels\n\nMade with care.\n" in merged.text
    assert merged.text.rstrip().endswith("## Thanks")
    assert merged.data.to_dict()["license"] == "mit"
    assert "## Labels `v1`" in merged.text and "## Labels `v2`" in merged.text


def test_pushing_again_makes_no_commit_and_new_labels_make_one(hub, own):
    run("push", "dataset", str(own), REPO, "--tag", "v1")
    again = run("push", "dataset", str(own), REPO, "--tag", "v1")
    assert "nothing has changed: no commit was made" in again.stdout
    assert len(hub.history("dataset", REPO)) == 2
    run("label", str(own), "--tag", "v1", "--horizon", "5", "--positive-fraction", "0.5")
    run("push", "dataset", str(own), REPO, "--tag", "v1")
    assert len(hub.history("dataset", REPO)) == 3
    assert "the highest 50% of the frames" in card(hub).text
    assert "the highest 30% of the frames" not in card(hub).text


def test_files_of_an_earlier_push_that_are_no_more_are_removed(hub, own):
    run("push", "dataset", str(own), REPO, "--tag", "v3", "--tag", "v1")
    dataset = open_dataset(own)
    success = resolve_outcomes(dataset).success
    shutil.rmtree(own / "values/v1")
    write_scores(dataset, "v1", noisy_values(dataset, success), parts=1)
    path = own / "values/v1/scores/part-00000.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    both = [pq.read_table(path), pq.read_table(path.with_name("part-00001.parquet"))]
    pq.write_table(pa.concat_tables(both), path)
    run("push", "dataset", str(own), REPO, "--tag", "v1")
    there = set(hub.files("dataset", REPO))
    assert {name for name in there if name.startswith("values/v1/")} == {
        "values/v1/manifest.json",
        "values/v1/scores/part-00000.parquet",
    }
    assert "values/v3/scores/part-00001.parquet" in there


def test_a_dry_run_lists_files_with_sizes_and_touches_nothing(hub, labelled):
    result = run("push", "dataset", str(labelled), REPO, "--tag", "v1", "--dry-run")
    assert "values/v1/labels.parquet" in result.stdout and "README.md" in result.stdout
    assert " kB " in result.stdout
    assert "dry run: nothing was pushed" in result.stdout
    assert hub.log == []


def test_labels_beside_their_dataset_are_read_by_the_name_of_the_dataset(hub, api, own):
    write_outcomes(open_dataset(own), resolve_outcomes(open_dataset(own)).success)
    api.create_repo("robots/pushes", repo_type="dataset")
    api.upload_folder(
        folder_path=own, repo_id="robots/pushes", repo_type="dataset", ignore_patterns="values/*"
    )
    run("push", "dataset", str(own), "robots/pushes", "--tag", "v1")
    there, here = open_dataset("robots/pushes"), open_dataset(own)
    assert there.fingerprint == here.fingerprint
    assert read_labels(there, "v1").table.equals(read_labels(here, "v1").table)
    assert "values/outcomes.parquet" in hub.files("dataset", "robots/pushes")
    assert datasets.get_dataset_config_names("robots/pushes") == ["default", "v1"]
    frames = datasets.load_dataset("robots/pushes", split="train")  # the dataset's own tables, as before
    assert isinstance(frames, datasets.Dataset) and len(frames) == here.frames.num_rows
    made = export("robots/pushes", "made")
    assert open_dataset(made).tasks[1] == "push the puck\nAdvantage: positive"


def test_labels_made_of_a_dataset_of_the_hub_go_back_to_it(hub, api, tiny_v30):
    api.create_repo("robots/pushes", repo_type="dataset")
    commit = api.upload_folder(folder_path=tiny_v30, repo_id="robots/pushes", repo_type="dataset").oid
    dataset = open_dataset("robots/pushes")
    write_scores(dataset, "v1", noisy_values(dataset, resolve_outcomes(dataset).success))
    run("label", "robots/pushes", "--tag", "v1", "--horizon", "5")
    run("push", "dataset", "robots/pushes", "robots/pushes", "--tag", "v1")
    again = open_dataset("robots/pushes")
    assert again.origin["revision"] != commit
    assert read_labels(again, "v1").positive.any()


def test_labels_are_not_put_beside_another_dataset(hub, api, labelled, tmp_path):
    other = make_dataset(tmp_path / "other", lengths=(5, 6, 7))
    api.create_repo("robots/other", repo_type="dataset")
    api.upload_folder(folder_path=other, repo_id="robots/other", repo_type="dataset")
    result = run("push", "dataset", str(labelled), "robots/other", "--tag", "v1", code=1)
    assert "robots/other holds another dataset (3 episodes, 18 frames)" in result.stderr


@pytest.mark.parametrize("info", [b"[]", b"{", b"\xff\xfe"])
def test_a_dataset_of_the_hub_that_cannot_be_read_is_named(hub, api, labelled, info):
    api.create_repo("robots/broken", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=info, path_in_repo="meta/info.json", repo_id="robots/broken", repo_type="dataset"
    )
    result = run("push", "dataset", str(labelled), "robots/broken", "--tag", "v1", code=1)
    assert "meta/info.json of robots/broken" in result.stderr and result.stderr.count("\n") == 1


def test_targets_alone_are_a_configuration_too(hub, own):
    run("label", str(own), "--tag", "targets", "--targets-only")
    run("push", "dataset", str(own), REPO, "--tag", "targets")
    rows = datasets.load_dataset(REPO, "targets", split="train")
    assert isinstance(rows, datasets.Dataset) and min(rows["target"][:]) == -1.0
    assert "## Targets `targets`" in card(hub).text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tag", "v9"], "holds no scores"),
        (["--tag", "v1", "--values", "nowhere"], "holds no scores"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(hub, labelled, arguments, message):
    result = run("push", "dataset", str(labelled), REPO, *arguments, code=1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_token_that_may_not_write_is_named(hub, labelled, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_bob_writes_0123456789abcdef")
    result = run("push", "dataset", str(labelled), REPO, "--tag", "v1", code=1)
    assert result.stderr.startswith("error: robots/labels")
    assert "hf_bob" not in result.stderr + result.stdout


def test_a_pull_request_leaves_the_main_branch_alone(hub, labelled):
    run("push", "dataset", str(labelled), REPO, "--tag", "v1")
    result = run("push", "dataset", str(labelled), REPO, "--tag", "v2", "--pr")
    assert "pull request: " in result.stdout
    assert not any(name.startswith("values/v2") for name in hub.files("dataset", REPO))


def test_a_branch_of_its_own_and_a_private_repository(hub, api, labelled):
    run("push", "dataset", str(labelled), REPO, "--tag", "v1", "--revision", "trial", "--private")
    assert api.dataset_info(REPO).private
    assert "values/v1/labels.parquet" in hub.files("dataset", REPO, "trial")
    assert "values/v1/labels.parquet" not in hub.files("dataset", REPO, "main")


# -- datasets ----------------------------------------------------------------------------------------------


def test_an_export_opens_again_by_name_and_its_episodes_decode(hub, api, labelled):
    folder = export(labelled, "export")
    run("push", "dataset", str(folder), "robots/export")
    there, here = open_dataset("robots/export"), open_dataset(folder)
    assert there.fingerprint == here.fingerprint
    images = np.concatenate([images for _, images in decode_video(there, "top", [4])])
    assert read_bars(images)[1].tolist() == list(range(8))
    assert there.tasks[1] == "push the puck\nAdvantage: positive"
    refs = {
        tag.name: tag.target_commit for tag in api.list_repo_refs("robots/export", repo_type="dataset").tags
    }
    assert refs == {"v3.0": there.origin["revision"]}
    found = card(hub, "robots/export")
    assert {"LeRobot", "robotics"} <= set(found.data.to_dict()["tags"])
    assert "| format | [LeRobot](https://github.com/huggingface/lerobot) v3.0 |" in found.text
    assert r"asked with the positive one: `'push the puck\nAdvantage: positive'`" in found.text
    assert "(labels.png)" in found.text and "labels.png" in hub.files("dataset", "robots/export")
    assert "scored by `tiny`" in found.text
    labels = read_labels(open_dataset(labelled), "v1")
    assert f"{labels.settings['thresholds']['push the puck']:+.4f}" in found.text


def test_an_export_of_v21_gets_its_own_version_as_a_tag(hub, api, tmp_path):
    folder = make_dataset(tmp_path / "old", version="v2.1")
    dataset = open_dataset(folder)
    write_scores(dataset, "v1", noisy_values(dataset, resolve_outcomes(dataset).success))
    run("label", str(folder), "--tag", "v1", "--horizon", "5")
    run("push", "dataset", str(export(folder, "old")), "robots/old", "--tag", "v1")
    assert [tag.name for tag in api.list_repo_refs("robots/old", repo_type="dataset").tags] == ["v2.1"]
    assert len(list(decode_video(open_dataset("robots/old"), "wrist", [2]))) == 1


def test_a_flat_export_is_a_dataset_for_everybody(hub, labelled):
    run("push", "dataset", str(export(labelled, "flat", "parquet")), "robots/flat")
    rows = datasets.load_dataset("robots/flat", split="train")
    assert isinstance(rows, datasets.Dataset)
    assert rows[0]["prompt"].startswith("push the puck\nAdvantage: ")
    assert "LeRobot" not in card(hub, "robots/flat").data.to_dict()["tags"]


def test_the_readme_of_the_source_stays_in_the_card(hub, own):
    (own / "README.md").write_text(
        "---\nlicense: apache-2.0\ntags:\n- metaworld\n---\n\n# Pushes\n\nCollected by hand.\n"
    )
    run("push", "dataset", str(export(own, "export")), "robots/export")
    found = card(hub, "robots/export")
    assert "# Pushes\n\nCollected by hand." in found.text
    assert found.data.to_dict()["license"] == "apache-2.0"
    assert found.data.to_dict()["tags"][:2] == ["metaworld", "LeRobot"]


def test_a_smaller_export_leaves_no_file_of_the_larger_one(hub, labelled, tmp_path):
    run("push", "dataset", str(export(labelled, "export")), "robots/export")
    small = make_dataset(tmp_path / "small", lengths=(5, 6, 7), files=1)
    run("push", "dataset", str(small), "robots/export")
    there = set(hub.files("dataset", "robots/export"))
    assert f"videos/{TOP}/chunk-000/file-001.mp4" not in there
    assert open_dataset("robots/export").fingerprint == open_dataset(small).fingerprint


def test_sidecars_and_hidden_files_stay_here(hub, own):
    (own / ".secret").write_text("x")
    run("push", "dataset", str(own), "robots/plain")
    names = set(hub.files("dataset", "robots/plain"))
    assert not any(name.startswith(("values/", ".secret")) for name in names)


def test_a_dataset_without_one_of_its_videos_is_not_pushed(hub, own):
    (own / f"videos/{TOP}/chunk-000/file-001.mp4").unlink()
    result = run("push", "dataset", str(own), "robots/plain", code=1)
    assert "file-001.mp4 is missing: a dataset is pushed whole" in result.stderr


def test_what_is_no_dataset_is_named(hub, tmp_path):
    result = run("push", "dataset", str(tmp_path), "robots/plain", code=1)
    assert "is not a LeRobot dataset" in result.stderr
