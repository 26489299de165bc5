"""Uses the metric as somebody who lacks valuecurve: a process of its own, started by a test.

python use_module.py FOLDER FRAMES.npz README.md > results.json
"""

import contextlib
import io
import json
import re
import sys
from typing import Any

sys.modules["valuecurve"] = None  # type: ignore[assignment]  # importing it fails from here on

import evaluate  # noqa: E402
import numpy as np  # noqa: E402

REQUIRED = ("references", "episode_index", "frame_index")


def frames_of(path: str) -> dict:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def batches(frames: dict, size: int):
    """The rows in a random order, `size` at a time."""
    order = np.random.default_rng(0).permutation(len(frames["references"]))
    for start in range(0, len(order), size):
        yield {name: of[order[start : start + size]] for name, of in frames.items()}


def said_by(action, **arguments) -> str:
    """The message of the ValueError that an action raises."""
    try:
        action(**arguments)
    except ValueError as error:
        return str(error)
    return "no error"


def errors(metric, frames: dict) -> dict[str, str]:
    few = {name: of[:3].tolist() for name, of in frames.items()}
    one_short = few | {"frame_index": few["frame_index"][:2]}
    mixed = few | {"episode_index": [0, 0, 0], "success": [True, False, True]}
    return {
        "unknown": said_by(metric.add_batch, **few, colour=[1, 2, 3]),
        "missing": said_by(metric.add_batch, **{name: few[name] for name in REQUIRED[:2]}),
        "no forecast": said_by(metric.add_batch, **{name: few[name] for name in REQUIRED}),
        "unequal": said_by(metric.add_batch, **one_short),
        "outcome text": said_by(metric.add_batch, **few | {"success": ["failure", "success", "success"]}),
        "half an episode": said_by(metric.add_batch, **few | {"episode_index": [0.5, 1, 2]}),
        "ragged": said_by(metric.add_batch, **few | {"probabilities": [[0.5, 0.5], [1.0], [0.5, 0.5]]}),
        "mixed": said_by(metric.compute, **mixed),
        "logits": said_by(metric.compute, **few | {"probabilities": [[3.0, 1.0]] * 3}),
        "nan": said_by(metric.compute, **few | {"references": [float("nan")] * 3}),
    }


def given_for_some_only(metric, frames: dict) -> str:
    first, second = ({name: of[rows] for name, of in frames.items()} for rows in (slice(0, 3), slice(3, 6)))
    metric.add_batch(**first)
    metric.add_batch(**{name: of for name, of in second.items() if name != "success"})
    return said_by(metric.compute)


def example_of_card(readme: str, folder: str) -> list:
    """Runs the first example of the card; its last line is what the card's comment says of it."""
    code = re.findall(r"```python\n(.*?)```", open(readme, encoding="utf-8").read(), re.DOTALL)[0]
    *lines, last = code.strip().replace("<owner>/value_metrics", folder).splitlines()
    names: dict = {}
    exec("\n".join(lines), names)
    expression, said = last.split("#")
    return [list(eval(expression, names)), list(eval(said, {}))]


def main(folder: str, path: str, readme: str) -> dict:
    frames = frames_of(path)
    metric: Any = evaluate.load(folder)
    results: dict = {"whole": metric.compute(**frames, resamples=50, max_false_alarms=0.3)}
    for batch in batches(frames, 16):
        metric.add_batch(**batch)
    results["batches"] = metric.compute(resamples=50, max_false_alarms=0.3)
    values = {name: frames[name] for name in (*REQUIRED, "predictions")}
    for row in range(12):
        one = {name: of[row] for name, of in values.items()}
        metric.add(prediction=one.pop("predictions"), reference=one.pop("references"), **one)
    results["one by one"] = metric.compute(resamples=0)
    results["errors"] = errors(metric, frames) | {"some only": given_for_some_only(metric, frames)}
    results["after errors"] = metric.compute(**frames, resamples=0)["mae"]
    in_memory: Any = evaluate.load(folder, keep_in_memory=True)
    results["in memory"] = in_memory.compute(**frames, resamples=0)["mae"]
    results["card"] = example_of_card(readme, folder)
    results["own modules"] = sorted(name for name in sys.modules if name.startswith("evaluate_modules."))
    results["valuecurve"] = sys.modules["valuecurve"] is not None
    return results


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):  # progress and the like
        found = main(*sys.argv[1:])
    json.dump(found, sys.stdout)
