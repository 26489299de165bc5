"""The evaluation that is pushed with a model: found, checked to be of its weights, shown on the card."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult

from valuecurve.evaluation.eval_results import (
    eval_result_entries,
    eval_results,
    eval_results_yaml,
    is_hub_id,
)
from valuecurve.evaluation.markdown import cell, counted, escaped, number
from valuecurve.evaluation.report_text import HEADLINE
from valuecurve.hub.upload import HubError

if TYPE_CHECKING:
    from valuecurve.hub.models import ModelFolder

FORECASTS = {"constant": "Constant", "elapsed_time": "Elapsed time", "shuffled_images": "Images shuffled"}
BASELINES = (
    "*Constant* gives every frame the same distribution, *Elapsed time* knows the task and how many frames "
    "have passed; neither sees a picture. With *Images shuffled* the model sees those of another episode."
)


@dataclass
class Found:
    """An evaluation of the weights that are pushed: `report` as report.json holds it, or less of it."""

    report: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None  # of the whole report
    curves: Path | None = None  # picture
    dataset_id: str | None = None  # of the dataset that it is on, if that is on the Hub


def find_report(
    model: "ModelFolder", named: str | Path | None, exported: bool, names: Sequence[str]
) -> Found:
    """The evaluation of a checkpoint: the one that is named, or the one that lies in its folder or its run's.

    Args:
        exported: whether the pushed weights are those that training exported, which the run's own test
            metrics are of.
        names: of the datasets of the split, on the Hub where they are there.

    Raises:
        HubError: the named one is none, or a report is of other weights.
    """
    places = [Path(named)] if named else [model.folder / "report", model.folder.absolute().parent / "report"]
    folder = next((place for place in places if (place / "report.json").is_file()), None)
    if named and folder is None:
        raise HubError(f"{named} holds no report.json: valuecurve evaluate {model.folder} DATASET makes one")
    if folder is not None and not model.adapter:
        report = _read_report(folder / "report.json")
        if exported or named:
            _check_weights(model, report, folder, exported)
            picture = folder / "figures" / "curves.png"
            dataset_id = _dataset_id(model, report["dataset"], names)
            return Found(report, folder, picture if picture.is_file() else None, dataset_id)
    if model.run and exported and not model.adapter:
        return _metrics_of_run(model, names)
    return Found()


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HubError(f"{path} cannot be read: {error}") from error
    wanted = ("model", "dataset", "evaluated", "metrics", "intervals")
    if missing := [key for key in wanted if not isinstance(report, dict) or key not in report]:
        raise HubError(f"{path} has no {missing[0]!r}: it is no report of valuecurve evaluate")
    return report


def _check_weights(model: "ModelFolder", report: dict[str, Any], folder: Path, exported: bool) -> None:
    from valuecurve.scoring.checkpoint import weights_digest

    if exported and report["model"]["weights"] != weights_digest(model.folder):
        raise HubError(
            f"{folder}/report.json is of other weights than {model.folder}: evaluate these, "
            f"valuecurve evaluate {model.folder} DATASET, or take the report away"
        )


def _metrics_of_run(model: "ModelFolder", names: Sequence[str]) -> Found:
    """`test_metrics.json` and `curves.png`, which the demo writes: a table without intervals."""
    assert model.run is not None
    path, picture = model.run / "test_metrics.json", model.run / "curves.png"
    found = Found(curves=picture if picture.is_file() else None)
    if path.is_file() and len(model.datasets) == 1:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        entry = model.datasets[0]
        dataset = {"key": entry["dataset"], "fingerprint": entry["fingerprint"]}
        evaluated = {"split": "test", "episodes": len(entry["test"])}
        found.dataset_id = _dataset_id(model, dataset, names)
        found.report = {"dataset": dataset, "evaluated": evaluated, "metrics": metrics, "intervals": {}}
    return found


def evaluation_files(found: Found) -> dict[str, Path | str]:
    """What is pushed of an evaluation: the report with its figures, the picture of the card, and results."""
    files: dict[str, Path | str] = {}
    if found.folder is not None:
        files |= {f"report/{name}": found.folder / name for name in ("report.md", "report.json")}
        pictures = sorted((found.folder / "figures").glob("*.*g"))  # .png, .svg
        files |= {f"report/figures/{picture.name}": picture for picture in pictures}
    elif found.curves is not None:
        files["curves.png"] = found.curves
    if entries := eval_result_entries(found.report, found.dataset_id) if found.report else []:
        name = entries[0].dataset_id.replace("/", "--")
        files[f".eval_results/{name}.yaml"] = eval_results_yaml(entries)
    return files


def _dataset_id(model: "ModelFolder", dataset: dict[str, Any], names: Sequence[str]) -> str | None:
    """The Hub's name of the dataset that was evaluated on: its own, or that of the same data in the split."""
    trained = {entry["fingerprint"]: name for name, entry in zip(names, model.datasets, strict=False)}
    found = (dataset["key"], trained.get(dataset["fingerprint"], ""))
    return next((name for name in found if is_hub_id(name)), None)


def results_of(found: Found) -> list[EvalResult] | None:
    """For `model-index` in the card's front matter."""
    return eval_results(found.report, found.dataset_id) if found.report else None


def evaluation_fields(found: Found) -> dict[str, Any]:
    """The table: metrics in rows, with the interval of the model's number, beside the baselines."""
    where = "report/figures/curves.png" if found.folder is not None else "curves.png"
    fields: dict[str, Any] = {"curves": where if found.curves is not None else None}
    report = found.report
    if not report:
        return fields
    metrics, intervals = report["metrics"], report["intervals"].get("model") or {}
    others = [name for name in FORECASTS if name in metrics]
    rows = {}
    for key, words, direction, decimals in HEADLINE:
        if metrics["model"].get(key) is None:
            continue
        cells = [f"**{cell(metrics['model'][key], decimals)}**"]
        if intervals:
            bounds = [number(bound, decimals) for bound in intervals.get(key) or [] if bound is not None]
            cells.append(" … ".join(bounds) if len(bounds) == 2 else "")
        cells += [cell(metrics[name].get(key), decimals) for name in others]
        rows[f"{words} {'↑' if direction > 0 else '↓' if direction < 0 else ''}".rstrip()] = cells
    evaluated = report["evaluated"]
    episodes = counted(evaluated["episodes"], "episode")
    parts = [f"On {episodes} of the {evaluated['split']} split of {escaped(report['dataset']['key'])}"]
    if "frames" in evaluated:
        parts.append(counted(evaluated["frames"], "frame"))
        parts.append(counted(evaluated["successes"], "success", "successes"))
    trained = evaluated.get("trained_episodes")
    seen = f" The model was trained on {trained} of them." if trained else ""
    interval = " The interval comes from resampling the episodes." if intervals else ""
    return fields | {
        "metrics": rows,
        "headings": [
            "Model",
            *(["95% interval"] if intervals else []),
            *(FORECASTS[name] for name in others),
        ],
        "evaluated": ", ".join(parts) + f". ↓ lower is better, ↑ higher is better.{seen}{interval}",
        "baselines": BASELINES if others else "",
        "report": found.folder is not None,
        "curves_caption": (report.get("figures") or {}).get("curves", {}).get("caption"),
    }
