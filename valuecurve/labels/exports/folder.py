"""A new folder that is either whole or absent, and what is taken over unchanged from a source dataset.

The folder grows as `<output>.tmp-<process id>` beside its place and is renamed at the end. Videos and images
are hard-linked, so that they cost neither time nor space; where the output lies on another file system they
are copied, with a progress bar. Small files are copied always: whoever edits them must not edit the source.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from valuecurve.episodes.layout import DatasetError

MARK = "meta/valuecurve.json"  # every export has it: what it was made from; --overwrite replaces nothing else
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BLOCK = 1 << 24  # bytes copied between two steps of the progress bar
MUCH = 1 << 26  # bytes from which on copying shows one


@dataclass(frozen=True)
class Taken:
    """A file taken over from the source: `link` where a hard link will do."""

    source: Path
    target: Path
    link: bool


def check_place(output: Path, source: Path, values: Path | None = None, overwrite: bool = False) -> None:
    """Raises DatasetError where a new folder must not be made.

    Args:
        output: the folder to be made.
        source: the dataset; its folder is never written to.
        values: the folder of its sidecars, if it lies elsewhere.
        overwrite: whether an export that is there already may be replaced.
    """
    place = output.resolve()
    for folder, what in ((source, "the dataset"), (values, "its sidecars")):
        if folder is None:
            continue
        taken = folder.resolve()
        if place == taken or taken in place.parents:
            raise DatasetError(
                f"the output {output} lies inside {what}, {folder}; choose a folder outside of it"
            )
        if place in taken.parents:
            raise DatasetError(f"the output {output} holds {what}, {folder}; choose another folder")
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise DatasetError(f"{output} exists already; choose another folder, or replace it: --overwrite")
    if not (output / MARK).is_file() and not _is_empty(output):
        raise DatasetError(
            f"{output} is no export (it has no {MARK}) and is not replaced; choose another folder"
        )


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to fill: it becomes `output` when the block ends without an error, and else is gone.

    Folders that killed processes left behind under `output`'s temporary names are removed first.

    Raises:
        DatasetError: no room on the disk, or a place that cannot be written.
    """
    temporary = output.with_name(f"{output.name}.tmp-{os.getpid()}")
    try:
        _remove_stale(output)
        temporary.mkdir(parents=True)
        yield temporary
        _put_in_place(temporary, output)
    except OSError as error:
        raise _unwritable(output, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def take_over(files: Iterable[Taken], console: Console | None = None) -> tuple[int, int]:
    """Link or copy files.

    Returns:
        how many were hard-linked, and how many bytes were copied because links were not possible.
    """
    linked, small, copies = 0, [], []
    for file in files:
        file.target.parent.mkdir(parents=True, exist_ok=True)
        if not file.link:
            small.append(file)
        elif _linked(file):
            linked += 1
        else:
            copies.append(file)
    for file in small:
        shutil.copyfile(file.source, file.target)
    return linked, _copy(copies, console or Console(stderr=True))


def _linked(file: Taken) -> bool:
    try:
        os.link(file.source.resolve(), file.target)  # a file of the Hub's cache is a link to the real one
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    return True


def _copy(files: list[Taken], console: Console) -> int:
    """Copy large files with a progress bar; returns the number of bytes."""
    total = sum(file.source.stat().st_size for file in files)
    columns = (TextColumn("copying videos"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=total < MUCH) as progress:
        task = progress.add_task("copy", total=total)
        for file in files:
            with file.source.open("rb") as reader, file.target.open("wb") as writer:
                while block := reader.read(BLOCK):
                    writer.write(block)
                    progress.advance(task, len(block))
    return total


def _put_in_place(temporary: Path, output: Path) -> None:
    """Rename; what is replaced is moved out of the way first, and removed last."""
    if not os.path.lexists(output):
        temporary.rename(output)
        return
    old = temporary.with_name(f"{temporary.name}-old")
    output.rename(old)
    try:
        temporary.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(output: Path) -> None:
    """Remove the temporary folders of processes that are no more."""
    name = re.compile(re.escape(output.name) + r"\.tmp-(\d+)(-old)?")
    for folder in output.parent.glob(f"{_escaped(output.name)}.tmp-*"):
        found = name.fullmatch(folder.name)
        if found and folder.is_dir() and (int(found[1]) == os.getpid() or not _runs(int(found[1]))):
            shutil.rmtree(folder, ignore_errors=True)


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


def _unwritable(output: Path, error: OSError) -> DatasetError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in NO_ROOM:
        return DatasetError(f"{output} cannot be written: {reason}. Make room, or choose another disk")
    where = f" ({error.filename})" if error.filename else ""
    return DatasetError(f"{output} cannot be made: {reason}{where}; choose another folder")
