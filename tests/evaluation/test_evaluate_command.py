"""`valuecurve evaluate` as people type it: the table, the folder of the report, and every kind of error."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from tiny_datasets import make_dataset
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.evaluation.eval_results import eval_result_entries, eval_results
from valuecurve.evaluation.probes import NAMES as PROBES
from valuecurve.evaluation.report import FORECASTS
from valuecurve.evaluation.report_text import command_of, markdown

TASKS = ("push the <b>puck</b> | to *goal*", "open `the` drawer")


def type_in(*words: object):
    return CliRunner().invoke(app, ["evaluate", "--threads", "2", *map(str, words)])


@dataclass
class Written:
    folder: Path
    printed: str
    report: dict
    text: str


@pytest.fixture(scope="module")
def strange(hold, tmp_path_factory):
    """A checkpoint of a dataset whose task texts are full of markup, with episodes long enough for labels."""
    folder = tmp_path_factory.mktemp("strange") / "sample"
    lengths = (60, 52, 55, 58, 51, 57, 53, 54, 56, 59)
    outcomes = [True, True, False, True, False] * 2
    return hold(make_dataset(folder, tasks=TASKS, lengths=lengths, success=outcomes, files=1))


@pytest.fixture(scope="module")
def written(strange) -> Written:
    folder = strange.folder.parent / "report"
    cache = strange.folder.parent / "frames"
    options = ("--resamples", 50, "--cache-dir", cache, "--dataset-id", "lab/sample", "--split", "all")
    options += ("--horizon-seconds", 0.5)
    result = type_in(strange.folder, strange.dataset, *options)
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "report.json").read_text())
    return Written(folder, result.stdout, report, (folder / "report.md").read_text())


# -- what is written ---------------------------------------------------------------------------------------


def test_the_folder_holds_text_numbers_figures_and_results(written):
    names = {str(path.relative_to(written.folder)) for path in written.folder.rglob("*") if path.is_file()}
    figures = {f"figures/{name}" for figure in written.report["figures"] for name in _files(figure)}
    assert names == figures | {
        "report.md", "report.json", "model-index.yaml", ".eval_results/lab--sample.yaml",
    }  # fmt: skip
    assert {"curves", "curve_success", "heat_map_failure", "reliability", "small_multiples"} < set(
        written.report["figures"]
    )
    assert all((written.folder / name).stat().st_size > 2000 for name in figures)
    assert [path.name for path in written.folder.parent.iterdir() if path.name.startswith(".")] == []


def _files(figure: str) -> list[str]:
    return [f"{figure}.png", f"{figure}.svg"]


def test_every_link_of_the_text_leads_to_a_file(written):
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", written.text)
    targets = [a or b for a, b in links]
    assert len(targets) > 12
    assert [target for target in targets if not (written.folder / target).is_file()] == []


def test_nothing_names_a_place_on_this_machine(written, strange):
    for path in written.folder.rglob("*"):
        if path.suffix in (".md", ".json", ".yaml", ".svg"):
            assert str(strange.folder.parent) not in path.read_text()
            assert str(strange.dataset.parent) not in path.read_text()


def test_the_text_says_what_was_evaluated_and_that_it_was_trained_on(written):
    evaluated = written.report["evaluated"]
    assert evaluated["trained_episodes"] == 8 and evaluated["episodes"] == 10
    assert "**The model was trained on 8 of these 10 episodes.**" in written.text
    assert written.report["model"]["weights"][:16] in written.text
    assert written.report["dataset"]["fingerprint"] in written.text
    for heading in ("Results", "What the model looks at", "Per task", "Per outcome", "Calibration", "Limits"):
        assert f"\n## {heading}\n" in written.text
    assert "warning: The model was trained on 8" in written.printed


def test_task_texts_stay_texts(written):
    assert "<b>" not in written.text
    assert r"push the \<b\>puck\</b\> \| to \*goal\*" in written.text
    table = [line for line in written.text.splitlines() if line.startswith("| Model | push")]
    assert len(table) == 1 and len(re.findall(r"(?<!\\)\|", table[0])) == 4


def test_many_tasks_are_lines_of_one_table(written):
    group = next(iter(written.report["tasks"].values()))
    many = {**written.report, "tasks": {f"task {number}": group for number in range(30)}}
    lines = [line for line in markdown(many).splitlines() if line.startswith("| task ")]
    assert len(lines) == 30 and {line.count("|") for line in lines} == {11}
    nll = f"{group['metrics']['model']['nll']:.2f} ["
    assert all(nll in line for line in lines)


def test_every_number_has_its_interval_and_baselines(written):
    report = written.report
    metrics, intervals = report["metrics"], report["intervals"]["model"]
    assert list(metrics) == [
        "model", "constant", "elapsed_time", "shuffled_images", "swapped_instruction", "reversed_frames",
    ]  # fmt: skip
    assert {"nll", "top1", "top5", "mae", "rmse", "explained_variance"} <= set(metrics["model"])
    for name, (low, high) in intervals.items():
        if low is not None and name != "ece":  # a resample has its own, larger, ECE
            assert low - 1e-6 <= metrics["model"][name] <= high + 1e-6 or "alarm" in name, name
    difference = report["differences"]["constant"]["nll"]
    expected = metrics["model"]["nll"] - metrics["constant"]["nll"]
    assert difference["difference"] == pytest.approx(expected, abs=1e-4)
    assert difference["low"] < difference["difference"] < difference["high"]


def test_the_text_is_made_of_the_json_alone(written):
    assert markdown(written.report, written.report["figures"]) == written.text


def test_curves_have_the_labels_and_tell_the_horizon_that_was_asked_for(written):
    labels = written.report["labels"]
    assert labels["settings"]["horizon"] == 5 and labels["frames"] == written.report["evaluated"]["frames"]
    assert "over 5 frames (0.5 s)" in written.text and "by advantages 5 frames ahead" in written.text
    assert labels["all"]["positive"] == pytest.approx(0.3, abs=0.02)


def test_the_table_fits_a_terminal_of_80_columns(written):
    lines = written.printed.splitlines()
    rows = [line for line in lines if line.startswith(("NLL", "Top-1", "RMSE", "AUROC"))]
    assert len(rows) == 5 and max(map(len, rows)) <= 80
    assert str(written.folder / "report.md") in lines and "Images shuffled: With" in written.printed


def test_table_and_text_call_the_probes_alike(written):
    for probe, name in PROBES.items():
        first, second = FORECASTS[probe].split("\n")
        assert name == f"{first} {second}".replace("Instr.", "Instruction")  # short, for 80 columns
        assert f"\n{name}: " in written.printed and f"**{name}.**" in written.text
    assert "Instr." in written.printed and "swapped" in written.printed


def test_the_command_of_the_report_says_what_differs_from_the_defaults(written):
    words = shlex.split(command_of(written.report))
    assert words[:4] == ["valuecurve", "evaluate", "CHECKPOINT", "DATASET"]
    assert words[4:] == ["--split", "all", "--resamples", "50", "--horizon-seconds", "0.5"]
    other = {**written.report, "settings": {"probes": False, "cameras": ["top", "wrist"], "fail": "floor"}}
    assert command_of(other).endswith("--no-probes --cameras top,wrist --fail floor")


def test_pairs_single_frames_and_successes_alone_have_a_report_too(hold, tmp_path):
    """Everything that can be undefined is, and the report is whole."""
    data = make_dataset(tmp_path / "short", lengths=(1, 9, 1, 8, 60, 1), success=[True] * 6, files=1)
    held = hold(data, {"frames_per_sample": 2, "v_min": -1.0, "v_max": 1.0}, {"scale": "episode"})
    place = tmp_path / "report"
    result = type_in(held.folder, data, "--split", "all", "--resamples", 20, "--output", place,
                     "--cache-dir", tmp_path / "frames")  # fmt: skip
    assert result.exit_code == 0, result.output
    text = (place / "report.md").read_text()
    assert "progress since the first frame" in text and "pairs of frames" in text
    assert "the same outcome" in text and "nan" not in text.lower().replace("nanosecond", "")
    assert "all 6 episodes are successes" in text  # the warning of the outcomes
    report = json.loads((place / "report.json").read_text())
    assert report["metrics"]["model"]["auroc_last_frame"] is None
    assert report["labels"]["settings"]["mode"] == "progress"
    assert set(report["outcomes"]) == {"success"}


# -- results for the model card ----------------------------------------------------------------------------


def test_a_model_card_reads_the_model_index(written, tmp_path):
    block = (written.folder / "model-index.yaml").read_text()
    data: Any = ModelCard(f"---\n{block}---\n\n# A model\n").data
    results = {result.metric_type: result for result in data.eval_results}
    assert results["mae"].metric_value == pytest.approx(written.report["metrics"]["model"]["mae"], abs=1e-4)
    assert results["mae"].dataset_type == "lab/sample" and results["mae"].dataset_split == "all"
    assert results["mae"].task_type == "robotics"
    assert {"nll", "top1", "top5", "rmse", "explained_variance"} <= set(results)


def test_the_hub_client_reads_the_eval_results(written):
    content = yaml.safe_load((written.folder / ".eval_results" / "lab--sample.yaml").read_text())
    entries = {entry.task_id: entry for entry in parse_eval_result_entries(content)}
    assert entries["top1"].dataset_id == "lab/sample"
    assert entries["top1"].value == pytest.approx(written.report["metrics"]["model"]["top1"], abs=1e-4)
    assert "10 episodes" in (entries["top1"].notes or "")


def test_what_is_undefined_is_no_result_and_a_local_dataset_no_benchmark(written):
    report = json.loads(json.dumps(written.report))
    report["metrics"]["model"]["auroc_last_frame"] = None
    assert "auroc_last_frame" not in {result.metric_type for result in eval_results(report)}
    assert eval_result_entries(report) == []


# -- again, and without probes -----------------------------------------------------------------------------


def test_a_report_replaces_an_older_one_and_nothing_else(strange, written, tmp_path):
    place = tmp_path / "report"
    shutil.copytree(written.folder, place)
    (place / "figures" / "old.png").write_bytes(b"old")
    common = ("--no-probes", "--resamples", 20, "--cache-dir", strange.folder.parent / "frames", "--json")
    result = type_in(strange.folder, strange.dataset, *common, "--output", place)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["evaluated"]["split"] == "test" and printed["probes"] == {}
    assert printed["written"] == [str(place / "report.md"), str(place / "report.json")]
    assert not (place / "figures" / "old.png").exists() and not (place / ".eval_results").exists()
    text = (place / "report.md").read_text()
    assert "What the model looks at" not in text and "same outcome" in text  # one test episode
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    result = type_in(strange.folder, strange.dataset, *common, "--output", other)
    assert result.exit_code == 1 and "holds something else than a report" in result.output
    assert (other / "thesis.txt").read_text() == "years of work"
    result = type_in(strange.folder, strange.dataset, *common, "--output", other / "thesis.txt" / "report")
    assert result.exit_code == 1 and "cannot be made in" in result.output


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "tset"), "--split must be one of test, validation, train, all"),
        (("--fail", "none"), "--fail must be floor, penalty"),
        (("--dataset-id", "sample"), "--dataset-id must be the name of a dataset on the Hub"),
        (("--cameras", "tpo"), "did you mean 'top'"),
        (("--episodes", "99"), "none of the episodes"),
        (("--threads", "0"), "--threads must be 1 or more, got 0"),
        (("--outcome-column", "next.sucess"), "did you mean next.success"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(held, tmp_path, words, message):
    result = type_in(held.folder, held.dataset, "--output", tmp_path / "report", *words)
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "report").exists()


def test_a_checkpoint_that_is_none_is_an_error(held, tmp_path):
    result = type_in(tmp_path / "nothing", held.dataset)
    assert result.exit_code == 1 and "there is no checkpoint" in result.output
