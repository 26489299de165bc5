"""Where exports may be made, and that they are whole or absent: other and full disks, killed processes."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from made_up_labels import made_up_labels
from tiny_datasets import make_dataset

from valuecurve.episodes import DatasetError, open_dataset
from valuecurve.labels.exports import export_labels
from valuecurve.labels.exports.folder import new_folder

CLI = [sys.executable, "-m", "valuecurve.cli", "export"]


@pytest.fixture
def dataset(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "source"))
    made_up_labels(dataset)
    return dataset


@pytest.fixture
def other_disk():
    """A folder on another file system than the temporary one."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is only one file system")
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


def in_namespace(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run a shell script with mounts of its own; skipped where that is not allowed."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
    ):
        pytest.skip("no mount namespaces here")
    command = ["unshare", "-rm", "sh", "-e", "-c", script, "sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "500"})


def test_the_command_says_what_it_made_and_what_to_do_next(dataset, tmp_path):
    command = [*CLI, dataset.root, "--tag", "v1", "--format", "rabc", "--output", tmp_path / "out"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "57 frames of 6 episodes, 31.6% positive" in result.stdout
    assert "4 files hard-linked\n" in result.stdout
    assert f"--dataset.root={tmp_path / 'out'} --sample_weighting.type=rabc" in result.stdout
    result = subprocess.run([*command, "--overwrite", "--json"], capture_output=True, text=True)
    assert json.loads(result.stdout)["positive"] == 18
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "exists already; choose another folder" in result.stderr


def test_an_export_says_what_it_was_made_from(dataset, tmp_path):
    export_labels(dataset, "v1", "kai0", tmp_path / "out")
    mark = json.loads((tmp_path / "out/meta/valuecurve.json").read_text())
    assert mark["dataset"]["fingerprint"] == dataset.fingerprint
    assert (mark["format"], mark["tag"], mark["template"]) == ("kai0", "v1", "kai0")
    assert mark["labels"]["horizon"] == 3 and mark["scores"]["model"] == "made/up"
    assert str(tmp_path) not in json.dumps(mark)


def test_an_unknown_format_suggests_the_near_one(dataset, tmp_path):
    for typed, near in (("lerobt", "'lerobot'"), ("EvoRL", "'evo-rl'"), ("parquets", "'parquet'")):
        with pytest.raises(DatasetError, match=f"unknown format '{typed}'; did you mean {near}"):
            export_labels(dataset, "v1", typed, tmp_path / "out")
    with pytest.raises(DatasetError, match="unknown format 'x'; there are lerobot, kai0, evo-rl, rabc"):
        export_labels(dataset, "v1", "x", tmp_path / "out")


def test_labels_of_another_dataset_and_unknown_tags_are_refused(dataset, tmp_path):
    other = open_dataset(make_dataset(tmp_path / "other", lengths=(5, 6)))
    shutil.copytree(dataset.root / "values", other.root / "values")
    with pytest.raises(DatasetError, match="another dataset"):
        export_labels(other, "v1", "lerobot", tmp_path / "out")
    with pytest.raises(DatasetError, match="v2 holds no scores"):
        export_labels(dataset, "v2", "lerobot", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("place", [".", "exports/a", "values/v1", "values", "videos/x"])
def test_the_output_may_not_lie_in_the_source(dataset, place):
    with pytest.raises(DatasetError, match="lies inside the dataset"):
        export_labels(dataset, "v1", "parquet", dataset.root / place, overwrite=True)


def test_the_output_may_not_lie_in_the_sidecars_nor_hold_the_source(dataset, tmp_path):
    values = tmp_path / "sidecars"
    made_up_labels(dataset, values=values)
    with pytest.raises(DatasetError, match="lies inside its sidecars"):
        export_labels(dataset, "v1", "parquet", values / "out", values=values)
    with pytest.raises(DatasetError, match="holds the dataset"):
        export_labels(dataset, "v1", "parquet", tmp_path, overwrite=True)
    link = tmp_path / "link"
    link.symlink_to(dataset.root)
    with pytest.raises(DatasetError, match="lies inside the dataset"):
        export_labels(dataset, "v1", "parquet", link / "out")


def test_only_exports_are_replaced_and_only_when_asked(dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export_labels(dataset, "v1", "parquet", out, overwrite=True)  # an empty folder is no loss
    (out / "mine.txt").write_text("x")
    with pytest.raises(
        DatasetError, match="exists already; choose another folder, or replace it: --overwrite"
    ):
        export_labels(dataset, "v1", "rabc", out)
    export_labels(dataset, "v1", "rabc", out, overwrite=True)
    assert not (out / "mine.txt").exists() and (out / "sarm_progress.parquet").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_text("x")
    with pytest.raises(DatasetError, match="is no export .* and is not replaced"):
        export_labels(dataset, "v1", "rabc", tmp_path / "photos", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "source"]


def test_what_fails_half_way_leaves_nothing(dataset, tmp_path):
    dataset.data_files[-1].write_bytes(b"broken since it was opened")
    with pytest.raises(DatasetError, match="file-001.parquet .* cannot be read"):
        export_labels(dataset, "v1", "lerobot", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_leftovers_of_dead_processes_are_removed_and_those_of_running_ones_are_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    running = os.getppid()
    names = [
        f"out.tmp-{dead.pid}",
        f"out.tmp-{dead.pid}-old",
        f"out.tmp-{running}",
        "out.tmp-notes",
        "out2.tmp-1x",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", *sorted(names[2:])]


def test_another_file_system_gets_copies(dataset, other_disk):
    made = export_labels(dataset, "v1", "lerobot", other_disk / "out")
    videos = sorted((dataset.root / "videos").rglob("*.mp4"))
    assert made.linked == 0 and made.copied == sum(path.stat().st_size for path in videos) > 0
    for path in videos:
        copy = other_disk / "out" / path.relative_to(dataset.root)
        assert copy.read_bytes() == path.read_bytes() and copy.stat().st_nlink == 1
    assert open_dataset(other_disk / "out").frames.num_rows == 57


def test_a_read_only_source_is_exported_with_its_sidecars_elsewhere(dataset, tmp_path):
    shutil.rmtree(dataset.root / "values")
    made_up_labels(dataset, values=tmp_path / "sidecars")
    script = (
        'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; ! touch "$1/x" 2>/dev/null; shift; exec "$@"'
    )
    command = [*CLI, dataset.root, "--tag", "v1", "--format", "lerobot", "--output", tmp_path / "out"]
    result = in_namespace(script, dataset.root, *command, "--values", tmp_path / "sidecars")
    assert result.returncode == 0, result.stderr
    assert open_dataset(tmp_path / "out").frames.num_rows == 57


def test_an_output_that_cannot_be_written_is_one_clear_error(dataset, tmp_path):
    (tmp_path / "locked").mkdir()
    script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; shift; exec "$@"'
    command = [*CLI, dataset.root, "--tag", "v1", "--format", "lerobot", "--output", tmp_path / "locked/out"]
    result = in_namespace(script, tmp_path / "locked", *command)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'locked/out'} cannot be made: Read-only file system")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("size", ["8k", "48k", "64k"])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(dataset, tmp_path, size):
    (tmp_path / "small").mkdir()
    script = (
        'mount -t tmpfs -o size="$1" none "$2"; cd "$2"; shift 2; "$@" || { code=$?; ls -A .; exit $code; }'
    )
    command = [*CLI, dataset.root, "--tag", "v1", "--format", "lerobot", "--output", tmp_path / "small/out"]
    result = in_namespace(script, size, tmp_path / "small", *command)
    assert result.returncode == 1, result.stdout
    expected = (
        f"error: {tmp_path / 'small/out'} cannot be written: No space left on device. Make room, or choose"
    )
    assert result.stderr.startswith(expected), result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.slow
def test_an_export_that_is_killed_is_absent_and_the_next_one_is_whole(tmp_path):
    root = make_dataset(tmp_path / "source", lengths=[3] * 120, version="v2.1")
    dataset = open_dataset(root)
    made_up_labels(dataset)
    export_labels(dataset, "v1", "lerobot", tmp_path / "whole")
    wanted = sorted(str(p.relative_to(tmp_path / "whole")) for p in (tmp_path / "whole").rglob("*"))
    place = tmp_path / "place"
    place.mkdir()
    command = [*CLI, root, "--tag", "v1", "--format", "lerobot", "--output", place / "out"]
    randomness, interrupted = random.Random(0), 0
    for _ in range(12):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(place.glob("out.tmp-*[0-9]")):
            time.sleep(0.001)
        time.sleep(randomness.uniform(0, 0.15))
        process.kill()
        process.wait()
        if (place / "out").exists():  # it was faster
            shutil.rmtree(place / "out")
        else:
            interrupted += 1
    assert interrupted >= 3
    subprocess.run(command, check=True, capture_output=True)
    assert [path.name for path in place.iterdir()] == ["out"]
    found = sorted(str(path.relative_to(place / "out")) for path in (place / "out").rglob("*"))
    assert found == wanted
