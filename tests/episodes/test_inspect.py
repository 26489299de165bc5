"""`valuecurve inspect`: what it shows, every problem it finds, its exit codes."""

import json

import pytest
from test_bad_input import DATA, LAST, ODD_TASKS
from tiny_datasets import TOP, WRIST, bars, edit_json, edit_parquet, write_video
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import open_dataset, resolve_outcomes, split_episodes
from valuecurve.episodes.inspection import inspect_dataset


def inspect(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def report_of(*arguments) -> tuple[int, dict]:
    code, output = inspect(*arguments, "--json")
    return code, json.loads(output)


def test_a_good_dataset_is_described(tiny_v30):
    code, output = inspect(tiny_v30)
    assert code == 0
    for part in (
        "LeRobot v3.0, 10 frames/s",
        "6, 57 frames",
        "7 / 9.5 / 12 frames (0.7 / 0.95 / 1.2 s; min / median / max)",
        "top 64x48 (video), wrist 48x64 (video)",
        "3 dimensions: x, y, z",
        "4 successes, 2 failures",
        "next.success (any frame)",
        "push the puck",
        "no errors: ready to train",
    ):
        assert part in output


def test_the_json_says_what_will_be_trained_on(tiny_v21):
    code, report = report_of(tiny_v21)
    dataset = open_dataset(tiny_v21)
    split = split_episodes(dataset, resolve_outcomes(dataset))
    assert code == 0 and report["errors"] == [] and report["warnings"] == []
    assert report["version"] == "v2.1" and report["fingerprint"] == dataset.fingerprint
    parts = report["training"]["split"]
    assert {name: part["episodes"] for name, part in parts.items()} == {n: len(e) for n, e in split.items()}
    assert sum(part["frames"] for part in parts.values()) == 57
    assert report["outcomes"] == {"source": "next.success (any frame)", "successes": 4, "failures": 2}
    assert [task["episodes"] for task in report["tasks"]] == [3, 3]
    longest = {task: 0 for task in dataset.tasks}
    for episode in split["train"]:
        task = dataset.tasks[dataset.episode_tasks[episode]]
        longest[task] = max(longest[task], int(dataset.lengths[episode]))
    assert report["training"]["scales"] == {task: length - 1 for task, length in longest.items()}


def test_not_a_dataset_is_one_line_and_exit_code_1(tmp_path):
    code, output = inspect(tmp_path)
    assert code == 1
    assert output.split("\n")[1:3] == [
        "1 error",
        f"  {tmp_path} is not a LeRobot dataset: it has no meta/info.json",
    ]
    assert report_of(tmp_path / "no")[1]["errors"]


def test_every_problem_is_listed_not_only_the_first(make):
    root = make(
        tasks=["push", "open", "never used"], episode_tasks=[0, 1, 0, 1, 0, 1], lengths=[12, 7, 9, 1, 8, 11]
    )
    edit_parquet(root / DATA, "observation.state", lambda old: [*old[:3], [float("nan")] * 3, *old[4:]])
    edit_parquet(root / LAST, "observation.state", lambda old: [*old[:2], [0, float("inf"), 0], *old[3:]])
    edit_json(root / "meta/info.json", total_frames=99)
    missing = root / f"videos/{TOP}/chunk-000/file-000.mp4"
    short = root / f"videos/{TOP}/chunk-000/file-001.mp4"
    damaged = root / f"videos/{WRIST}/chunk-000/file-000.mp4"
    other = root / f"videos/{WRIST}/chunk-000/file-001.mp4"
    missing.unlink()
    write_video(short, [bars(0, k, 48, 64) for k in range(15)], 10)
    damaged.write_bytes(damaged.read_bytes()[:2000])
    write_video(other, [bars(0, k, 32, 32) for k in range(40)], 20)

    code, report = report_of(root)
    assert code == 1
    errors, warnings = "\n".join(report["errors"]), "\n".join(report["warnings"])
    assert len(report["errors"]) == 5
    assert f"{root / DATA}, episode 0, frame 3: observation.state is nan in dimension 0 (x)" in errors
    assert f"{root / LAST}, episode 4, frame 1: observation.state is inf in dimension 1 (y)" in errors
    assert f"{missing} is missing (camera {TOP}, episode 2)" in errors
    assert (
        f"{short}: camera {TOP}, episode 5: the table needs 2.000 s of video, it has 1.500 s (15 frames)"
        in errors
    )
    assert f"{damaged} (2000 bytes)" in errors
    assert "total_frames = 99, found 48" in warnings
    assert "task 2 is used by no frame: 'never used'" in warnings
    assert "episodes of one frame: 3" in warnings
    assert f"{other}: pictures of 32x32, meta/info.json says 48x64" in warnings
    assert f"{other}: 20 frames/s, meta/info.json says 10" in warnings
    assert "training" in report

    code, output = inspect(root)
    assert code == 1 and "5 errors" in output and "5 warnings" in output


def test_a_video_with_its_index_first_that_is_cut_short_is_found(make):
    root = make(files=1)
    path = root / f"videos/{TOP}/chunk-000/file-000.mp4"
    write_video(path, [bars(0, k, 48, 64) for k in range(57)], 10, movflags="+faststart")
    assert inspect(root)[0] == 0
    path.write_bytes(path.read_bytes()[:-500])
    code, report = report_of(root)
    assert code == 1 and "is cut short" in report["errors"][0]


def test_damaged_tables_are_all_named(make):
    root = make(cameras={})
    (root / DATA).unlink()
    (root / LAST).write_bytes(b"")
    code, report = report_of(root)
    assert code == 1 and len(report["errors"]) == 2


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("frame_index", lambda old: [*old[:5], 4, *old[6:]], "the frame is there twice"),
        ("task_index", lambda old: [7] * len(old), "task_index 7 is unknown"),
        ("episode_index", lambda old: [0] * len(old), "no frames for episode 1, 2"),
    ],
)
def test_tables_that_do_not_fit_are_reported_without_a_traceback(make, name, change, part):
    root = make(cameras={})
    edit_parquet(root / DATA, name, change)
    code, report = report_of(root)
    assert code == 1 and any(part in error for error in report["errors"])


def test_outcome_options(make):
    root = make(cameras={}, outcome=None, metadata={"verdict": ["good", "bad"] * 3, "ok": [1, 0] * 3})
    code, report = report_of(root)
    assert code == 1 and "--assume-outcome" in report["errors"][0]
    assert report_of(root, "--assume-outcome", "success")[1]["outcomes"]["source"] == "assumed"
    assert report_of(root, "--outcome-column", "ok")[1]["outcomes"]["successes"] == 3
    assert "is 'good', 'bad' in episodes" in report_of(root, "--outcome-column", "verdict")[1]["errors"][0]
    assert "did you mean verdict" in report_of(root, "--outcome-column", "verdit")[1]["errors"][0]
    error = report_of(root, "--assume-outcome", "sucess")[1]["errors"][0]
    assert error == "--assume-outcome must be success or failure, got 'sucess'; did you mean 'success'?"


def test_odd_task_texts_are_shown_in_one_line_as_they_are(make):
    root = make(tasks=ODD_TASKS, lengths=[3] * 10)
    code, output = inspect(root)
    assert code == 0
    assert "[bold]now[/bold] :smile:" in output
    assert "first line second line tabbed and separated" in output
    assert len(output) < 20_000
    assert [task["task"] for task in report_of(root)[1]["tasks"]] == ODD_TASKS


def test_timestamps_off_the_grid_are_a_warning(make):
    root = make()
    edit_parquet(root / DATA, "timestamp", lambda old: [t * 1.3 for t in old])
    code, report = report_of(root)
    assert code == 0
    assert "episode 0, frame 2: timestamp 0.2600 s is not frame_index / fps" in report["warnings"][0]


def test_image_cameras_and_no_camera(make):
    code, report = report_of(make(image_cameras=(WRIST,)))
    assert code == 0 and [camera["kind"] for camera in report["cameras"]] == ["video", "image"]


def test_what_could_be_read_and_not_be_trained_on_is_an_error(make):
    code, report = report_of(make(cameras={}, lengths=[4, 5]))
    assert code == 1 and report["errors"][0] == "no camera: a value model needs at least one"
    assert "2 episode(s) are too few" in report["errors"][1]


@pytest.mark.parametrize(
    ("key", "feature", "message"),
    [
        ("observation.state", 3, "the feature 'observation.state' must be a mapping, got 3"),
        (TOP, {"dtype": "video", "shape": "big"}, "must be a list of whole numbers, got 'big'"),
        (TOP, {"dtype": "video", "shape": [4, 4, 3], "info": "x"}, "'info' of"),
    ],
)
def test_a_feature_that_is_none_is_named(make, key, feature, message):
    root = make(lengths=[3] * 3)
    features = json.loads((root / "meta/info.json").read_text())["features"]
    edit_json(root / "meta/info.json", features=features | {key: feature})
    code, report = report_of(root)
    assert code == 1 and message in report["errors"][0]


def test_an_impossible_length_and_a_text_for_a_number_are_errors(make):
    root = make(lengths=[3] * 3)
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    edit_parquet(table, "length", lambda old: [10**12, *old[1:]])
    assert "the episode table says 1000000000000" in report_of(root)[1]["errors"][0]
    edit_parquet(table, "data/file_index", lambda old: ["a"] * len(old))
    assert "'data/file_index' must hold numbers, it holds string" in report_of(root)[1]["errors"][0]


def test_exported_labels_are_named(make):
    dataset = make()
    mark = dataset / "meta" / "valuecurve.json"
    assert not any("exported labels" in text for text in inspect_dataset(dataset)["warnings"])
    mark.write_text("{}")
    assert any(
        "meta/valuecurve.json" in text and "exported labels" in text
        for text in inspect_dataset(dataset)["warnings"]
    )
