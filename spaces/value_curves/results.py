"""What was analysed, in folders with names that nobody can guess, until it is old or its visitor gone.

    <root>/results/<token>/video-0.mp4 …   what the browser plays
                           scores.npz, about.json   what downloads are made of (downloads.py)
    <root>/work/…          unpacked and decoded, removed as soon as an episode is scored
    <root>/uploads/…       what Gradio received

Nothing is written outside of <root>, a temporary folder that goes when the app ends.
"""

import json
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from analysis import Scored
from decoding import Episode

SWEEP = 60.0  # seconds between two looks for what is old


@dataclass
class Result:
    """One analysed episode: its folder, named by its token, and whose it is (None: an example, "
    "everybody's)."""

    token: str
    folder: Path
    session: str | None
    touched: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Of the folder, relative to the page."""
        return f"results/{self.token}"

    def save(self, episode: Episode, task: str, models: list[Scored], target: list[float] | None) -> None:
        """Keep what downloads are made of."""
        arrays = {}
        for number, scored in enumerate(models):
            arrays[f"value{number}"], arrays[f"std{number}"] = scored.value, scored.std
            arrays[f"probabilities{number}"] = scored.probabilities.astype(np.float32)
        if target is not None:
            arrays["target"] = np.array(target)
        np.savez(self.folder / "scores.npz", **arrays)
        names = ("name", "v_min", "v_max", "scale_steps", "scale_seconds")
        about = {
            "task": task,
            "fps": episode.fps,
            "success": episode.success,
            "dataset": episode.dataset,
            "episode": episode.episode,
            "cameras": episode.cameras,
            "videos": episode.videos,
            "models": [{name: getattr(scored, name) for name in names} for scored in models],
        }
        (self.folder / "about.json").write_text(json.dumps(about))


class Results:
    """All results by token."""

    def __init__(self, keep_seconds: float, root: Path | None = None, uploads_mb: float = 4000):
        self.root = root or Path(tempfile.mkdtemp(prefix="valuecurve-"))
        self.keep_seconds, self.uploads_mb = keep_seconds, uploads_mb
        self._results: dict[str, Result] = {}
        self._uploads: dict[str, set[str]] = {}  # files that Gradio received -> sessions that use them
        self._lock = threading.Lock()
        for name in ("results", "work", "uploads"):
            (self.root / name).mkdir(exist_ok=True)

    def create(self, session: str | None) -> Result:
        """A new, empty result."""
        token = secrets.token_urlsafe(18)
        result = Result(token, self.root / "results" / token, session)
        result.folder.mkdir(mode=0o700)
        with self._lock:
            self._results[token] = result
        return result

    def work(self) -> Path:
        """A new, empty working folder."""
        return Path(tempfile.mkdtemp(dir=self.root / "work"))

    def get(self, token: str) -> Result | None:
        with self._lock:
            result = self._results.get(token)
            if result is not None:
                result.touched = time.monotonic()
            return result

    def drop(self, token: str) -> None:
        with self._lock:
            result = self._results.pop(token, None)
        if result is not None:
            shutil.rmtree(result.folder, ignore_errors=True)

    def uses(self, session: str | None, files: list[str]) -> None:
        """A session has uploaded these files."""
        with self._lock:
            for file in files:
                self._uploads.setdefault(file, set()).add(session or "")

    def end_session(self, session: str) -> None:
        """Remove what a visitor has made and sent, now that the page is closed."""
        with self._lock:
            tokens = [token for token, result in self._results.items() if result.session == session]
            for users in self._uploads.values():
                users.discard(session)
            unused = [file for file, users in self._uploads.items() if not users]
            for file in unused:
                del self._uploads[file]
        for token in tokens:
            self.drop(token)
        for file in unused:
            self._remove_upload(Path(file))

    def _remove_upload(self, file: Path) -> None:
        if (self.root / "uploads").resolve() in file.resolve().parents:
            file.unlink(missing_ok=True)

    def sweep(self, now: float | None = None) -> None:
        """Remove results that nobody has looked at for long, and uploads; examples stay."""
        now = time.monotonic() if now is None else now
        with self._lock:
            old = [
                token
                for token, result in self._results.items()
                if result.session is not None and now - result.touched > self.keep_seconds
            ]
        for token in old:
            self.drop(token)
        self._sweep_uploads(time.time() + now - time.monotonic())

    def _sweep_uploads(self, now: float) -> None:
        """Remove uploads that are old, and the oldest where there are too many."""
        files = [(path.stat(), path) for path in (self.root / "uploads").rglob("*") if path.is_file()]
        size = sum(about.st_size for about, _ in files)
        for about, path in sorted(files, key=lambda file: file[0].st_mtime):
            if now - about.st_mtime > self.keep_seconds or size > self.uploads_mb * 1e6:
                path.unlink(missing_ok=True)
                size -= about.st_size
        with self._lock:
            self._uploads = {file: users for file, users in self._uploads.items() if Path(file).is_file()}

    def sweep_forever(self) -> None:
        """`sweep` again and again, in a thread that ends with the app."""

        def run() -> None:
            while True:
                time.sleep(min(SWEEP, self.keep_seconds))
                try:
                    self.sweep()
                except OSError:  # a file that went meanwhile: the next time
                    continue

        threading.Thread(target=run, name="sweep", daemon=True).start()

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)
