"""Datasets of the Hub: `org/name` or `org/name@revision`, of which only what is needed is fetched.

`open_hub` asks which commit the revision is and which files it holds, with their sizes. `EpisodeDataset` then
fetches metadata and tables at once, and a video when it is decoded, into a bounded cache (hub_cache.py). All
that is fetched lies in a snapshot folder with the paths of the repository, so that the rest of the package
reads it as any folder. Without a network what is in the cache is used.

Left out: writing to the Hub (the room `hub`). Datasets with images in their tables are fetched whole.
"""

import inspect
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, cast

from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import tqdm
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from valuecurve.episodes.hub_cache import cache_folder, count, held, limit_bytes, trim
from valuecurve.episodes.hub_errors import explain, is_unreachable
from valuecurve.episodes.layout import DatasetError

logger = logging.getLogger(__name__)
COMMIT = re.compile(r"[0-9a-f]{40}")
THREADS = 8  # files fetched at a time, as huggingface_hub's own default
BATCH = 0.1  # share of the cache's bound that is fetched at a time where all files are needed
LARGE = 50e6  # bytes from which on fetching takes seconds, and is shown
_coming: set[Path] = set()  # files that are being fetched ahead


@dataclass(frozen=True)
class HubFiles:
    """The files of a dataset repository at one commit, of which some are here."""

    repo: str  # org/name
    revision: str  # commit, 40 hex digits
    root: Path  # the snapshot folder, where fetched files lie under their paths in the repository
    cache: Path
    sizes: dict[str, int] = field(repr=False)  # path in the repository -> bytes

    def relative(self, path: Path) -> str:
        """The path in the repository of a path below `root`."""
        return path.relative_to(self.root).as_posix()

    def size(self, path: Path) -> int:
        """Bytes of a file, fetched or not; -1 where the repository has no such file."""
        return self.sizes.get(self.relative(path), -1)

    def below(self, folder: str) -> list[str]:
        """Paths in the repository of all files below one of its folders."""
        return [name for name in self.sizes if name.startswith(f"{folder}/")]

    def fetch(self, names: Iterable[str], shown: bool = True) -> None:
        """Fetch files, side by side; what is here already costs nothing, what the Hub lacks is left out.

        Raises:
            DatasetError: a file that cannot be fetched; those before it are kept.
        """
        todo = [name for name in dict.fromkeys(names) if name in self.sizes and not self._is_here(name)]
        total = sum(self.sizes[name] for name in todo)
        bar = _bar(shown and (total > LARGE or len(todo) > 100))
        with bar, ThreadPoolExecutor(THREADS) as pool:
            task = bar.add_task(f"fetching {self.repo}", total=total)
            jobs = [pool.submit(self._download, name, lambda n: bar.advance(task, n)) for name in todo]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @contextmanager
    def using(self, path: Path) -> Iterator[None]:
        """A file, fetched if it is not here; it stays while it is used, older videos make room for it."""
        name = self.relative(path)
        if name in self.sizes:
            limit_bytes()  # a wrong limit shows before minutes of fetching
            if not self._is_here(name) and self.sizes[name] > LARGE:
                text = f"fetching {name} of {self.repo} ({self.sizes[name] / 1e6:.0f} MB)"
                Console(stderr=True).print(text, markup=False, highlight=False)
        with ExitStack() as stack:
            for _ in range(3):  # another process may make room between fetching and holding
                if name in self.sizes and not self._is_here(name):
                    self._download(name)
                stack.enter_context(held(path))
                if path.is_file():
                    trim(self.cache)
                    break
            yield

    def in_batches(self, paths: Iterable[Path]) -> Iterator[list[Path]]:
        """Fetch many files a batch at a time, which stays until the next is asked for: so the bound holds."""
        batch, size, room = [], 0, BATCH * limit_bytes()
        for path in paths:
            if batch and size + self.size(path) > room:
                yield from self._batch(batch)
                batch, size = [], 0
            batch.append(path)
            size += self.size(path)
        yield from self._batch(batch)

    def _batch(self, paths: list[Path]) -> Iterator[list[Path]]:
        self.fetch(map(self.relative, paths))
        with ExitStack() as stack:
            for path in paths:
                stack.enter_context(self.using(path))
            yield paths

    def ahead(self, paths: Iterable[Path]) -> None:
        """Begin to fetch what will be wanted soon; what fails here fails again, and is told, in `using`."""
        todo = [path for path in paths if self.size(path) >= 0 and not path.is_file()]
        todo = [path for path in todo if path not in _coming]
        _coming.update(todo)
        for i in range(min(len(todo), 4)):
            Thread(target=self._fetch_ahead, args=(todo[i::4],), daemon=True).start()

    def _fetch_ahead(self, paths: list[Path]) -> None:
        for path in paths:
            try:
                self._download(self.relative(path))
            except DatasetError:
                pass
            finally:
                _coming.discard(path)

    def copy(self, folder: str, target: Path) -> bool:
        """Copy one of the repository's folders, whole or not at all; False where it has none of that name.

        Raises:
            DatasetError: it cannot be fetched or written.
        """
        names = self.below(folder)
        if not names:
            return False
        self.fetch(names)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            for name in names:
                place = temporary / name.removeprefix(f"{folder}/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.root / name, place)
            temporary.rename(target)
        except OSError as error:
            if target.is_dir():  # another process was faster
                return True
            raise DatasetError(
                f"{folder} of {self.repo} cannot be copied to {target}: {error.strerror or error}. Name a "
                "folder that can be written with --values"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return True

    @contextmanager
    def opened(self, path: Path) -> Iterator[BinaryIO]:
        """A file to read some bytes of, wherever it lies: over the network only what is read is fetched."""
        name = self.relative(path)
        if self._is_here(name):
            with path.open("rb") as file:
                yield file
            return
        place = f"datasets/{self.repo}@{self.revision}/{name}"
        try:
            with HfFileSystem().open(place, "rb", block_size=1 << 18) as file:
                yield cast(BinaryIO, file)
        except Exception as error:
            if isinstance(error, DatasetError):
                raise
            raise self._failed(error, name) from error

    def _is_here(self, name: str) -> bool:
        return (self.root / name).is_file()

    def _download(self, name: str, advance: Callable[[int], object] | None = None) -> None:
        try:
            hf_hub_download(
                self.repo,
                name,
                repo_type="dataset",
                revision=self.revision,
                cache_dir=self.cache,
                **_counter(advance),
            )
        except Exception as error:
            raise self._failed(error, name) from error
        count(self.cache, self.sizes[name])

    def _failed(self, error: Exception, name: str) -> DatasetError:
        return DatasetError(explain(error, self.repo, self.revision, self.cache, name))


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)


def _counter(advance: Callable[[int], object] | None) -> dict[str, Any]:
    """Arguments of `hf_hub_download` that silence its own bars, and count bytes for ours."""
    if "tqdm_class" not in inspect.signature(hf_hub_download).parameters:
        return {}

    class Counter(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if advance is not None and n:
                advance(int(n))
            return None

    return {"tqdm_class": Counter}


# -- which commit, which files -----------------------------------------------------------------------------


def open_hub(place: str | Path) -> HubFiles:
    """The files of `org/name` or `org/name@revision`, of which none is fetched yet.

    Raises:
        DatasetError: no such dataset or revision, no right to read it, no answer and nothing in the cache.
    """
    text = place if isinstance(place, str) else place.as_posix()
    repo, _, revision = text.partition("@")
    cache = cache_folder()
    index = _Index(cache / "index" / repo.replace("/", "--"))
    try:
        commit = _commit(repo, revision or "main", index)
        sizes = index.sizes(commit)
        if sizes is None:
            sizes = _sizes(repo, commit)
            index.write(f"{commit}.json", json.dumps(sizes))
    except Exception as error:
        message = explain(error, repo, revision or "main", cache)
        raise DatasetError(f"{message} (and there is no folder {text} here)") from error
    if "meta/info.json" not in sizes:
        raise DatasetError(f"{text} is not a LeRobot dataset: the repository has no meta/info.json")
    root = cache / f"datasets--{repo.replace('/', '--')}" / "snapshots" / commit
    return HubFiles(repo, commit, root, cache, sizes)


@dataclass
class _Index:
    """What is known of a repository without a network: commits of revisions, sizes of files at commits."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        """Best effort: a cache that cannot be written may still hold all that is needed."""
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        except OSError as error:
            logger.warning("%s cannot be written: %s", path, error)

    def sizes(self, commit: str) -> dict[str, int] | None:
        return self._read(f"{commit}.json")

    def commit(self, revision: str) -> str | None:
        return self._read(_ref(revision))

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _ref(revision: str) -> str:
    return f"refs/{revision.replace('/', '%2F')}.json"


def _commit(repo: str, revision: str, index: _Index) -> str:
    """The commit that a revision is now; without an answer, the one that it was when last asked."""
    if COMMIT.fullmatch(revision) and index.sizes(revision) is not None:
        return revision
    try:
        commit = HfApi().dataset_info(repo, revision=revision, expand=["sha"]).sha
    except Exception as error:
        known = index.commit(revision) if is_unreachable(error) else None
        if known is None:
            raise
        if not constants.is_offline_mode():
            logger.warning(
                "no answer from the Hub: %s@%s is commit %s, from the cache", repo, revision, known[:8]
            )
        return known
    assert commit is not None
    index.write(_ref(revision), json.dumps(commit))
    return commit


def _sizes(repo: str, commit: str) -> dict[str, int]:
    entries = HfApi().list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)
    return {
        entry.path: entry.size
        for entry in entries
        if isinstance(entry, RepoFile) and not {"", ".", ".."} & set(entry.path.split("/"))  # stays below it
    }
