"""What the Hub says no with: a status, and the headers that the clients make their exceptions from."""

import re


class Refusal(Exception):
    """An answer of 4xx or 5xx.

    Args:
        status: HTTP status.
        message: text for people: header X-Error-Message and field `error` of the body.
        code: header X-Error-Code (RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo), or "".
        fields: more fields of the body; `headers`: more headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        fields: dict | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.fields = fields or {}
        self.headers = {"X-Error-Message": re.sub(r"[^ -~]+", " ", message), **(headers or {})}
        if code:
            self.headers["X-Error-Code"] = code


def no_repository() -> Refusal:
    """Missing, or private and not yours: the Hub does not tell which."""
    return Refusal(404, "Repository not found", "RepoNotFound")


def no_revision(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(commit: str, message: str = "Entry not found") -> Refusal:
    return Refusal(404, message, "EntryNotFound", headers={"X-Repo-Commit": commit})
