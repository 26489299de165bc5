"""What can go wrong between here and the Hub, in one line for people: what was seen, where, what to do."""

import difflib
import errno
import os
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def is_unreachable(error: BaseException) -> bool:
    """Whether the Hub gave no answer: offline on purpose, no network, a connection that was cut, overload."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    transport = any(kind.__module__.partition(".")[0].startswith("httpx") for kind in type(error).__mro__)
    return transport or isinstance(error, LocalEntryNotFoundError | ConnectionError | TimeoutError)


def explain(error: Exception, repo: str, revision: str, cache: Path, what: str = "") -> str:
    """The message for an error that a request about the dataset `repo` raised; `what` is the file wanted."""
    page, wanted = f"{constants.ENDPOINT}/datasets/{repo}", f"{what} of {repo}" if what else f"dataset {repo}"
    if isinstance(error, GatedRepoError):
        return (
            f"the dataset {repo} is gated: accept its conditions at {page}, and use a token of that account "
            "(hf auth login, or HF_TOKEN)"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the dataset {repo} has no revision {revision!r}{_other_revisions(repo, revision)}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{constants.ENDPOINT} has no dataset {repo} that you may read: check the spelling; if it is "
            "private, log in with an account that may read it (hf auth login, or HF_TOKEN)"
        )
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
        return "the Hub refuses the token: log in again (hf auth login), or correct HF_TOKEN"
    if isinstance(error, OfflineModeIsEnabled) or constants.is_offline_mode():
        return (
            f"the {wanted} is not in the cache ({cache}), and HF_HUB_OFFLINE is set: use it once with a "
            "network"
        )
    if is_unreachable(error):
        reason = f"could not be fetched from {constants.ENDPOINT} ({_reason(error)})"
        return f"the {wanted} {reason}: run it again, it continues"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no room on the disk for the {wanted}, in {cache}: free some space, lower "
            "VALUECURVE_CACHE_GB, or set VALUECURVE_CACHE to a larger disk"
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = os.strerror(error.errno)
        return f"the cache {cache} cannot be written ({reason}): set VALUECURVE_CACHE to another folder"
    return f"the {wanted} cannot be fetched from {constants.ENDPOINT}: {_reason(error)}"


def _reason(error: Exception) -> str:
    """The root of an error in one line: libraries wrap what happened into long advice."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _other_revisions(repo: str, revision: str) -> str:
    """The branches and tags that there are, the nearest first; nothing where they cannot be read."""
    try:
        refs = HfApi().list_repo_refs(repo, repo_type="dataset")
    except Exception:  # the message is for another error
        return ""
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = difflib.get_close_matches(revision, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names[:10])}"
