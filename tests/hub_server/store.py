"""What the Hub keeps, on disk: contents by their sha256, one JSON file for each repository, the accounts.

```
objects/ab/abcdef…                 every content once
repositories/models/org/name.json  refs, and all commits with the whole tree of each
accounts.json                      users, tokens, organisations
incoming/                          uploads on their way
```
Everything is written to a temporary name and renamed, so a restart finds whole files.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .refusal import Refusal, no_repository, no_revision

TYPES = ("model", "dataset", "space")
LFS_PATTERNS = (
    "7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt "
    "pth rar safetensors tar tflite tgz wasm xz zip zst mp4 avi mkv mp3 wav flac png jpg jpeg gif webp"
).split()


@dataclass(frozen=True)
class File:
    """One file of a tree: size in bytes, git's id of its blob, the sha256 of its content."""

    size: int
    oid: str
    sha256: str
    lfs: bool


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: dict[str, File]


@dataclass
class Repository:
    """A repository: `refs` maps refs/heads/main, refs/tags/v1, refs/pr/1 to commits."""

    type: str
    id: str
    private: bool
    created: str
    sdk: str | None = None
    gated: str | bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    lfs: list[str] = field(default_factory=list)  # sha256 of large files that were uploaded here
    accepted: list[str] = field(default_factory=list)  # users with access to a gated repository
    variables: dict[str, dict] = field(default_factory=dict)
    secrets: dict[str, dict] = field(default_factory=dict)  # values are write-only, and not kept

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    @property
    def path(self) -> str:
        """Where its page is, under the server's address."""
        return self.id if self.type == "model" else f"{self.type}s/{self.id}"

    def commit_of(self, revision: str) -> Commit:
        """The commit of a branch, tag, pull request (refs/pr/1) or (abbreviated) commit id."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if len(revision) >= 7:
            for oid, commit in self.commits.items():
                if oid.startswith(revision):
                    return commit
        raise no_revision(revision)

    def history(self, revision: str) -> list[Commit]:
        """The commits up to a revision, newest first."""
        commit, found = self.commit_of(revision), []
        while commit:
            found.append(commit)
            commit = self.commits[commit.parent] if commit.parent else None
        return found


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def blob_oid(content: bytes) -> str:
    """Git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git holds in place of a large file (git-lfs specification v1)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class Store:
    """All repositories and accounts under a folder. Methods that change something hold `lock`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.incoming = folder / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)
        for path in (self.incoming, folder / "objects", folder / "repositories"):
            path.mkdir(parents=True, exist_ok=True)
        accounts = folder / "accounts.json"
        self.users: dict[str, dict] = json.loads(accounts.read_text()) if accounts.exists() else {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        for path in sorted((folder / "repositories").rglob("*.json")):
            repository = _read_repository(json.loads(path.read_text()))
            self.repositories[repository.type, repository.id] = repository

    # Accounts

    def add_user(self, name: str, token: str, organisations: Iterable[str] = (), role: str = "write") -> None:
        """A user, or one more token (role read or write) and more organisations of theirs."""
        with self.lock:
            user = self.users.setdefault(name, {"tokens": {}, "organisations": []})
            user["tokens"][token] = role
            user["organisations"] = sorted({*user["organisations"], *organisations})
            self._write(self.folder / "accounts.json", json.dumps(self.users, indent=2).encode())

    def revoke(self, token: str) -> None:
        """From now on the token is refused."""
        with self.lock:
            for user in self.users.values():
                user["tokens"].pop(token, None)
            self._write(self.folder / "accounts.json", json.dumps(self.users, indent=2).encode())

    def user_of(self, token: str) -> tuple[str, str] | None:
        """(user, role) of a token."""
        with self.lock:
            for name, user in self.users.items():
                if token in user["tokens"]:
                    return name, user["tokens"][token]
        return None

    # Repositories

    def find(self, type_: str, id_: str) -> Repository:
        try:
            return self.repositories[type_, id_]
        except KeyError:
            raise no_repository() from None

    def create(self, type_: str, id_: str, private: bool, sdk: str | None, author: str) -> Repository:
        """A new repository with its first commit, as the Hub makes one."""
        with self.lock:
            repository = Repository(type_, id_, private, now(), sdk)
            self.repositories[type_, id_] = repository
            lines = [f"*.{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LFS_PATTERNS]
            files = {".gitattributes": self.add_small("".join(lines).encode())}
            if type_ == "space":
                title = id_.split("/")[1]
                readme = f"---\ntitle: {title}\nsdk: {sdk}\napp_file: app.py\npinned: false\n---\n"
                files["README.md"] = self.add_small(readme.encode())
            self.commit(repository, "refs/heads/main", None, files, "initial commit", "", author)
            return repository

    def delete(self, repository: Repository) -> None:
        with self.lock:
            del self.repositories[repository.type, repository.id]
            self._file_of(repository).unlink(missing_ok=True)

    def move(self, repository: Repository, id_: str) -> None:
        with self.lock:
            self.delete(repository)
            repository.id = id_
            self.repositories[repository.type, id_] = repository
            self.save(repository)

    def commit(
        self,
        repository: Repository,
        ref: str,
        parent: str | None,
        files: dict[str, File],
        title: str,
        message: str,
        author: str,
    ) -> Commit:
        """Put a whole tree on a ref. A tree that is there already makes no commit."""
        with self.lock:
            if ref in repository.refs and parent and repository.commits[parent].files == files:
                return repository.commits[parent]
            date = now()
            parts = [repository.id, parent, title, message, author, date, uuid.uuid4().hex]
            parts.append({path: file.oid for path, file in sorted(files.items())})
            oid = hashlib.sha1(json.dumps(parts).encode()).hexdigest()
            commit = Commit(oid, parent, title, message, author, date, dict(sorted(files.items())))
            repository.commits[oid] = commit
            repository.refs[ref] = oid
            self.save(repository)
            return commit

    def save(self, repository: Repository) -> None:
        with self.lock:
            path = self._file_of(repository)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, json.dumps(dataclasses.asdict(repository)).encode())

    # Contents

    def add_small(self, content: bytes) -> File:
        """Keep the content of a regular file."""
        sha256 = hashlib.sha256(content).hexdigest()
        target = self.object_path(sha256)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._write(target, content)
        return File(len(content), blob_oid(content), sha256, lfs=False)

    def add_large(self, repository: Repository, path: Path, sha256: str) -> None:
        """Keep an upload (a file in `incoming`) whose content must have this sha256."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            path.unlink()
            raise Refusal(400, f"The content has sha256 {found}, and was announced as {sha256}")
        target = self.object_path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        with self.lock:
            if sha256 not in repository.lfs:
                repository.lfs.append(sha256)
                self.save(repository)

    def large_file(self, repository: Repository, sha256: str) -> File:
        """The tree entry of a large file that was uploaded to the repository."""
        if sha256 not in repository.lfs:
            raise Refusal(400, f"No content with sha256 {sha256} was uploaded to this repository")
        size = self.object_path(sha256).stat().st_size
        return File(size, blob_oid(pointer(sha256, size)), sha256, lfs=True)

    def object_path(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256[:2] / sha256

    def read(self, file: File) -> bytes:
        return self.object_path(file.sha256).read_bytes()

    def _file_of(self, repository: Repository) -> Path:
        return self.folder / "repositories" / f"{repository.type}s" / f"{repository.id}.json"

    def _write(self, path: Path, content: bytes) -> None:
        partial = self.incoming / uuid.uuid4().hex
        partial.write_bytes(content)
        os.replace(partial, path)


def _read_repository(fields: dict) -> Repository:
    for commit in fields["commits"].values():
        commit["files"] = {path: File(**file) for path, file in commit["files"].items()}
    fields["commits"] = {oid: Commit(**commit) for oid, commit in fields["commits"].items()}
    return Repository(**fields)
