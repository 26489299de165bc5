"""The result of the metric as a page: key numbers, three curves, and a table with a sentence for each number.

Plain HTML and SVG without scripts; colours follow the page's light or dark mode through `STYLE`. Text that
comes from a file (tasks, errors) is escaped.
"""

import base64
import html
import json
import math

VALUE, SHARE, FRAMES = "value", "share", "frames"  # how a number is written

# Groups of the table: metric, name, how it is written, what it says.
GROUPS = (
    (
        "How far off is the value?",
        (
            ("explained_variance", "Explained variance", VALUE, "1 is perfect, 0 no better than a constant"),
            ("mae", "Mean absolute error", VALUE, "in value units; 0 is perfect"),
            ("rmse", "Root mean squared error", VALUE, "as above, large errors weigh more"),
        ),
    ),
    (
        "How good is the distribution?",
        (
            ("crps", "CRPS", VALUE, "mean absolute error for distributions; 0 is perfect"),
            ("nll", "Negative log-likelihood", VALUE, "loss in nats; lower is better"),
            ("top1", "Top-1", SHARE, "the target's bin is the most probable one"),
            ("top5", "Top-5", SHARE, "the target's bin is among the five most probable"),
            (
                "ece",
                "Calibration error",
                VALUE,
                "distance from the diagonal of the curve above; 0 is perfect",
            ),
            ("coverage_50", "Coverage of the 50% interval", SHARE, "should be 50%"),
            ("coverage_80", "Coverage of the 80% interval", SHARE, "should be 80%"),
            ("coverage_90", "Coverage of the 90% interval", SHARE, "should be 90%"),
            ("coverage_95", "Coverage of the 95% interval", SHARE, "should be 95%"),
        ),
    ),
    (
        "Does the value rise over time?",
        (
            ("voc_success", "Order correlation, successes", VALUE, "1 always rises, 0 no order, −1 falls"),
            ("voc_failure", "Order correlation, failures", VALUE, "a failure should not look like progress"),
            ("voc", "Order correlation, all", VALUE, "Spearman’s ρ of value and time, mean of episodes"),
            (
                "kendall_tau_success",
                "Kendall’s τ, successes",
                VALUE,
                "pairs of frames in order minus reversed",
            ),
            ("kendall_tau_failure", "Kendall’s τ, failures", VALUE, ""),
            ("kendall_tau", "Kendall’s τ, all", VALUE, ""),
        ),
    ),
    (
        "Does it tell success from failure?",
        (
            ("auroc_last_frame", "AUROC, last frame", VALUE, "0.5 is guessing, 1 is perfect"),
            ("auroc_halfway", "AUROC, halfway", VALUE, "the same, at half of each episode"),
            ("best_f1", "Best F1", VALUE, "of calling an episode a success by its last value"),
            ("best_f1_threshold", "… at the threshold", VALUE, "success if the value is at least this"),
        ),
    ),
    (
        "How early does an alarm fire?",
        (
            ("alarm_threshold", "Alarm below", VALUE, "the first lower value of an episode is its alarm"),
            ("false_alarm_rate", "False alarms", SHARE, "successful episodes with an alarm"),
            ("detection_rate", "Detected failures", SHARE, "failed episodes with an alarm"),
            ("lead_time", "Lead time", FRAMES, "from the alarm to the end; 0 for a missed failure"),
        ),
    ),
)
ONE = {"frames": "frame", "episodes": "episode", "successes": "success", "failures": "failure"}
KINDS = {key: kind for _, rows in GROUPS for key, _, kind, _ in rows}
# What stands large above the table, and by task: metric and short name.
CARDS = (
    ("explained_variance", "Explained variance"),
    ("mae", "Mean absolute error"),
    ("crps", "CRPS"),
    ("voc_success", "Order correlation"),
    ("auroc_last_frame", "AUROC"),
    ("lead_time", "Lead time"),
)
# Curve, its axes, its title, their names, and the dashed line to compare with.
CURVES = (
    (
        "reliability",
        "levels",
        "observed",
        "Calibration",
        "predicted quantile",
        "targets below it",
        "diagonal",
    ),
    ("auroc_over_elapsed", "shares", "auroc", "Success or failure?", "elapsed share", "AUROC", "half"),
    (
        "alarms",
        "false_alarm_rate",
        "detection_rate",
        "Alarms",
        "false alarms",
        "detected failures",
        "diagonal",
    ),
)
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 300, 236, 38, 12, 12, 40  # of a curve, in its own pixels


def page(result: dict, title: str, confidence: float) -> str:
    """The result of `compute` as HTML."""
    parts = [f"{count:,} {name if count != 1 else ONE[name]}" for name, count in result["counts"].items()]
    head = f"<h2>{html.escape(title)}</h2><p class='vm-muted'>{' · '.join(parts)}</p>"
    note = (
        f"<p class='vm-muted'>Ranges are {confidence:.0%} confidence intervals: episodes drawn anew, with "
        "replacement. A dash is a number that these frames leave undefined.</p>"
    )
    body = [
        _cards(result),
        _curves(result["curves"]),
        _table(result),
        note,
        _tasks(result),
        _download(result),
    ]
    return f"<div class='vm'>{head}{''.join(body)}</div>"


def message(text: str) -> str:
    """A sentence in place of a result."""
    return f"<div class='vm'><div class='vm-message' role='alert'>{html.escape(text)}</div></div>"


def number(value: float | None, kind: str) -> str:
    """A number as text, with a real minus sign; a dash for an undefined one."""
    if value is None or not math.isfinite(value):
        return "–"
    text = {VALUE: f"{value:.3f}", SHARE: f"{value:.1%}", FRAMES: f"{value:.1f}"}[kind]
    return text.replace("-", "−")


def _interval(ends: list | None, kind: str) -> str:
    if ends is None or not all(map(math.isfinite, ends)):
        return ""
    return f"{number(ends[0], kind)} … {number(ends[1], kind)}"


def _cards(result: dict) -> str:
    cells = []
    for key, name in [card for card in CARDS if card[0] in result]:
        kind = KINDS[key]
        unit = " <span>frames</span>" if kind == FRAMES else ""
        cells.append(
            f"<div class='vm-card'><div class='vm-muted'>{name}</div><div class='vm-number'>"
            f"{number(result[key], kind)}{unit}</div>"
            f"<div class='vm-muted'>{_interval(result['intervals'].get(key), kind) or '&nbsp;'}</div></div>"
        )
    return f"<div class='vm-cards'>{''.join(cells)}</div>"


def _table(result: dict) -> str:
    rows = []
    for title, group in GROUPS:
        known = [row for row in group if row[0] in result]
        rows += [f"<tr><th colspan='4'>{title}</th></tr>"] if known else []
        for key, name, kind, about in known:
            unit = " frames" if kind == FRAMES else ""
            rows.append(
                f"<tr class='vm-row'><td title='{key}'>{name}</td>"
                f"<td class='vm-right'><b>{number(result[key], kind)}</b>{unit}</td>"
                f"<td class='vm-right vm-muted'>{_interval(result['intervals'].get(key), kind)}</td>"
                f"<td class='vm-muted'>{about}</td></tr>"
            )
    return f"<table>{''.join(rows)}</table>"


def _tasks(result: dict) -> str:
    tasks = result.get("per_task", {})
    if len(tasks) < 2:
        return ""
    columns = [card for card in CARDS if any(card[0] in of for of in tasks.values())]
    head = "".join(f"<th class='vm-right'>{name}</th>" for _, name in columns)
    rows = "".join(
        f"<tr><td>{html.escape(task)}</td><td class='vm-right'>{of['counts']['episodes']}</td>"
        + "".join(f"<td class='vm-right'>{number(of.get(key), KINDS[key])}</td>" for key, _ in columns)
        + "</tr>"
        for task, of in tasks.items()
    )
    head = f"<tr><th>Task</th><th class='vm-right'>Episodes</th>{head}</tr>"
    return f"<h3>By task</h3><div class='vm-scroll'><table>{head}{rows}</table></div>"


def _download(result: dict) -> str:
    text = json.dumps(_without_nan(result), indent=1, ensure_ascii=False, allow_nan=False)
    data = "data:application/json;base64," + base64.b64encode(text.encode()).decode()
    name = "Download all numbers (JSON)"
    return f"<p><a class='vm-link' download='value_metrics.json' href='{data}'>{name}</a></p>"


def _without_nan(data):
    """The same with None for numbers that JSON does not have."""
    if isinstance(data, dict):
        return {key: _without_nan(of) for key, of in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(of) for of in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


# --- curves ----------------------------------------------------------------------------------------------


def _curves(curves: dict) -> str:
    known = [spec for spec in CURVES if spec[0] in curves and _finite(curves[spec[0]][spec[2]])]
    figures = "".join(_curve(curves[spec[0]], *spec[1:]) for spec in known)
    return f"<div class='vm-curves'>{figures}</div>" if known else ""


def _finite(values: list) -> bool:
    return all(math.isfinite(value) for value in values)


def _curve(curve: dict, axis: str, height: str, title: str, x_name: str, y_name: str, guide: str) -> str:
    """One curve over [0, 1]² as an SVG, with its interval as a band and a dashed line to compare with."""
    points = list(zip(curve[axis], curve[height], strict=True))
    band = ""
    if "low" in curve and _finite(curve["low"]):
        around = list(zip(curve[axis], curve["low"], strict=True))
        around += reversed(list(zip(curve[axis], curve["high"], strict=True)))
        band = f"<polygon class='vm-band' points='{_points(around)}'/>"
    guide_ends = {"diagonal": ((0, 0), (1, 1)), "half": ((0, 0.5), (1, 0.5))}[guide]
    dots = "".join(f"<circle class='vm-dot' cx='{_x(x):.1f}' cy='{_y(y):.1f}' r='2.4'/>" for x, y in points)
    return (
        f"<figure><figcaption>{title}</figcaption><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{title}: {y_name} over {x_name}'>{_frame(x_name, y_name)}"
        f"<polyline class='vm-guide' points='{_points(guide_ends)}'/>{band}"
        f"<polyline class='vm-line' points='{_points(points)}'/>{dots}</svg></figure>"
    )


def _frame(x_name: str, y_name: str) -> str:
    ticks = ""
    for tick in (0.0, 0.5, 1.0):
        ticks += f"<line class='vm-grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{_y(tick)}' y2='{_y(tick)}'/>"
        ticks += f"<text x='{LEFT - 6}' y='{_y(tick) + 4}' text-anchor='end'>{tick:.1f}</text>"
        ticks += f"<text x='{_x(tick)}' y='{HEIGHT - BOTTOM + 15}' text-anchor='middle'>{tick:.1f}</text>"
    names = f"<text x='{_x(0.5)}' y='{HEIGHT - 7}' text-anchor='middle'>{x_name}</text>"
    names += f"<text transform='translate(10 {_y(0.5)}) rotate(-90)' text-anchor='middle'>{y_name}</text>"
    return ticks + names


def _points(points) -> str:
    return " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


STYLE = """
.vm { --vm-accent: #0072B2; --vm-ink: #1b1f24; --vm-muted: #59636e; --vm-line: #d8dee4; --vm-card: #f6f8fa;
  color: var(--vm-ink); font-size: 15px; line-height: 1.45; min-width: 0;
  font-variant-numeric: tabular-nums; }
.dark .vm { --vm-accent: #56B4E9; --vm-ink: #e6edf3; --vm-muted: #9198a1; --vm-line: #30363d;
  --vm-card: #161b22; }
.vm h2 { font-size: 20px; font-weight: 650; margin: 4px 0 2px; color: inherit; }
.vm h3 { font-size: 16px; font-weight: 650; margin: 22px 0 6px; color: inherit; }
.vm p { margin: 2px 0 12px; }
.vm .vm-muted { color: var(--vm-muted); font-size: 13px; }
.vm-cards { display: grid; gap: 10px; margin: 8px 0 18px;
  grid-template-columns: repeat(auto-fit, minmax(145px, 1fr)); }
.vm-card { background: var(--vm-card); border: 1px solid var(--vm-line); border-radius: 10px;
  padding: 11px 12px; }
.vm .vm-card .vm-muted { font-size: 12px; }
.vm-number { font-size: 27px; font-weight: 650; letter-spacing: -0.01em; white-space: nowrap; }
.vm .vm-number span { display: inline; padding: 0; font-size: 13px; font-weight: 400; letter-spacing: 0; }
.vm-curves { display: grid; gap: 14px; margin-bottom: 14px;
  grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); }
.vm figure { margin: 0; }
.vm figcaption { font-weight: 600; font-size: 14px; margin-bottom: 4px; }
.vm svg { width: 100%; height: auto; display: block; }
.vm svg text { font-size: 11px; fill: var(--vm-muted); }
.vm-grid { stroke: var(--vm-line); stroke-width: 1; }
.vm-guide { stroke: var(--vm-muted); stroke-width: 1; stroke-dasharray: 4 4; fill: none; }
.vm-line { stroke: var(--vm-accent); stroke-width: 2.2; fill: none; stroke-linejoin: round; }
.vm-dot { fill: var(--vm-accent); }
.vm-band { fill: var(--vm-accent); opacity: 0.18; }
.vm-scroll { overflow-x: auto; }
.vm table { border-collapse: collapse; width: 100%; margin: 4px 0 10px; border: 0; }
.vm table tr { border: 0; border-bottom: 1px solid var(--vm-line); }
.vm table th, .vm table td { border: 0; padding: 6px 14px 6px 0; text-align: left; color: inherit; }
.vm table th { font-weight: 650; padding-top: 18px; }
.vm table td.vm-muted { color: var(--vm-muted); }
.vm table .vm-right { text-align: right; white-space: nowrap; }
.vm .vm-scroll td:first-child { white-space: nowrap; }
.vm .vm-scroll th { white-space: normal; vertical-align: bottom; }
.vm .vm-link { padding: 0; color: var(--vm-accent); text-decoration: underline; }
.vm-message { border: 1px solid var(--vm-line); border-left: 4px solid #D55E00; border-radius: 8px;
  padding: 14px 16px; background: var(--vm-card); overflow-wrap: anywhere; }
@media (max-width: 640px) {
  .vm tr.vm-row { display: grid; grid-template-columns: 1fr auto; padding: 6px 0; }
  .vm tr.vm-row td { padding: 0 0 0 10px; }
  .vm tr.vm-row td:nth-child(1), .vm tr.vm-row td:nth-child(4) { grid-column: 1; padding-left: 0; }
  .vm tr.vm-row td:nth-child(3) { grid-column: 2; grid-row: 2; }
  .vm tr.vm-row td:nth-child(4) { grid-row: 2; }
}
"""
