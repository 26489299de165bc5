"""Results for the Hub, from a report: `model-index` for the model card, and entries of `.eval_results/`.

`model-index` names any dataset. `.eval_results/*.yaml` is read by the Hub for datasets that are registered as
benchmarks, so entries are made for datasets of the Hub only (owner/name), one for each metric, with the
metric's name as `task_id` (https://huggingface.co/docs/hub/eval-results).
"""

import re
from collections.abc import Sequence

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from .markdown import is_known

TASK_TYPE, TASK_NAME = "robotics", "Value estimation"
# Metric key, and its name for people. The first six are what seeds 0 and 1 report.
REPORTED = (
    ("nll", "NLL (nats)"),
    ("top1", "Top-1 accuracy"),
    ("top5", "Top-5 accuracy"),
    ("mae", "MAE (value units)"),
    ("rmse", "RMSE (value units)"),
    ("explained_variance", "Explained variance"),
    ("crps", "CRPS (value units)"),
    ("skill", "CRPS skill over a constant forecast"),
    ("ece", "Calibration error (ECE)"),
    ("voc_success", "Order correlation (VOC), successes"),
    ("auroc_last_frame", "Success/failure AUROC, last frame"),
)
DIGITS = 4


def eval_results(report: dict, dataset_id: str | None = None) -> list[EvalResult]:
    """`EvalResult`s of the model's metrics that are defined, for `ModelCardData(eval_results=…)`.

    Args:
        report: as `report_of` makes it, or as read from report.json.
        dataset_id: the dataset on the Hub; the report's name of it when None.
    """
    dataset, evaluated = report["dataset"], report["evaluated"]
    return [
        EvalResult(
            task_type=TASK_TYPE,
            task_name=TASK_NAME,
            dataset_type=dataset_id or dataset["key"],
            dataset_name=dataset["key"].split("/")[-1],
            dataset_split=evaluated["split"],
            dataset_revision=dataset.get("revision"),
            dataset_args={"fingerprint": dataset["fingerprint"], "episodes": evaluated["episodes"]},
            metric_type=key,
            metric_name=name,
            metric_value=round(value, DIGITS),
        )
        for key, name, value in _values(report)
    ]


def model_index(report: dict, model_name: str | None = None, dataset_id: str | None = None) -> str:
    """The metadata block of a model card, YAML with the one key `model-index`."""
    name = model_name or report["model"]["name"].split("/")[-1]
    return ModelCardData(model_name=name, eval_results=eval_results(report, dataset_id)).to_yaml() + "\n"


def is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def eval_result_entries(report: dict, dataset_id: str | None = None) -> list[EvalResultEntry]:
    """Entries for `.eval_results/*.yaml`; none for a dataset that is not on the Hub."""
    name = dataset_id or report["dataset"]["key"]
    if not is_hub_id(name):
        return []
    evaluated, dataset = report["evaluated"], report["dataset"]
    notes = f"{evaluated['split']} split, {evaluated['episodes']} episodes, data {dataset['fingerprint'][:8]}"
    return [
        EvalResultEntry(
            dataset_id=name,
            task_id=key,
            value=round(value, DIGITS),
            dataset_revision=dataset.get("revision"),
            notes=notes,
        )
        for key, _, value in _values(report)
    ]


def eval_results_yaml(entries: Sequence[EvalResultEntry]) -> str:
    """The content of a file in `.eval_results/`."""
    return yaml.safe_dump(eval_result_entries_to_yaml(list(entries)), sort_keys=False, allow_unicode=True)


def _values(report: dict) -> list[tuple[str, str, float]]:
    metrics = report["metrics"]["model"]
    return [(key, name, float(metrics[key])) for key, name in REPORTED if is_known(metrics.get(key))]
