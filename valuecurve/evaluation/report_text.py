"""report.md from report.json: what was evaluated, how well, against what, and what to make of it.

Made of the JSON's plain data alone. Task texts, which may hold anything, are escaped.
"""

import shlex
from collections.abc import Mapping

from .headline import FORECASTS, HEADLINE, with_interval
from .markdown import arrow, cell, counted, escaped, figure, is_known, number, percent, shortened, table
from .probes import NAMES as PROBES
from .report_groups import outcomes_section, tasks_section

PROBED = ("nll", "crps", "skill", "mae", "explained_variance", "voc_success", "auroc_last_frame")
SWITCHES = {"probes": "--no-probes", "state": "--no-state"}  # settings that are on by default
SMALL = 420  # pixels, of square figures
COVERAGE = (50, 80, 90, 95)
LIMITS = (
    "The value is the time to success under the behaviour of the episodes that the model was trained on, not "
    "under the best possible one.",
    "Intervals come from resampling these episodes: they tell how far the numbers would move with other "
    "episodes of the same kind. They know nothing of other training seeds, robots, scenes or tasks.",
    "An interval at the limit of a metric, such as an AUROC of 1.00 [1.00, 1.00], is too narrow: no resample "
    "shows an error that none of these episodes has.",
    "A probe that the model passes rules out one shortcut, not all.",
    "Thresholds (F1, alarms, positive labels) are chosen on the very episodes that they are measured on.",
    "What each metric is, and what it is where it is undefined (–), stands in docs/metrics.md of valuecurve.",
)


def markdown(report: dict, figures: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The report as Markdown.

    Args:
        report: as `report_of` makes it, or as read from report.json.
        figures: {name: {"png": path relative to the report, "caption"}}; those that are there are shown.
    """
    figures = figures or {}
    sections = (
        _head(report),
        _subject(report),
        _results(report),
        figure(figures, "curves"),
        _probes(report),
        tasks_section(report),
        figure(figures, "small_multiples"),
        outcomes_section(report),
        _calibration(report, figures),
        _separation(report, figures),
        _labels(report),
        *(
            figure(figures, f"{kind}_{word}")
            for word in ("success", "failure")
            for kind in ("curve", "heat_map")
        ),
        _limits(),
        _again(report),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


# -- what and how well -------------------------------------------------------------------------------------


def _head(report: dict) -> str:
    model, evaluated, dataset = report["model"], report["evaluated"], report["dataset"]
    episodes = counted(evaluated["episodes"], "episode")
    unseen = ", on which the model was not trained" if evaluated["trained_episodes"] == 0 else ""
    which = {"all": f"all {episodes}"}.get(
        evaluated["split"], f"the {episodes} of the {evaluated['split']} split"
    )
    lines = [
        f"# Evaluation of {escaped(model['name'])}",
        f"On {which} of {escaped(dataset['key'])} ({evaluated['frames']:,} frames){unseen}. "
        + " ".join(_verdict(report)),
    ]
    if warning := trained_on(evaluated):
        lines.append(f"> **{warning[0]}** {warning[1]}")
    lines += [f"> **Note.** {escaped(text)}" for text in evaluated["warnings"]]
    return "\n\n".join(lines)


def trained_on(evaluated: dict) -> tuple[str, str] | None:
    trained, episodes = evaluated["trained_episodes"], evaluated["episodes"]
    if trained is None:
        return (
            "It is not known whether the model was trained on these episodes.",
            f"{evaluated['split_source'].capitalize()}. If it was, this says little about new episodes.",
        )
    if trained:
        return (
            f"The model was trained on {trained:,} of these {counted(episodes, 'episode')}.",
            "The numbers say how well it remembers them, and little about new episodes.",
        )
    return None


def _verdict(report: dict) -> list[str]:
    """Whether the model beats the baselines, in sentences."""
    sentences = []
    for name, words in (("elapsed_time", "elapsed time alone"), ("constant", "a constant distribution")):
        difference = report["differences"].get(name, {}).get("nll")
        if not difference or not is_known(difference["difference"]):
            continue
        gap, low, high = difference["difference"], difference["low"], difference["high"]
        known = is_known(low) and is_known(high)
        interval = f" (difference {number(low, 2)} to {number(high, 2)})" if known else ""
        if known and (low > 0 or high < 0):
            result = f"forecasts {'better' if gap < 0 else 'worse'} than {words}"
        else:
            result = f"does not clearly differ from {words}"
        sentences.append(f"The model {result}: its NLL is {_more(gap)}{interval}.")
    return sentences


def _more(gap: float) -> str:
    return f"{number(abs(gap), 2)} nats {'lower' if gap < 0 else 'higher'}"


def _subject(report: dict) -> str:
    model, dataset, evaluated, targets = (report[key] for key in ("model", "dataset", "evaluated", "targets"))
    revision = f", revision `{model['revision'][:12]}`" if model["revision"] else ""
    cost = (
        "every frame of a failure has the lowest value"
        if targets["fail"] == "floor"
        else f"the end of a failure costs {targets['fail_penalty']:g} steps"
    )
    rewards = f", rewards from {targets['reward_column']}" if targets["reward_column"] else ""
    trained = evaluated["trained_episodes"]
    rows = [
        ("Model", f"{escaped(model['name'])}{revision}, {shortened(model['parameters'])} parameters"),
        ("Weights", f"sha256 `{model['weights'][:16]}…`"),
        ("It sees", _inputs(model)),
        ("It predicts", f"a distribution over {model['num_bins']} bins, {number(model['v_min'], 0)} to "
                        f"{number(model['v_max'], 0)} value units"),
        ("Dataset", f"{escaped(dataset['key'])}, {dataset['fps']:g} Hz, fingerprint "
                    f"`{dataset['fingerprint']}`"),
        ("Evaluated", f"split {evaluated['split']}: {counted(evaluated['episodes'], 'episode')} of "
                      f"{dataset['episodes']:,}, {evaluated['frames']:,} frames"),
        ("Trained on", "not known" if trained is None else f"{trained:,} of the evaluated episodes"),
        ("Known from", evaluated["split_source"]),
        ("Outcomes", f"{counted(evaluated['successes'], 'success', 'successes')}, "
                     f"{counted(evaluated['failures'], 'failure')}, from {escaped(evaluated['outcomes'])}"),
        ("Targets", f"{_target(model)}{rewards}; {cost}"),
        ("Computed in", model["dtype"]),
        ("Intervals", f"{report['confidence']['level']:.0%}, {report['confidence']['method']}, "
                      f"{report['confidence']['resamples']:,} resamples"),
    ]  # fmt: skip
    return "## What was evaluated\n\n" + table(["", ""], rows, numbers=False)


def _target(model: dict) -> str:
    what = "normalised, negative time to success"
    return what if model["frames_per_sample"] == 1 else f"{what}, less that of the episode's first frame"


def _inputs(model: dict) -> str:
    frames = "pairs of frames (the first of the episode and the present one)"
    seen = "single frames" if model["frames_per_sample"] == 1 else frames
    state = "task text and state" if model["state"] else "task text, no state"
    return f"{seen} from {', '.join(escaped(name) for name in model['cameras'])}; {state}"


def _results(report: dict) -> str:
    shown = [name for name in FORECASTS if name in report["metrics"]]
    rows = []
    for key, words, direction, decimals in HEADLINE:
        others = [cell(report["metrics"][name].get(key), decimals) for name in shown[1:]]
        cells = [with_interval(report, key, decimals), *others]
        rows.append((f"{words} {arrow(direction)}".rstrip(), *cells))
    text = (
        "## Results\n\n"
        "↓ lower is better, ↑ higher is better; in brackets the 95% interval of the model's number. "
        f"{_unit(report)}"
    )
    if report["baselines_from"]:
        text += (
            f" Both baselines see neither pictures nor state, and are fitted on {report['baselines_from']}: "
            "*Constant* gives every frame the same distribution, *Elapsed time* knows the task and how many "
            "frames have passed."
        )
    else:
        text += " One episode alone leaves nothing to fit baselines on."
    headings = ["", *(FORECASTS[name] for name in shown)]
    return f"{text}\n\n{table(headings, rows)}"


def _unit(report: dict) -> str:
    if report["model"]["frames_per_sample"] == 2:
        return "Values are progress since the first frame of the episode."
    if not report["targets"]["scales"]:
        return "A value unit is the length of the episode itself."
    return "What a value unit stands for is in the table of tasks below."


def _probes(report: dict) -> str:
    if not report["probes"]:
        return ""
    names = [name for name in PROBES if name in report["metrics"]]
    rows = []
    for key, words, direction, decimals in HEADLINE:
        if key in PROBED:
            cells = [cell(report["metrics"][name].get(key), decimals) for name in ("model", *names)]
            rows.append((f"{words} {arrow(direction)}", *cells))
    findings = "\n".join(
        f"- **{PROBES[name]}.** {escaped(of['finding'])}" for name, of in report["probes"].items()
    )
    drawn = table(["", "Model", *(PROBES[name] for name in names)], rows)
    text = (
        "The same frames once more, each time with one thing replaced; targets stay. *Images shuffled* shows "
        "the pictures of another episode of the same task, at the same share of its length; *Instruction "
        "swapped* gives the instruction of another task; *Frames reversed* plays the pictures backwards. "
        "Skill is 1 − CRPS / CRPS of the constant forecast."
    )
    return f"## What the model looks at\n\n{text}\n\n{findings}\n\n{drawn}"


# -- calibration, success and failure, labels --------------------------------------------------------------


def _calibration(report: dict, figures: Mapping) -> str:
    metrics, intervals = report["metrics"]["model"], report["intervals"]["model"]
    rows = []
    for level in COVERAGE:
        key = f"coverage_{level}"
        low, high = intervals.get(key, (None, None))
        interval = f"[{low:.0%}, {high:.0%}]" if is_known(low) else "–"
        share = metrics.get(key)
        rows.append((f"{level}%", f"{share:.1%}" if is_known(share) else "–", interval))
    drawn = table(["Central interval", "holds the target", "95% interval"], rows)
    text = (
        "A calibrated forecast's 80% interval holds the target of 80% of the frames. The calibration error "
        f"(ECE), the mean gap over all levels, is {cell(metrics.get('ece'), 3)}."
    )
    shown = (figure(figures, "reliability", SMALL), figure(figures, "predicted_against_target", SMALL))
    return "\n\n".join(part for part in ("## Calibration", text, drawn, *shown) if part)


def _separation(report: dict, figures: Mapping) -> str:
    evaluated, metrics = report["evaluated"], report["metrics"]["model"]
    if not evaluated["successes"] or not evaluated["failures"]:
        text = (
            "All evaluated episodes have the same outcome, so telling success from failure is undefined here."
        )
        return f"## Success and failure\n\n{text}"
    fps = report["dataset"]["fps"]
    lead = metrics.get("lead_time")
    seconds = f"{lead:.1f} frames ({lead / fps:.1f} s)" if is_known(lead) else "–"
    share = evaluated["successes"] / evaluated["episodes"]
    rows = [
        ("AUROC of the last frame", with_interval(report, "auroc_last_frame", 2)),
        ("AUROC halfway through the episode", with_interval(report, "auroc_halfway", 2)),
        ("Best F1 of the last frame (all called successes: "
         f"{2 * share / (1 + share):.2f})", with_interval(report, "best_f1", 2)),
        ("  at the value", cell(metrics.get("best_f1_threshold"), 3)),
        ("Failure alarm: value below", cell(metrics.get("alarm_threshold"), 3)),
        ("  successes in which it fires", percent(metrics.get("false_alarm_rate"))),
        ("  failures in which it fires", percent(metrics.get("detection_rate"))),
        ("  before the end of a failure, on average", seconds),
    ]  # fmt: skip
    drawn = table(["", "Model"], rows)
    parts = ("## Success and failure", drawn, figure(figures, "auroc_over_elapsed", SMALL))
    return "\n\n".join(part for part in parts if part)


def _labels(report: dict) -> str:
    labels = report["labels"]
    if "note" in labels:
        return f"## Labels\n\nNone could be made: {escaped(labels['note'])}."
    settings = labels["settings"]
    rows = []
    for row in [*labels["tasks"], {"task": "all", **labels["all"]}]:
        threshold = f"{row['threshold']:+.3f}".replace("-", "−") if "threshold" in row else ""
        shares = [row[key] for key in ("positive", "positive_in_successes", "positive_in_failures")]
        rows.append((escaped(row["task"]), threshold, *(percent(share) for share in shares)))
    seconds = (settings["horizon"] or 0) / report["dataset"]["fps"]
    horizon = f" over {settings['horizon']} frames ({seconds:.3g} s)" if settings["horizon"] else ""
    text = (
        "The advantages and positive frames in the curves are those that `valuecurve label` makes like "
        f"this: {settings['mode'].replace('_', '-')} advantages{horizon}, the highest "
        f"{settings['positive_fraction']:.0%} of each task positive. Here the thresholds come from the "
        "evaluated episodes alone, so labels of the whole dataset differ a little."
    )
    headings = ["Task", "Threshold", "Positive", "in successes", "in failures"]
    return f"## Labels and curves\n\n{text}\n\n{table(headings, rows)}"


def _limits() -> str:
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in LIMITS)


def _again(report: dict) -> str:
    versions = ", ".join(f"{name} {release}" for name, release in report["versions"].items())
    made = f"Made with {versions}. All numbers: [report.json](report.json)."
    return f"## Again\n\n```bash\n{command_of(report)}\n```\n\n{made}"


def command_of(report: dict) -> str:
    """The command that makes the report again; CHECKPOINT and DATASET stand for places, never named here."""
    words = ["valuecurve", "evaluate", "CHECKPOINT", "DATASET"]
    for name, value in report["settings"].items():
        if name in SWITCHES:
            words.append(SWITCHES[name])
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)
