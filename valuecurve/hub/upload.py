"""Files to a repository of the Hub: listed with their sizes, checked, then pushed in one commit.

Nothing is pushed that was not listed, nothing that `trust` finds, and no commit is made where nothing has
changed. A push that was cut off is run again: large files that have arrived are not sent twice.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from valuecurve.episodes.hub_errors import is_unreachable
from valuecurve.hub import trust

Kind = Literal["model", "dataset", "space"]
Files = Mapping[str, Path | bytes | str]
UNWANTED = re.compile(
    r"(?:^|/)(?:\.git|\.cache|__pycache__|\.ipynb_checkpoints|\.DS_Store)(?:/|$)|\.(?:tmp|pyc)$"
)
BRANCH = re.compile(r"(?!-)(?!.*(?:\.\.|//|/\.))\w[\w./-]{0,200}(?<![./])(?<!\.lock)")
SHOWN_LEAKS = 10
PAGE = {"model": "", "dataset": "datasets/", "space": "spaces/"}


class HubError(ValueError):
    """What cannot be pushed or read: one line that says what was seen, where, and what to do."""


@dataclass(frozen=True)
class Target:
    """Where to push: a repository, and how.

    revision: branch to push to; made where there is none. pr: as a pull request on it instead.
    token: None takes HF_TOKEN, or the one of `hf auth login`.

    Raises:
        HubError: a repository that is not written owner/name, or a branch that git would not have.
    """

    repo: str
    kind: Kind = "model"
    private: bool = False
    revision: str | None = None
    pr: bool = False
    token: str | None = None

    def __post_init__(self) -> None:
        problem = "" if self.repo.count("/") == 1 else "it has no owner, or more than a name"
        try:
            validate_repo_id(self.repo)
        except HFValidationError as error:
            problem = str(error)
        if problem:
            raise HubError(f"{self.repo!r} names no repository; it is written owner/name: {problem}")
        if self.revision is not None and not BRANCH.fullmatch(self.revision):
            raise HubError(
                f"--revision {self.revision!r} names no branch, such as main or v2: letters, digits, . _ - /"
            )

    @property
    def page(self) -> str:
        return f"{constants.ENDPOINT}/{PAGE[self.kind]}{self.repo}"


@dataclass(frozen=True)
class Pushed:
    """What a push left: the page of the repository, the commit it is at, and whether this push made it."""

    url: str
    commit: str
    changed: bool
    pull_request: str | None = None


def folder_files(folder: str | Path, prefix: str = "") -> dict[str, Path]:
    """All files below a folder by their path in it, below `prefix`; links are followed, caches left out."""
    folder = Path(folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not UNWANTED.search(name):
            found[f"{prefix}{name}"] = path
    return found


def size_of(content: Path | bytes | str) -> int:
    """Bytes of a file that is to be pushed."""
    if isinstance(content, Path):
        return content.stat().st_size
    return len(content.encode() if isinstance(content, str) else content)


def listing(files: Files, target: Target) -> str:
    """What will be pushed, with sizes: one line a file, and a sum."""
    lines = [f"{_in_words(size_of(content)):>10}  {path}" for path, content in sorted(files.items())]
    total = sum(size_of(content) for content in files.values())
    branch = f", {'a pull request on ' if target.pr else 'branch '}{target.revision or 'main'}"
    where = f"{target.kind} {target.repo}{branch if target.pr or target.revision else ''}"
    return "\n".join([*lines, f"{_in_words(total):>10}  {len(files)} files, for the {where}"])


def _in_words(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def check_trust(files: Files, repo: str) -> None:
    """Raises HubError when a file holds what must stay on this machine; it names files and lines."""
    found = trust.leaks(files, repo)
    if found:
        more = f"\n… and {len(found) - SHOWN_LEAKS} more" if len(found) > SHOWN_LEAKS else ""
        shown = "\n".join(found[:SHOWN_LEAKS])
        raise HubError(
            f"nothing was pushed: what follows belongs to this machine. Remove it first.\n{shown}{more}"
        )


def push_files(
    target: Target,
    files: Files,
    message: str,
    *,
    delete: Iterable[str] | Callable[[str], bool] = (),
    dry_run: bool = False,
    show: Callable[[str], object] = print,
    space_sdk: str | None = None,
    tags: Iterable[str] = (),
) -> Pushed | None:
    """Push files in one commit, or list them only (`dry_run`, which needs neither token nor network).

    Args:
        files: path in the repository -> a file, or its content.
        message: of the commit.
        delete: files to remove from the repository in the same commit, if they are there and not pushed; or
            what tells them by their path.
        show: takes the list of files before anything is sent.
        space_sdk: of a Space.
        tags: git tags that are set to the commit, or moved to it.

    Raises:
        HubError: a file holds what must stay here; or the Hub cannot be reached, refuses the token, or does
            not let this user write.
    """
    show(listing(files, target))
    check_trust(files, target.repo)
    if dry_run:
        return None
    api = HfApi(token=target.token)
    with hub_errors(target):
        before = _make_repository(api, target, space_sdk)
        there = _remote_files(api, target) if delete else set()
        operations: list = [
            CommitOperationAdd(path, content.encode() if isinstance(content, str) else content)
            for path, content in sorted(files.items())
        ]
        unwanted = set(filter(delete, there)) if callable(delete) else there.intersection(delete)
        operations += [CommitOperationDelete(path) for path in sorted(unwanted - set(files))]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
            commit = api.create_commit(
                target.repo,
                operations,
                commit_message=message,
                repo_type=target.kind,
                revision=target.revision,
                create_pr=target.pr or None,
            )
        if not target.pr:
            _set_tags(api, target, tags, commit.oid)
    return Pushed(target.page, commit.oid, commit.oid != before, commit.pr_url)


def _make_repository(api: HfApi, target: Target, space_sdk: str | None) -> str | None:
    """Makes the repository and the branch where there are none; the commit that the branch is at."""
    api.create_repo(
        target.repo,
        private=target.private or None,
        repo_type=target.kind,
        exist_ok=True,
        space_sdk=space_sdk,
    )
    if target.revision and not target.pr:
        api.create_branch(target.repo, branch=target.revision, repo_type=target.kind, exist_ok=True)
    return api.repo_info(target.repo, repo_type=target.kind, revision=target.revision).sha


def _remote_files(api: HfApi, target: Target) -> set[str]:
    return set(api.list_repo_files(target.repo, repo_type=target.kind, revision=target.revision))


def _set_tags(api: HfApi, target: Target, tags: Iterable[str], commit: str) -> None:
    wanted = list(tags)
    refs = api.list_repo_refs(target.repo, repo_type=target.kind).tags if wanted else []
    there = {tag.name: tag.target_commit for tag in refs}
    for tag in wanted:
        if there.get(tag) == commit:
            continue
        if tag in there:
            api.delete_tag(target.repo, tag=tag, repo_type=target.kind)
        api.create_tag(target.repo, tag=tag, revision=commit, repo_type=target.kind)


def read_remote(target: Target, path: str) -> str | None:
    """The text of a file that is in the repository now; None where the file or the repository is not."""
    api = HfApi(token=target.token)
    with hub_errors(target):
        try:
            found = api.hf_hub_download(
                target.repo, path, repo_type=target.kind, revision=target.revision or "main"
            )
        except (EntryNotFoundError, RevisionNotFoundError):
            return None
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
    try:
        return Path(found).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HubError(f"{path} of {target.repo} is no text (UTF-8): correct it on the Hub first") from error


@contextmanager
def hub_errors(target: Target) -> Iterator[None]:
    """What the Hub or the way to it refuses inside, as a HubError of one line; it never holds the token."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        seen = _behind(error)
        remedy = next((remedy for kind, remedy in _REMEDIES.items() if isinstance(seen, kind)), None)
        if remedy is None and not is_unreachable(seen) and not isinstance(seen, OSError | ValueError):
            raise
        raise HubError(_line((remedy or _of_http)(seen, target))) from error


def _behind(error: Exception) -> Exception:
    """The error itself: that of an upload of a large file comes wrapped in a RuntimeError."""
    cause = error.__cause__
    return cause if isinstance(error, RuntimeError) and isinstance(cause, Exception) else error


def _of_http(error: Exception, target: Target) -> str:
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if status == 401:
        return f"{target.repo}: {constants.ENDPOINT} does not accept the token. {LOGIN}"
    if status == 403:
        owner = target.repo.split("/")[0]
        return (
            f"{target.repo}: this token may not write there. Take a token with write access to {owner}, "
            f"or another owner{_server_says(error)}"
        )
    if status in (413, 507):
        return f"{target.repo}: the Hub has no room for this{_server_says(error)}"
    if status is None and is_unreachable(error):
        return (
            f"the connection to {constants.ENDPOINT} broke ({type(error).__name__}). "
            "Run the same command again: it continues"
        )
    said = _server_says(error) or f": {error}"
    return f"{target.repo}{f' (HTTP {status})' if status else ''}{said}"


def _server_says(error: Exception) -> str:
    said = getattr(error, "server_message", None)
    return f": {said}" if said else ""


def _line(text: str, width: int = 500) -> str:
    """One line without any secret."""
    text = " ".join(text.split())
    for value in trust.secrets().values():
        text = text.replace(value, "…")
    return trust.TOKEN.sub("…", text)[:width]


LOGIN = "Log in with `hf auth login`, or set HF_TOKEN to a token that can write"
_REMEDIES: dict[type[Exception], Callable[[Exception, Target], str]] = {
    LocalTokenNotFoundError: lambda e, t: f"there is no token of the Hub here. {LOGIN}",
    OfflineModeIsEnabled: lambda e, t: f"{t.repo} cannot be reached: HF_HUB_OFFLINE is set. Unset it to push",
    GatedRepoError: lambda e, t: f"{t.repo} is gated: accept its licence at {t.page}, then try again",
    RevisionNotFoundError: lambda e, t: f"{t.repo} has no revision {t.revision!r}; see {t.page}/tree/main",
    RepositoryNotFoundError: lambda e, t: (
        f"there is no {t.kind} {t.repo} on {constants.ENDPOINT}, or this token may not see it. {LOGIN}"
    ),
}


def print_pushed(pushed: Pushed | None, target: Target) -> None:
    """The last lines of a push, for people."""
    if pushed is None:
        print("dry run: nothing was pushed")
    elif pushed.pull_request:
        print(f"pull request: {pushed.pull_request}")
    elif not pushed.changed:
        print(f"nothing has changed: no commit was made. {pushed.url}")
    else:
        print(f"{pushed.url} is now at {pushed.commit[:8]}")
