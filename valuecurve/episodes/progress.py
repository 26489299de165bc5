"""A progress bar over frames, with frames per second and the time left."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
        self.progress = Progress(*columns, console=Console(stderr=True), disable=not shown or total == 0)
        self.task = self.progress.add_task(text, total=total, rate=0.0)

    def __enter__(self):
        self.began = time.monotonic()
        self.progress.start()
        return self.advance

    def advance(self, frames: int) -> None:
        done = self.progress.tasks[self.task].completed + frames
        self.progress.update(self.task, advance=frames, rate=done / max(time.monotonic() - self.began, 1e-6))

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
