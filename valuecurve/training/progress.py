"""What a training run says while it runs: a bar, and one line for every validation."""

import time
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

SHOWN = (  # of a validation: key, what it is called
    ("eval_explained_variance", "explained variance"),
    ("eval_auroc_last_frame", "AUROC"),
    ("eval_voc_success", "order"),
)


class ProgressLines(TrainerCallback):
    """In a terminal a bar with the steps, the last loss and the time left; everywhere, a line a validation:

        step 300 of 700   loss 2.41   validation 2.93 (best)   explained variance 0.41   …   0:01:20 left

    and where there is no bar, a line for every `logging_steps`. It stands in for transformers' bars and
    dictionaries; all numbers are in the loggers and in `metrics.json`.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(highlight=False)
        self.loss: float | None = None
        self.best: float | None = None
        self.running = False

    def on_train_begin(self, args, state, control, **kwargs):
        self.start, self.first_step = time.perf_counter(), state.global_step
        self.loss = None
        self.best = state.best_metric  # of the part before a resume
        if self.best is not None and args.greater_is_better:
            self.best = -self.best  # less is better here
        self.running = True
        columns = (
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        has_bar = self.console.is_terminal and state.is_world_process_zero and not args.disable_tqdm
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not has_bar)
        self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or "loss" not in logs:
            return
        self.loss = float(logs["loss"])
        if self.bar.disable:
            self._say(state, f"loss {self.loss:.3f}")
        else:
            self.bar.update(self.task, description=f"loss {self.loss:.3f}")

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if "eval_loss" not in metrics or not self.running:
            return
        validation = float(metrics["eval_loss"])
        metric = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        judged = float(metrics.get(metric, np.nan)) * (-1 if args.greater_is_better else 1)
        best = self.best is None or judged < self.best
        self.best = judged if best else self.best
        seen = [] if self.loss is None or self.bar.disable else [f"loss {self.loss:.3f}"]
        seen += [f"validation {validation:.3f}{' (best)' if best else ''}"]
        seen += [f"{name} {metrics[key]:.2f}" for key, name in SHOWN if np.isfinite(metrics.get(key, np.nan))]
        self._say(state, *seen)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.stop()
        self.running = False

    def _say(self, state, *seen: str) -> None:
        if state.is_world_process_zero:
            parts = [f"step {state.global_step} of {state.max_steps}", *seen, self._time(state)]
            self.console.print("   ".join(parts), soft_wrap=True)

    def _time(self, state) -> str:
        spent, done = time.perf_counter() - self.start, state.global_step - self.first_step
        left = state.max_steps - state.global_step
        if not left:
            return f"{timedelta(seconds=round(spent))} in all"
        return f"{timedelta(seconds=round(spent / max(done, 1) * left))} left"
