"""`HubServer`: the Hub in a thread of this process."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from . import pages, repo_api, spaces_and_jobs, transfers  # noqa: F401  (each adds its routes)
from .faults import Faults
from .refusal import Refusal
from .store import Repository, Store
from .wire import LogEntry, Server

HOST = "127.0.0.1"


class HubServer:
    """A Hub on loopback, with its data under `folder`/hub and the clients' home under `folder`/home.

    with HubServer(folder) as hub:
        hub.add_user("ann", "hf_ann", orgs=["robots"])
        subprocess.run([...], env=hub.env("hf_ann"))

    Attributes:
        url: http://127.0.0.1:port, for HF_ENDPOINT.
        faults: faults on purpose (see faults.py).
        log: every request that was answered, oldest first.
        part_size: bytes from which a large file is uploaded in parts of that size.
        page_size: entries on one page of a tree.
        jobs, job_secrets: by id, what `run_job` asked for.
    """

    def __init__(self, folder: Path | str, port: int = 0) -> None:
        self.folder = Path(folder)
        self.home = self.folder / "home"
        self.store = Store(self.folder / "hub")
        self.faults = Faults()
        self.log: list[LogEntry] = []
        self.part_size = 64 << 20
        self.page_size = 1000
        self.tickets: dict[str, tuple[Repository, str]] = {}
        self.jobs: dict[str, dict] = {}
        self.job_secrets: dict[str, dict] = {}
        self._server = Server((HOST, port), self)
        self.port = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}"
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "HubServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more answers, on no connection. What was stored stays: a new server on the folder has it."""
        if self._thread:
            self._server.shutdown()
            self._thread.join(timeout=60)
            self._thread = None
        self._server.server_close()
        self._server.end_connections()

    def add_user(self, name: str, token: str, orgs: Iterable[str] = (), role: str = "write") -> None:
        """A user, or one more token of theirs; role is read or write."""
        self.store.add_user(name, token, orgs, role)

    def revoke(self, token: str) -> None:
        """The token is refused from now on."""
        self.store.revoke(token)

    def gate(self, type_: str, id_: str, mode: str | bool = "auto") -> None:
        """Files of this repository are for users who accepted its conditions (False: for all)."""
        repository = self.store.find(type_, id_)
        repository.gated = mode
        self.store.save(repository)

    def accept(self, type_: str, id_: str, user: str) -> None:
        """A user accepts the conditions of a gated repository."""
        repository = self.store.find(type_, id_)
        repository.accepted = sorted({*repository.accepted, user})
        self.store.save(repository)

    def authenticate(self, header: str | None) -> tuple[str | None, str]:
        """(user, role) of an Authorization header; an unknown token is an error, none is nobody."""
        if not header:
            return None, ""
        found = self.store.user_of(header.removeprefix("Bearer "))
        if found is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return found

    def files(self, type_: str, id_: str, revision: str = "main") -> dict[str, bytes]:
        """The contents of all files of a revision, for tests to look at."""
        commit = self.store.find(type_, id_).commit_of(revision)
        return {path: self.store.read(file) for path, file in commit.files.items()}

    def history(self, type_: str, id_: str, revision: str = "main") -> list[str]:
        """The titles of the commits, newest first."""
        return [commit.title for commit in self.store.find(type_, id_).history(revision)]

    def variables(self, token: str | None = None) -> dict[str, str]:
        """The environment variables that lead the clients here."""
        found = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "VALUECURVE_CACHE": str(self.home / "valuecurve"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        return found | ({"HF_TOKEN": token} if token else {})

    def env(self, token: str | None = None, **more: str) -> dict[str, str]:
        """This process's environment, without its own Hub variables, with those that lead here."""
        dropped = ("HF_", "HUGGING", "TRANSFORMERS_OFFLINE", "TRANSFORMERS_CACHE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return kept | self.variables(token) | more
