"""Which process scores which part: whoever locks its file first."""

import threading
from pathlib import Path

from filelock import FileLock, Timeout

from .pictures import Part
from .scores import part_path, writing


def is_finished(folder: Path, part: Part) -> bool:
    """Whether the part's file is there; it gets its name when it is whole."""
    return part_path(folder, part.number).is_file()


class Claims:
    """The parts that this process takes, one after the other, of those that no other has taken or finished.

    A lock goes when its process ends, however it ends, so the parts of a killed one are free at once. Threads
    may ask for the i-th part in any order; all of them get the same.
    """

    def __init__(self, folder: Path, parts: list[Part]):
        self.folder, self.left = folder, list(parts)
        self.taken: list[Part] = []
        self.locks: list[FileLock] = []
        self.guard = threading.Lock()

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, *_: object) -> None:
        for lock in self.locks:
            lock.release(force=True)

    def get(self, number: int) -> Part | None:
        """The `number`-th part of this process; None when there is nothing left to take."""
        with self.guard:
            while len(self.taken) <= number and self.left:
                self._try(self.left.pop(0))
            return self.taken[number] if number < len(self.taken) else None

    def _try(self, part: Part) -> None:
        if is_finished(self.folder, part):
            return
        path = part_path(self.folder, part.number)
        lock = FileLock(path.with_name(f".{path.stem}.lock"), thread_local=False)
        with writing(self.folder):
            try:
                lock.acquire(timeout=0)
            except Timeout:  # an OSError itself
                return
        if is_finished(self.folder, part):  # meanwhile
            lock.release()
            return
        self.taken.append(part)
        self.locks.append(lock)

    def release(self, number: int) -> None:
        """The `number`-th part is finished."""
        self.locks[number].release()
