"""What can be wrong with checkpoint, dataset, tag and disk: one clear error each, and nothing half-done."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_scoring_run import score
from tiny_datasets import TOP, WRIST, edit_json, edit_parquet
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import DatasetError, open_dataset
from valuecurve.scoring import read_manifest, read_scores
from valuecurve.scoring.scores import part_path
from valuecurve.training import ConfigError


def call(trained, dataset, *more: object) -> tuple[int, str]:
    """Exit code and all that the command prints, on one line. In float32: values are compared to 1e-5."""
    options = ["--tag", "t", "--dtype", "float32", *map(str, more)]
    arguments = ["score", str(trained.folder), str(dataset), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def cut_video(path: Path, seconds: float) -> None:
    """Make an mp4 end early, as a recording that was interrupted."""
    short = path.with_name("short.mp4")
    import av

    with av.open(str(path)) as source, av.open(str(short), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = stream
                target.mux(packet)
    short.replace(path)


def test_a_horizon_is_refused_where_it_would_do_nothing(trained, tiny_v30, tmp_path):
    code, said = call(trained, tiny_v30, "--values", tmp_path, "--horizon", 5)
    assert code == 1 and "--horizon 5 is for checkpoints that compare pairs" in said
    assert "give the horizon to valuecurve label" in said and not list(tmp_path.iterdir())


# -- pictures ----------------------------------------------------------------------------------------------


def test_a_video_that_ends_early_costs_its_episode_and_no_other(trained, make, tmp_path):
    dataset = make()
    whole = score(trained, dataset, tmp_path / "whole")
    cut_video(dataset / "videos" / WRIST / "chunk-000" / "file-000.mp4", seconds=1.5)  # in episode 1 of 0 … 2
    code, said = call(trained, dataset, "--batch-size", 5)
    assert code == 1
    assert "episode 1 was left out: videos/observation.images.wrist/chunk-000/file-000.mp4: camera" in said
    assert "episode 1: frame 3 of 7" in said and "episode 2 was left out" in said
    scores = read_scores(open_dataset(dataset), "t")
    np.testing.assert_array_equal(scores.rows, open_dataset(dataset).episode_rows([0, 3, 4, 5]))
    np.testing.assert_allclose(scores.value, whole.value[scores.rows], atol=1e-5, rtol=0)
    assert list(scores.manifest["scores"]["failed_episodes"]) == ["1", "2"]
    assert str(tmp_path) not in json.dumps(scores.manifest)


def test_a_video_that_is_missing_or_no_video_costs_its_episodes(trained, make, tmp_path):
    dataset = make(version="v2.1")
    videos = dataset / "videos" / "chunk-000"
    (videos / TOP / "episode_000001.mp4").unlink()
    (videos / WRIST / "episode_000004.mp4").write_bytes(b"no video")
    code, said = call(trained, dataset)
    assert code == 1
    assert "episode 1 was left out: videos/chunk-000/observation.images.top/episode_000001.mp4 is mis" in said
    assert "episode 4 was left out" in said and "cannot be decoded after 0 of 8 frames" in said
    opened = open_dataset(dataset)
    np.testing.assert_array_equal(read_scores(opened, "t").rows, opened.episode_rows([0, 2, 3, 5]))


@pytest.mark.parametrize("batch_size", [5, 64])
def test_an_image_that_cannot_be_read_costs_its_episode_and_no_other(trained, make, tmp_path, batch_size):
    # the other camera hands on the whole episode in the middle of 16 frames
    dataset = make(image_cameras=(TOP, WRIST), files=1, lengths=(7, 4, 20, 9, 8, 9))
    whole = score(trained, dataset, tmp_path, batch_size=batch_size)
    path = dataset / "data" / "chunk-000" / "file-000.parquet"
    edit_parquet(path, TOP, lambda cells: [*cells[:9], {"bytes": b"none", "path": None}, *cells[10:]])
    code, said = call(trained, dataset, "--batch-size", batch_size)
    assert code == 1 and "episode 1, frame 2: camera observation.images.top: the image cannot be read" in said
    opened = open_dataset(dataset)
    scores = read_scores(opened, "t")
    np.testing.assert_array_equal(scores.rows, opened.episode_rows([0, 2, 3, 4, 5]))
    np.testing.assert_allclose(scores.value, whole.value[scores.rows], atol=1e-5, rtol=0)


def test_an_episode_that_fails_for_pairs_leaves_the_others_as_they_are(trained_pairs, make, tmp_path):
    dataset = make(version="v2.1")
    whole = score(trained_pairs, dataset, tmp_path, horizon=4, batch_size=4)
    cut_video(dataset / "videos" / "chunk-000" / TOP / "episode_000002.mp4", seconds=0.45)
    code, said = call(trained_pairs, dataset, "--horizon", 4, "--batch-size", 4)
    assert code == 1 and "episode 2: frame 5 of 9" in said
    scores = read_scores(open_dataset(dataset), "t")
    for name, values in scores.columns.items():
        np.testing.assert_allclose(values, whole.columns[name][scores.rows], atol=1e-5, rtol=0, err_msg=name)


def test_failed_episodes_are_tried_again(trained, make, tmp_path):
    """As after a network disk that was away: nothing of the dataset has changed."""
    dataset = make(version="v2.1")
    path = dataset / "videos" / "chunk-000" / TOP / "episode_000001.mp4"
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))  # the same size: the same fingerprint
    assert call(trained, dataset, "--part-frames", 20)[0] == 1
    path.write_bytes(good)
    code, said = call(trained, dataset, "--part-frames", 20)
    assert code == 0 and "28 frames in" in said  # those of the part with episode 1
    assert len(read_scores(open_dataset(dataset), "t").rows) == 57


# -- what is there already ---------------------------------------------------------------------------------


def test_a_tag_that_exists_is_kept_unless_it_is_to_be_replaced(trained, tiny_v30, tmp_path):
    values = ["--values", tmp_path]
    assert call(trained, tiny_v30, *values)[0] == 0
    before = files_below(tmp_path)
    code, said = call(trained, tiny_v30, *values)
    assert code == 0 and "nothing was left to score" in said
    code, said = call(trained, tiny_v30, *values, "--every", 2)
    assert code == 1
    assert "t is there already, made differently (every 1, now 2). Choose another --tag" in said
    assert files_below(tmp_path) == before
    for name in ("labels.parquet", "labels.png"):
        (tmp_path / "t" / name).write_text("made of these scores")
    assert call(trained, tiny_v30, *values, "--every", 2, "--overwrite")[0] == 0
    assert read_manifest(tmp_path / "t")["scores"]["every"] == 2
    assert not list((tmp_path / "t").glob("labels.*"))


def test_another_checkpoint_needs_another_tag(trained, trained_pairs, tiny_v30, tmp_path):
    assert call(trained, tiny_v30, "--values", tmp_path)[0] == 0
    code, said = call(trained_pairs, tiny_v30, "--values", tmp_path)
    assert code == 1 and "made differently (columns [" in said


def test_scores_of_another_revision_are_not_continued(trained, make, tmp_path):
    dataset = make()
    assert call(trained, dataset)[0] == 0
    before = files_below(dataset / "values")
    path = dataset / "data" / "chunk-000" / "file-000.parquet"
    edit_parquet(path, "observation.state", lambda rows: [[0.5] * 3, *rows[1:]])
    code, said = call(trained, dataset)
    assert code == 1 and "another dataset or another revision" in said
    assert files_below(dataset / "values") == before
    assert call(trained, dataset, "--overwrite")[0] == 0


def test_a_part_that_has_lost_some_bytes_inside_is_told_and_made_again(trained, tiny_v30, tmp_path):
    options = ["--values", tmp_path, "--part-frames", 20, "--distribution"]
    assert call(trained, tiny_v30, *options)[0] == 0
    before = files_below(tmp_path)
    path = part_path(tmp_path / "t", 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1  # one bit of a value: only a checksum can tell
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="part-00001.*damaged.*same valuecurve score command again"):
        read_scores(open_dataset(tiny_v30), "t", tmp_path)
    assert call(trained, tiny_v30, *options)[0] == 0
    assert files_below(tmp_path) == before


def test_a_half_written_part_is_made_again(trained, tiny_v30, tmp_path):
    options = ["--values", tmp_path, "--part-frames", 20]
    assert call(trained, tiny_v30, *options)[0] == 0
    before = files_below(tmp_path)
    path = part_path(tmp_path / "t", 1)
    path.write_bytes(path.read_bytes()[:100])
    (path.parent / ".part-00001.parquet.123.tmp").write_bytes(b"left by a kill")
    assert call(trained, tiny_v30, *options)[0] == 0
    assert files_below(tmp_path) == before


# -- the checkpoint ----------------------------------------------------------------------------------------


def test_a_broken_checkpoint_is_found_at_its_first_frame(trained, tiny_v30, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.startswith("value_head"))
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = CliRunner().invoke(
        app, ["score", str(folder), str(tiny_v30), "--tag", "t", "--values", str(tmp_path / "values")]
    )
    said = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "file-000.parquet, episode 0, frame 0: the checkpoint's value is not a number" in said
    with pytest.raises(DatasetError, match="not finished"):
        read_scores(open_dataset(tiny_v30), "t", tmp_path / "values")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere/at/all", "there is no checkpoint at nowhere/at/all"),
        ("meta", "is no checkpoint: it has no config.json"),
    ],
)
def test_what_is_no_checkpoint(tiny_v30, tmp_path, place, message):
    place = str(tiny_v30 / place) if place == "meta" else place
    result = CliRunner().invoke(app, ["score", place, str(tiny_v30), "--tag", "t"])
    assert result.exit_code == 1 and message in " ".join(result.output.split())


# -- a dataset that does not fit ---------------------------------------------------------------------------


def test_a_camera_that_is_missing(trained, make, tmp_path):
    dataset = make(cameras={TOP: (48, 64), "observation.images.side": (48, 64)})
    with pytest.raises(ConfigError, match=r"no camera 'wrist', .* to score with top alone: --cameras top"):
        score(trained, dataset, tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'top'"):
        score(trained, dataset, tmp_path, cameras=("tob",))
    scores = score(trained, dataset, tmp_path, cameras=("top",))
    assert scores.manifest["scores"]["cameras"] == ["top"]


def test_a_state_of_another_robot(trained, make, tmp_path):
    dataset = make(state_size=5)
    with pytest.raises(ConfigError, match="has 5 dimensions, that of 'v30', .* 3: another robot"):
        score(trained, dataset, tmp_path)
    with pytest.raises(ConfigError, match="no state statistics of 'v31': choose .* v30"):
        score(trained, dataset, tmp_path, statistics="v31")
    assert len(score(trained, dataset, tmp_path, state=False).rows) == 57


def test_a_dataset_without_state(trained, make, tmp_path):
    with pytest.raises(ConfigError, match="has no state, and the checkpoint was trained with one: --no-st"):
        score(trained, make(state_size=0), tmp_path)


def test_a_task_that_the_checkpoint_does_not_know(trained, make, tmp_path):
    dataset = make(tasks=("push the puck", "open the drawers"))
    message = (
        "episode 1, frame 0: the checkpoint does not know the task 'open the drawers': did you mean 'open"
    )
    with pytest.raises(ConfigError, match=message):
        score(trained, dataset, tmp_path)
    scores = score(trained, dataset, tmp_path, scale=40)
    assert scores.manifest["scores"]["scales"]["open the drawers"] == 40
    assert len(score(trained, dataset, tmp_path / "known", episodes=[0, 2, 4]).rows) == 29


def test_an_episode_that_is_not_there(trained, tiny_v30, tmp_path):
    with pytest.raises(DatasetError, match="--episodes: '4:9' is no range of the episodes 0:6"):
        score(trained, tiny_v30, tmp_path, episodes="4:9")
    with pytest.raises(DatasetError, match="there is no episode"):
        score(trained, tiny_v30, tmp_path, episodes=[4, 9])
    with pytest.raises(DatasetError, match="--episodes: 'x' is no selection"):
        score(trained, tiny_v30, tmp_path, episodes="0, x")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--every", 0, "--every must be 1 or more, got 0"),
        ("--batch-size", 0, "--batch-size must be 1 or more"),
        ("--quantiles", "0.5,1", "--quantiles must be between 0 and 1"),
        ("--quantiles", "half", "--quantiles must be numbers"),
        ("--dtype", "int8", "--dtype must be one of auto, float32, bfloat16"),
        ("--scale", -3, "--scale must be positive"),
        ("--scale", "inf", "--scale must be positive, got inf"),
        ("--threads", 0, "--threads must be 1 or more, got 0"),
        ("--tag", "a/b", "must be made of letters"),
    ],
)
def test_settings_out_of_range(trained, tiny_v30, option, value, message):
    code, said = call(trained, tiny_v30, option, value)
    assert code == 1 and message in said


# -- disks -------------------------------------------------------------------------------------------------


@pytest.fixture
def mount(tmp_path):
    """mount(size): a real file system of its own, as root."""
    mounted = []

    def make(size: str) -> Path:
        disk = tmp_path / "disk"
        disk.mkdir()
        options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("mounting a file system needs root")
        if subprocess.run(options, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        mounted.append(disk)
        return disk

    yield make
    for disk in mounted:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_named_and_with_more_room_the_run_goes_on(trained, tiny_v30, mount, tmp_path):
    disk = mount("64k")
    options = ["--distribution", "--part-frames", 10]
    code, said = call(trained, tiny_v30, "--values", disk, *options)
    assert code == 1 and "no room left on the disk. Free some space" in said
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert call(trained, tiny_v30, "--values", disk, *options)[0] == 0
    assert call(trained, tiny_v30, "--values", tmp_path / "roomy", *options)[0] == 0
    assert files_below(disk) == files_below(tmp_path / "roomy")


def test_a_source_that_cannot_be_written_names_the_option(trained, tiny_v30, mount, tmp_path):
    disk = mount("4m")
    shutil.copytree(tiny_v30, disk / "v30")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, said = call(trained, disk / "v30")
    assert code == 1 and "Read-only file system. Name a folder that can be written with --values" in said
    assert call(trained, disk / "v30", "--values", tmp_path / "values")[0] == 0
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def test_the_dataset_itself_is_not_touched(trained, make):
    dataset = make()
    before = files_below(dataset)
    assert call(trained, dataset)[0] == 0
    after = files_below(dataset)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in set(after) - set(before)} == {"values"}


def test_a_manifest_of_a_later_format_is_not_overwritten(trained, tiny_v30, tmp_path):
    assert call(trained, tiny_v30, "--values", tmp_path)[0] == 0
    edit_json(tmp_path / "t" / "manifest.json", format=2)
    code, said = call(trained, tiny_v30, "--values", tmp_path)
    assert code == 1 and "format 2, this version reads format 1" in said
