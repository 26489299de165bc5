"""Datasets of the Hub, read by name, over HTTP: against the Hub on this machine."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from tiny_datasets import TOP, WRIST, make_dataset, read_bars
from tiny_scores import noisy_values, write_scores
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import (
    DatasetError,
    build_frame_store,
    decode_video,
    hub_cache,
    open_dataset,
    resolve_outcomes,
    save_splits,
    write_outcomes,
)
from valuecurve.episodes.hub_errors import explain
from valuecurve.labels.exports import folder as export_folder
from valuecurve.labels.label_set import read_labels
from valuecurve.scoring import read_scores
from valuecurve.training.config import DataConfig
from valuecurve.training.data import RobotData
from valuecurve.training.question_sources import is_lerobot

REPO = "robots/tiny"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder of its own for each test, and no patience with other processes."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(hub_cache, "GRACE", 0.0)


def push(api, folder: Path, repo: str = REPO, **options) -> str:
    """Put a dataset on the Hub; its commit."""
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    return api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset", **options).oid


def fetched(hub) -> list[str]:
    """The files whose bytes were asked for, in order."""
    asked = [entry.path for entry in hub.log if entry.method == "GET" and "/resolve/" in entry.path]
    return [path.split("/resolve/")[1].split("/", 1)[1] for path in asked]


def videos(hub) -> list[str]:
    return [name for name in fetched(hub) if name.endswith(".mp4")]


def fails(place: str, *parts: str) -> None:
    """Opening is one DatasetError of one line that holds all the parts."""
    with pytest.raises(DatasetError) as caught:
        open_dataset(place)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_dataset_of_the_hub_is_the_same_as_in_a_folder_and_no_video_is_fetched(
    hub, api, tiny_v30, tiny_v21, version
):
    folder = tiny_v30 if version == "v3.0" else tiny_v21
    commit = push(api, folder)
    there, here = open_dataset(REPO), open_dataset(folder)
    assert there.fingerprint == here.fingerprint
    assert there.key == REPO
    assert there.origin == {"name": REPO, "revision": commit}
    assert there.frames.equals(here.frames)
    assert videos(hub) == []
    assert {"meta/info.json", "data/chunk-000/file-000.parquet"} - set(fetched(hub)) in (
        set(),
        {"data/chunk-000/file-000.parquet"},
    )


def test_a_video_is_fetched_when_it_is_decoded_and_only_once(hub, api, tiny_v30):
    push(api, tiny_v30)
    dataset = open_dataset(REPO)
    for _ in range(2):
        chunks = list(decode_video(dataset, "top", [5]))
        episode, frame = read_bars(np.concatenate([images for _, images in chunks]))
        assert set(episode.tolist()) == {5}
        assert frame.tolist() == list(range(11))
    assert videos(hub) == [f"videos/{TOP}/chunk-000/file-001.mp4"]


def test_of_v21_each_episode_has_its_own_video_and_the_chosen_ones_are_fetched(hub, api, tiny_v21, tmp_path):
    push(api, tiny_v21)
    hub.page_size = 4  # of 20 and more files
    store = build_frame_store(open_dataset(REPO), 16, episodes=[1, 4], cache_dir=tmp_path, progress=False)
    local = build_frame_store(
        open_dataset(tiny_v21), 16, episodes=[1, 4], cache_dir=tmp_path / "b", progress=False
    )
    rows = open_dataset(tiny_v21).episode_rows([1, 4])
    assert np.array_equal(store.gather(TOP, rows), local.gather(TOP, rows))
    expected = {f"videos/chunk-000/{key}/episode_{e:06d}.mp4" for key in (TOP, WRIST) for e in (1, 4)}
    assert set(videos(hub)) == expected


def test_a_revision_is_pinned_and_a_commit_that_is_known_needs_no_network(hub, api, tiny_v30, tmp_path):
    first = push(api, tiny_v30)
    api.create_tag(REPO, tag="v3.0", repo_type="dataset")
    other = make_dataset(tmp_path / "other", lengths=(5, 6, 7))
    second = push(api, other, delete_patterns="*")
    assert open_dataset(f"{REPO}@v3.0").origin["revision"] == first
    assert open_dataset(f"{REPO}@{first}").fingerprint == open_dataset(tiny_v30).fingerprint
    assert open_dataset(REPO).origin["revision"] == second
    asked = len(hub.log)
    open_dataset(f"{REPO}@{first}")
    assert len(hub.log) == asked


def test_what_a_new_revision_has_in_common_with_the_old_one_is_not_fetched_again(
    hub, api, tiny_v30, tmp_path
):
    push(api, tiny_v30)
    list(decode_video(open_dataset(REPO), "top"))
    before = len(videos(hub))
    (tmp_path / "README.md").write_text("news")
    api.upload_file(
        path_or_fileobj=tmp_path / "README.md", path_in_repo="README.md", repo_id=REPO, repo_type="dataset"
    )
    list(decode_video(open_dataset(REPO), "top"))
    assert len(videos(hub)) == before == 2


def test_a_folder_wins_over_a_dataset_of_the_same_spelling(hub, api, tiny_v30):
    push(api, tiny_v30)
    make_dataset(Path(REPO), lengths=(5, 6, 7))
    assert open_dataset(REPO).lengths.tolist() == [5, 6, 7]
    assert hub.log[-1].path != f"/api/datasets/{REPO}"
    assert len(open_dataset(f"{REPO}@main").lengths) == 6


def test_without_a_network_a_warm_cache_is_used(hub, api, tiny_v30, monkeypatch):
    push(api, tiny_v30)
    dataset = open_dataset(REPO)
    list(decode_video(dataset, "top", [0]))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = open_dataset(REPO)
    assert again.fingerprint == dataset.fingerprint
    assert len(list(decode_video(again, "top", [0]))) == 1
    with pytest.raises(
        DatasetError, match=r"file-001.mp4 of robots/tiny is not in the cache .* HF_HUB_OFFLINE"
    ):
        list(decode_video(again, "top", [5]))
    fails("robots/never", "robots/never is not in the cache", "HF_HUB_OFFLINE is set")


def test_a_hub_that_gives_no_answer_is_replaced_by_the_cache_or_named(hub, api, tiny_v30):
    push(api, tiny_v30)
    expected = open_dataset(REPO).fingerprint
    hub.stop()
    assert open_dataset(REPO).fingerprint == expected
    fails(
        "robots/never", f"robots/never could not be fetched from {hub.url}", "there is no folder robots/never"
    )


def test_errors_say_what_to_do(hub, api, tiny_v30, monkeypatch):
    push(api, tiny_v30)
    fails("robots/tinny", "has no dataset robots/tinny that you may read", "check the spelling")
    fails(f"{REPO}@mian", "robots/tiny has no revision 'mian'; did you mean 'main'?")
    fails(f"{REPO}@{'0' * 40}", "has no revision '0000")
    api.create_repo("robots/empty", repo_type="dataset")
    fails("robots/empty", "robots/empty is not a LeRobot dataset: the repository has no meta/info.json")
    hub.gate("dataset", REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_bob_writes_0123456789abcdef")
    fails(REPO, "robots/tiny is gated: accept its conditions at", f"{hub.url}/datasets/{REPO}")
    monkeypatch.setenv("HF_TOKEN", "hf_nobody_0123456789abcdef0123")
    fails(REPO, "the Hub refuses the token", "hf auth login")


def test_a_private_dataset_is_read_with_a_token_alone(hub, api, tiny_v30, monkeypatch):
    push(api, tiny_v30)
    api.update_repo_settings(REPO, private=True, repo_type="dataset")
    assert len(open_dataset(REPO).lengths) == 6
    monkeypatch.setenv("HF_TOKEN", "hf_bob_writes_0123456789abcdef")
    monkeypatch.setenv("VALUECURVE_CACHE", os.environ["VALUECURVE_CACHE"] + "-of-bob")
    fails(REPO, "has no dataset robots/tiny that you may read")


def test_a_connection_that_is_cut_is_told_and_the_same_again_completes(hub, api, tiny_v30):
    push(api, tiny_v30)
    dataset = open_dataset(REPO)
    hub.faults.cut_download(path=r"\.mp4", after=500, times=100)
    with pytest.raises(
        DatasetError, match=r"file-000.mp4 of robots/tiny could not be fetched .*run it again"
    ):
        list(decode_video(dataset, "top", [0]))
    hub.faults.clear()
    assert len(list(decode_video(dataset, "top", [0]))) == 1


def test_a_video_that_the_repository_lacks_is_named_before_anything_is_fetched(hub, api, tmp_path):
    folder = make_dataset(tmp_path / "broken")
    (folder / f"videos/{TOP}/chunk-000/file-001.mp4").unlink()
    push(api, folder)
    dataset = open_dataset(REPO)
    assert dataset.fingerprint == open_dataset(folder).fingerprint
    with pytest.raises(
        DatasetError, match="file-001.mp4 is missing: the video of camera .*top for episode 3"
    ):
        list(decode_video(dataset, "top"))
    assert videos(hub) == []


def test_the_cache_is_bounded_and_forgets_what_was_used_first(hub, api, tiny_v21, monkeypatch):
    push(api, tiny_v21)
    dataset = open_dataset(REPO)
    assert dataset.hub is not None
    sizes = [dataset.size(path) for path in dataset.video_files(TOP)[0]]
    monkeypatch.setenv("VALUECURVE_CACHE_GB", str(1.5 * max(sizes) / 1e9))
    episodes = read_bars(np.concatenate([images for _, images in decode_video(dataset, "top")]))[0]
    assert np.array_equal(episodes, dataset.episode_index)
    for number in range(6):  # in turn, without files fetched ahead
        with dataset.using(dataset.video_files(WRIST)[0][number]):
            kept = [path for path in dataset.hub.cache.rglob("*.mp4") if path.is_file()]
            assert sum(path.stat().st_size for path in kept) <= 2.5 * max(sizes)
    assert f"episode_{number:06d}.mp4" in {path.name for path in kept}
    assert open_dataset(REPO).fingerprint == dataset.fingerprint
    assert len(list(decode_video(dataset, "top", [0]))) == 1  # fetched once more


def test_a_limit_that_is_no_number_is_named(hub, api, tiny_v30, monkeypatch):
    push(api, tiny_v30)
    monkeypatch.setenv("VALUECURVE_CACHE_GB", "much")
    with pytest.raises(DatasetError, match="VALUECURVE_CACHE_GB must be a number of gigabytes.*'much'"):
        list(decode_video(open_dataset(REPO), "top", [0]))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            errno.ENOSPC,
            "no room on the disk for the a.mp4 of robots/tiny, in .*: .* lower VALUECURVE_CACHE_GB",
        ),
        (errno.EROFS, "cache .* cannot be written .*: set VALUECURVE_CACHE to another folder"),
    ],
)
def test_a_disk_that_refuses_is_told_with_what_to_do(code, message, tmp_path):
    assert re.search(message, explain(OSError(code, os.strerror(code)), REPO, "main", tmp_path, "a.mp4"))


# -- sidecars ----------------------------------------------------------------------------------------------


def test_sidecars_lie_in_the_current_folder_and_name_the_commit(hub, api, tiny_v30, tmp_path):
    commit = push(api, tiny_v30)
    dataset = open_dataset(REPO)
    success = resolve_outcomes(dataset).success
    folder = write_scores(dataset, "v1", noisy_values(dataset, success))
    assert folder.resolve() == tmp_path / "here/values/robots--tiny/v1"
    assert run("label", REPO, "--tag", "v1", "--horizon", "5").exit_code == 0
    assert read_labels(dataset, "v1").positive.any()
    assert dataset.origin["revision"] == commit


def test_sidecars_that_the_repository_holds_are_read(hub, api, tmp_path):
    folder = make_dataset(tmp_path / "labelled", outcome=None)
    local = open_dataset(folder)
    success = np.array([True, False, True, True, False, True])
    write_outcomes(local, success)
    write_scores(local, "v1", noisy_values(local, success))
    assert run("label", str(folder), "--tag", "v1", "--horizon", "5").exit_code == 0
    push(api, folder)
    dataset = open_dataset(REPO)
    assert np.array_equal(resolve_outcomes(dataset).success, success)
    assert np.array_equal(read_scores(dataset, "v1").value, read_scores(local, "v1").value)
    assert read_labels(dataset, "v1").table.equals(read_labels(local, "v1").table)
    assert Path("values/robots--tiny/v1/manifest.json").is_file()
    result = run("label", REPO, "--tag", "v2", "--horizon", "5")
    assert result.exit_code == 1
    assert "error: values/robots--tiny/v2 holds no scores (there are the tags v1)" in result.stderr


def test_outcomes_are_given_to_a_dataset_of_the_hub(hub, api, tmp_path):
    push(api, make_dataset(tmp_path / "unknown", outcome=None))
    Path("outcomes.csv").write_text("episode_index,success\n" + "".join(f"{e},{e % 2}\n" for e in range(6)))
    result = run("relabel-outcomes", REPO, "--csv", "outcomes.csv")
    assert "outcomes: values/robots--tiny/outcomes.parquet" in result.stdout
    expected = [False, True, False, True, False, True]
    assert resolve_outcomes(open_dataset(REPO)).success.tolist() == expected
    assert run("relabel-outcomes", REPO, "--csv", "outcomes.csv", "--output", "new").exit_code == 0
    made = open_dataset("new")
    assert resolve_outcomes(made).success.tolist() == expected
    assert sum(len(images) for _, images in decode_video(made, "top")) == made.frames.num_rows


# -- commands ----------------------------------------------------------------------------------------------


def test_inspect_reads_headers_alone(hub, api, tiny_v30):
    commit = push(api, tiny_v30)
    result = run("inspect", REPO, "--json")
    report = json.loads(result.stdout)
    assert (report["errors"], report["warnings"]) == ([], [])
    assert (report["dataset"], report["revision"]) == (REPO, commit)
    assert run("inspect", f"{REPO}@nowhere").exit_code == 1


def test_inspect_finds_a_cut_video_on_the_hub(hub, api, tmp_path):
    folder = make_dataset(tmp_path / "cut")
    path = folder / f"videos/{TOP}/chunk-000/file-000.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    push(api, folder)
    (error,) = json.loads(run("inspect", REPO, "--json").stdout)["errors"]
    assert f"videos/{TOP}/chunk-000/file-000.mp4" in error


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_an_export_of_a_dataset_of_the_hub_is_that_of_the_folder(hub, api, tmp_path, version):
    folder = make_dataset(tmp_path / "source", version=version)
    local = open_dataset(folder)
    write_scores(local, "v1", noisy_values(local, resolve_outcomes(local).success), episodes=None)
    assert run("label", str(folder), "--tag", "v1", "--horizon", "5").exit_code == 0
    push(api, folder)
    for place, name in ((str(folder), "a"), (REPO, "b")):
        result = run("export", place, "--tag", "v1", "--format", "lerobot", "--output", name)
        assert result.exit_code == 0, result.stderr
    ours = {
        path.relative_to("a"): path.read_bytes() for path in sorted(Path("a").rglob("*")) if path.is_file()
    }
    theirs = {path.relative_to("b"): path.read_bytes() for path in Path("b").rglob("*") if path.is_file()}
    assert set(ours) == set(theirs)
    assert {path for path in ours if ours[path] != theirs[path]} <= {Path("meta/valuecurve.json")}


@pytest.mark.parametrize("links", [True, False])
def test_the_cache_stays_bounded_while_an_export_is_made(hub, api, tmp_path, monkeypatch, links):
    folder = make_dataset(tmp_path / "source", version="v2.1")
    local = open_dataset(folder)
    write_scores(local, "v1", noisy_values(local, resolve_outcomes(local).success))
    assert run("label", str(folder), "--tag", "v1", "--horizon", "5").exit_code == 0
    push(api, folder)
    names = [path.relative_to(folder) for path in sorted((folder / "videos").rglob("*.mp4"))]
    sizes = [(folder / name).stat().st_size for name in names]
    limit = 3 * max(sizes)
    monkeypatch.setenv("VALUECURVE_CACHE_GB", str(limit / 1e9))
    cached, link = [], export_folder._linked

    def watched(file: export_folder.Taken) -> bool:
        videos = [path for path in hub_cache.cache_folder().rglob("*.mp4") if path.is_file()]
        cached.append(sum(path.stat().st_size for path in {path.resolve() for path in videos}))
        return links and link(file)

    monkeypatch.setattr(export_folder, "_linked", watched)
    result = run("export", REPO, "--tag", "v1", "--format", "lerobot", "--output", "made")
    assert result.exit_code == 0, result.stderr
    assert len(cached) == len(names) == 12 and sum(sizes) > 2 * limit
    assert max(cached) <= limit + max(sizes)
    assert all((Path("made") / name).read_bytes() == (folder / name).read_bytes() for name in names)


# -- the other rooms ---------------------------------------------------------------------------------------


def test_training_takes_datasets_of_the_hub_alone_and_in_mixtures(hub, api, tiny_v30, tmp_path):
    push(api, tiny_v30)
    make_dataset(tmp_path / "tiny", lengths=(5, 6, 7, 8))
    alone = RobotData.prepare(DataConfig(dataset=f"{REPO}@main"))
    assert alone.dataset.key == REPO
    mixture = [{"dataset": REPO, "episodes": "0:4"}, {"dataset": str(tmp_path / "tiny"), "weight": 2.0}]
    for entry in mixture:
        entry.setdefault("weight", 1.0)
    both = RobotData.prepare(DataConfig(mixture=mixture))
    assert [part.dataset.key for part in both.parts] == [REPO, "tiny"]
    assert both.part_at(REPO) is both.parts[0]
    assert both.part_at(tmp_path / "tiny") is both.parts[1]
    both.frame_stores(16, "bicubic", str(tmp_path / "store"))
    assert set(videos(hub)) == {
        f"videos/{key}/chunk-000/file-{i:03d}.mp4" for key in (TOP, WRIST) for i in (0, 1)
    }
    save_splits("split.json", [(part.source, part.split) for part in both.parts])
    entries = json.loads(Path("split.json").read_text())["datasets"]
    assert entries[0]["name"] == REPO and len(entries[0]["revision"]) == 40
    assert "name" not in entries[1]


def test_questions_in_a_lerobot_dataset_of_the_hub_are_recognised(hub, api, tiny_v30):
    push(api, tiny_v30)
    api.create_repo("robots/questions", repo_type="dataset")
    assert is_lerobot(REPO)
    assert not is_lerobot("robots/questions")
    assert not is_lerobot("robots/questions:subset")


def test_scores_of_a_dataset_of_the_hub_are_those_of_the_folder(hub, api, life):
    shutil.copytree(life.dataset, "local", ignore=shutil.ignore_patterns("values"))
    commit = push(api, Path("local"))
    model = str(life.run / "model")
    for place in ("local", REPO):
        result = run("score", model, place, "--tag", "again", "--episodes", "0, 2")
        assert result.exit_code == 0, result.stderr
    there, here = read_scores(open_dataset(REPO), "again"), read_scores(open_dataset("local"), "again")
    assert np.array_equal(there.value, here.value)
    assert there.manifest["dataset"] == {
        **here.manifest["dataset"],
        "key": REPO,
        "name": REPO,
        "revision": commit,
    }
