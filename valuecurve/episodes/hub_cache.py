"""The bounded cache of datasets of the Hub: its place, its limit, and which videos have to go.

It is a folder of our own, laid out as the Hub's own cache, so that a file is kept once whatever number of
revisions hold it. Nothing outside of it is ever removed, and in it videos alone: what was not used for the
longest time goes first, never what is being read. Metadata, tables and listings stay.
"""

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valuecurve.episodes.layout import DatasetError

LIMIT_GB = 50.0  # of videos, where VALUECURVE_CACHE_GB says nothing; an assumption
GRACE = 10.0  # seconds for which another process may be about to open what it has just fetched
LOOK = 60.0  # seconds after which what other processes have fetched is counted too
ROOM = (
    0.9  # share of the limit that is left after removing: many small files are not looked through each time
)
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")
_held: Counter[Path] = Counter()  # real files that this process reads
_lock = threading.RLock()
_known: dict[Path, tuple[float, float]] = {}  # cache -> (bytes of videos, when they were counted)


def cache_folder() -> Path:
    """$VALUECURVE_CACHE/hub, or ~/.cache/valuecurve/hub."""
    root = os.environ.get("VALUECURVE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "valuecurve") / "hub"


def limit_bytes() -> float:
    """Bytes of videos that may be kept: VALUECURVE_CACHE_GB, in GB of 10^9 bytes.

    Raises:
        DatasetError: it is no number of 0 or more.
    """
    text = os.environ.get("VALUECURVE_CACHE_GB") or str(LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise DatasetError(f"VALUECURVE_CACHE_GB must be a number of gigabytes, 0 or more, got {text!r}")
    return limit * 1e9


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep a file that is there from being removed by this process, and note that it was used."""
    real = path.resolve()
    with _lock:
        _held[real] += 1
    try:
        if os.access(real, os.W_OK):
            os.utime(real)
        yield
    finally:
        with _lock:
            _held[real] -= 1
            if not _held[real]:
                del _held[real]


def count(cache: Path, size: int) -> None:
    """Note that a file of this many bytes was fetched."""
    with _lock:
        total, since = _known.get(cache, (0.0, -LOOK))
        _known[cache] = total + size, since


def trim(cache: Path) -> list[Path]:
    """Where the limit is passed, remove the videos that were not used for the longest time.

    Returns:
        the files that are gone, as the snapshots called them.
    """
    limit, gone = limit_bytes(), []
    with _lock:
        total, since = _known.get(cache, (math.inf, -LOOK))
        if total <= limit and time.monotonic() - since < LOOK:
            return []
        names = _videos(cache)
        found = []
        for real in names:
            status = real.stat()
            found.append((status.st_mtime, status.st_size, real))
        total = sum(size for _, size, _ in found)
        enough = limit if total <= limit else ROOM * limit
        for used, size, real in sorted(found):
            if total <= enough:
                break
            if _held[real] > 0 or time.time() - used < GRACE:
                continue
            for path in (*names[real], real):
                _remove(path, cache)
            gone += names[real]
            total -= size
        _known[cache] = total, time.monotonic()
    return gone


def _videos(cache: Path) -> dict[Path, list[Path]]:
    """Real file -> its names in the snapshots, of every video in the cache."""
    names: dict[Path, list[Path]] = {}
    for snapshot in cache.glob("datasets--*/snapshots/*"):
        for place, _, files in os.walk(snapshot):
            for name in files:
                path = Path(place, name)
                if path.suffix.lower() in VIDEOS and path.is_file():
                    names.setdefault(path.resolve(), []).append(path)
    return names


def _remove(path: Path, cache: Path) -> None:
    """Remove a link or a file that lies in the cache; one that cannot be removed stays."""
    if cache.resolve() not in path.absolute().parents and cache.absolute() not in path.absolute().parents:
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:  # in use, on Windows
        pass
