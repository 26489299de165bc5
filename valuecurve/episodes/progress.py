"""A bar over frames, with frames per second and the time left; in a log, a line every half minute."""

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 30.0  # seconds, where the output is no terminal


class frame_bar:
    """A progress bar with frames per second; `with` gives the function that advances it."""

    def __init__(self, text: str, total: int, shown: bool):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} frames/s"),
            TimeRemainingColumn(),
        )
        self.console = Console(stderr=True, highlight=False)
        self.text, self.total, self.shown = text, total, shown and total > 0
        in_a_terminal = self.shown and self.console.is_terminal
        self.progress = Progress(*columns, console=self.console, disable=not in_a_terminal)
        self.task = self.progress.add_task(text, total=total, rate=0.0)

    def __enter__(self):
        self.began = self.said = time.monotonic()
        self.progress.start()
        return self.advance

    def advance(self, frames: int) -> None:
        now, done = time.monotonic(), self.progress.tasks[self.task].completed + frames
        rate = done / max(now - self.began, 1e-6)
        self.progress.update(self.task, advance=frames, rate=rate)
        if self.shown and self.progress.disable and now - self.said >= LINE_EVERY:
            self.said = now
            left = timedelta(seconds=round((self.total - done) / max(rate, 1e-6)))
            line = f"{self.text}: {done:,.0f} of {self.total:,} frames, {rate:.0f} frames/s, {left} left"
            self.console.print(line, soft_wrap=True)

    def __exit__(self, kind: object, *_: object) -> None:
        done = self.progress.tasks[self.task].completed
        self.progress.live.transient = kind is not None and not done  # no bar above an error at once
        self.progress.stop()
