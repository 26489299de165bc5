"""The metrics and forecasts that reports show, in their order."""

from .markdown import cell, is_known, number

# Metric key, words, +1 if higher is better, decimals.
HEADLINE = (
    ("nll", "NLL (nats), the loss", -1, 2),
    ("crps", "CRPS (value units)", -1, 3),
    ("skill", "CRPS skill over the constant forecast", +1, 2),
    ("mae", "MAE (value units)", -1, 3),
    ("rmse", "RMSE (value units)", -1, 3),
    ("explained_variance", "Explained variance", +1, 2),
    ("top1", "Top-1 accuracy", +1, 3),
    ("top5", "Top-5 accuracy", +1, 3),
    ("ece", "Calibration error (ECE)", -1, 3),
    ("voc_success", "Order correlation (VOC), successes", +1, 2),
    ("voc_failure", "Order correlation (VOC), failures", 0, 2),
    ("kendall_tau_success", "Kendall's τ, successes", +1, 2),
    ("auroc_last_frame", "AUROC of the last frame", +1, 2),
    ("auroc_halfway", "AUROC halfway", +1, 2),
)
FORECASTS = {"model": "Model", "constant": "Constant", "elapsed_time": "Elapsed time"}


def with_interval(group: dict, key: str, decimals: int) -> str:
    """The model's number and its interval, of the whole report or of a group of it."""
    value = group["metrics"]["model"].get(key)
    low, high = group["intervals"]["model"].get(key) or (None, None)
    if is_known(value) and is_known(low) and is_known(high):
        return f"{number(value, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"
    return cell(value, decimals)
