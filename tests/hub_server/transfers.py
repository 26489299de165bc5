"""Files in and out: what is large, uploads of large files, commits, downloads."""

import base64
import binascii
import fnmatch
import json
import re
import secrets
import shutil
from math import ceil
from pathlib import Path

from .access import check_contents, repository_of, writable
from .refusal import Refusal, no_entry
from .repo_api import card_error
from .store import Commit, File, Repository
from .wire import Answer, Request, route

LARGEST_REGULAR = 10 * 1000 * 1000  # bytes: anything above is a large file, as on the Hub


# Uploads


@route("POST", "/api/{types}/{repo}/preupload/{revision}")
def preupload(request: Request) -> Answer:
    """How each file shall be sent: regular (in the commit) or lfs; and what is there already."""
    repository, wanted = writable(request), request.json()
    commit = repository.commit_of(request.names["revision"])
    patterns = _large_patterns(request, commit)
    ignored = _ignored(request, commit, wanted.get("gitIgnore"))
    files = []
    for item in wanted["files"]:
        path, known = item["path"], commit.files.get(item["path"])
        large = item["size"] > LARGEST_REGULAR or _matches(path, patterns)
        large = large or b"\0" in base64.b64decode(item.get("sample", ""))
        files.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": _matches(path, ignored),
                "oid": (known.sha256 if known.lfs else known.oid) if known else None,
            }
        )
    return Answer(body={"files": files, "commitOid": commit.oid})


@route("POST", "/(?:{types}/)?{repo}\\.git/info/lfs/objects/batch")
def batch(request: Request) -> Answer:
    """Where to put large files. Those that the repository has need no upload (git-lfs batch API)."""
    repository, wanted = writable(request), request.json()
    if request.hub.faults.full_disk:
        raise Refusal(507, "No space left on the Hub's disk")
    objects = [_upload_actions(request, repository, item["oid"], item["size"]) for item in wanted["objects"]]
    multipart = any(
        "chunk_size" in item.get("actions", {}).get("upload", {}).get("header", {}) for item in objects
    )
    return Answer(body={"transfer": "multipart" if multipart else "basic", "objects": objects})


@route("PUT", "/lfs/{ticket}(?:/(?P<part>\\d+))?")
def receive(request: Request) -> Answer:
    """A large file, or a part of one. The ticket in the address is the permission, as in signed addresses."""
    repository, sha256 = _ticket(request)
    if request.hub.faults.full_disk:
        raise Refusal(507, "No space left on the Hub's disk")
    partial = request.hub.store.incoming / secrets.token_hex(16)
    try:
        with partial.open("wb") as file:
            for block in request.blocks:
                file.write(block)
        if not request.names["part"]:
            request.hub.store.add_large(repository, partial, sha256)
            return Answer()
        partial.replace(_part(request, int(request.names["part"])))
    finally:
        partial.unlink(missing_ok=True)
    return Answer(headers={"ETag": f'"{request.names["part"]}"'})


@route("POST", "/lfs/{ticket}/complete")
def complete(request: Request) -> Answer:
    """The parts become one file."""
    repository, sha256 = _ticket(request)
    parts = sorted(item["partNumber"] for item in request.json()["parts"])
    whole = request.hub.store.incoming / secrets.token_hex(16)
    with whole.open("wb") as file:
        for number in parts:
            part = _part(request, number)
            if not part.exists():
                raise Refusal(400, f"Part {number} was not uploaded")
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
    request.hub.store.add_large(repository, whole, sha256)
    for number in parts:
        _part(request, number).unlink()
    return Answer(body={"success": True})


@route("POST", "/api/{types}/{repo}/lfs-verify")
def verify(request: Request) -> Answer:
    repository, wanted = writable(request), request.json()
    if request.hub.store.large_file(repository, wanted["oid"]).size != wanted["size"]:
        raise Refusal(400, f"The size of {wanted['oid']} is not {wanted['size']}")
    return Answer(body={"success": True})


@route("POST", "/api/{types}/{repo}/commit/{revision}")
def commit(request: Request) -> Answer:
    """Lines of JSON: a header, then one operation each. All of it happens, or nothing."""
    repository, store = writable(request), request.hub.store
    if request.hub.faults.full_disk:
        raise Refusal(507, "No space left on the Hub's disk")
    lines = [json.loads(line) for line in request.body().splitlines() if line.strip()]
    header = next((line["value"] for line in lines if line["key"] == "header"), {})
    if not header.get("summary"):
        raise Refusal(400, "A commit needs a summary")
    with store.lock:
        head = repository.commit_of(request.names["revision"])
        wanted_parent = header.get("parentCommit")
        if wanted_parent and not head.oid.startswith(wanted_parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        ref = _target(request, repository)
        files = dict(head.files)
        for line in lines:
            if line["key"] != "header":
                _apply(request, repository, head, files, line["key"], line["value"])
        message = header.get("description", "")
        made = store.commit(repository, ref, head.oid, files, header["summary"], message, request.user or "")
    page = f"{request.hub.url}/{repository.path}"
    answer = {
        "success": True,
        "commitOid": made.oid,
        "commitUrl": f"{page}/commit/{made.oid}",
        "hookOutput": "",
    }
    if request.flag("create_pr"):
        answer["pullRequestUrl"] = f"{page}/discussions/{ref.removeprefix('refs/pr/')}"
    return Answer(body=answer)


def _apply(
    request: Request, repository: Repository, head: Commit, files: dict[str, File], key: str, value: dict
) -> None:
    """One operation of a commit on the tree `files`."""
    path, store = value["path"], request.hub.store
    if key == "file":
        try:
            content = base64.b64decode(value["content"], validate=True)
        except binascii.Error:
            raise Refusal(400, f"The content of {path} is not base64") from None
        if len(content) > LARGEST_REGULAR:
            raise Refusal(400, f"{path} is too large for a regular file")
        if path == "README.md" and (error := card_error(content.decode("utf-8", "replace"))):
            raise Refusal(400, error)
        files[path] = store.add_small(content)
    elif key == "lfsFile":
        files[path] = store.large_file(repository, value["oid"])
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise no_entry(head.oid, f"A file with this name doesn't exist: {path}")
    elif key == "deletedFolder":
        under = [name for name in files if name.startswith(path.rstrip("/") + "/")]
        if not under:
            raise no_entry(head.oid, f"A folder with this name doesn't exist: {path}")
        for name in under:
            del files[name]
    elif key == "copyFile":
        source = repository.commit_of(value.get("srcRevision") or head.oid)
        if value["srcPath"] not in source.files:
            raise no_entry(head.oid, f"{value['srcPath']} does not exist")
        files[path] = source.files[value["srcPath"]]
    else:
        raise Refusal(400, f"Unknown operation {key}")


def _target(request: Request, repository: Repository) -> str:
    """The ref that a commit goes to."""
    revision = request.names["revision"]
    if request.flag("create_pr"):
        taken = [int(ref.rsplit("/", 1)[1]) for ref in repository.refs if ref.startswith("refs/pr/")]
        return f"refs/pr/{max(taken, default=0) + 1}"
    ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    if ref not in repository.refs:
        raise Refusal(403, f"{revision} is not a branch: commits go to branches")
    return ref


def _upload_actions(request: Request, repository: Repository, sha256: str, size: int) -> dict:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return {"oid": sha256, "size": size, "error": {"code": 422, "message": "Not a sha256"}}
    if sha256 in repository.lfs:
        return {"oid": sha256, "size": size}
    ticket = secrets.token_hex(16)
    request.hub.tickets[ticket] = (repository, sha256)
    place, header = f"{request.hub.url}/lfs/{ticket}", {}
    if size > request.hub.part_size:
        count = ceil(size / request.hub.part_size)
        header = {str(number): f"{place}/{number}" for number in range(1, count + 1)}
        header["chunk_size"] = str(request.hub.part_size)
        place += "/complete"
    verify = f"{request.hub.url}/api/{repository.type}s/{repository.id}/lfs-verify"
    actions = {"upload": {"href": place, "header": header}, "verify": {"href": verify, "header": {}}}
    return {"oid": sha256, "size": size, "authenticated": True, "actions": actions}


def _ticket(request: Request) -> tuple[Repository, str]:
    try:
        return request.hub.tickets[request.names["ticket"]]
    except KeyError:
        raise Refusal(403, "This upload address is not valid (any more)") from None


def _part(request: Request, number: int) -> Path:
    return request.hub.store.incoming / f"{request.names['ticket']}.{number}"


def _large_patterns(request: Request, commit: Commit) -> list[str]:
    """The patterns of .gitattributes that name large files."""
    file = commit.files.get(".gitattributes")
    lines = request.hub.store.read(file).decode().splitlines() if file else []
    return [line.split()[0] for line in lines if "filter=lfs" in line]


def _ignored(request: Request, commit: Commit, content: str | None) -> list[str]:
    """The patterns of .gitignore (plain ones: no negation)."""
    file = commit.files.get(".gitignore")
    text = content if content is not None else request.hub.store.read(file).decode() if file else ""
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] not in "#!"]


def _matches(path: str, patterns: list[str]) -> bool:
    """Whether a path, its name, or a folder on its way fits a pattern."""
    parts = path.split("/")
    tried = [path, *parts] + ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    return any(fnmatch.fnmatchcase(name, pattern.strip("/")) for pattern in patterns for name in tried)


# Downloads


@route("GET", "/(?:(?P<types>datasets|spaces)/)?{repo}/(?:resolve|raw)/{revision}/{rest}")
def resolve(request: Request) -> Answer:
    """A file's content, with ranges. The ETag is its git id, or its sha256 if it is large."""
    repository = repository_of(request)
    check_contents(request, repository)
    commit, path = repository.commit_of(request.names["revision"]), request.names["rest"]
    file = commit.files.get(path)
    if file is None:
        raise no_entry(commit.oid)
    etag = f'"{file.sha256 if file.lfs else file.oid}"'
    headers = {
        "ETag": etag,
        "X-Repo-Commit": commit.oid,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream" if file.lfs else "text/plain; charset=utf-8",
        "Content-Disposition": f'inline; filename="{path.rsplit("/", 1)[-1]}"',
    }
    if file.lfs:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size)}
    if request.headers.get("if-none-match") == etag:
        return Answer(304, headers=headers)
    content = request.hub.store.object_path(file.sha256)
    wanted = request.headers.get("range")
    if not wanted:
        return Answer(200, headers=headers, file=content, length=file.size)
    start, stop = _range(wanted, file.size)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return Answer(206, headers=headers, file=content, start=start, length=stop - start)


def _range(wanted: str, size: int) -> tuple[int, int]:
    """(start, stop) of a header such as bytes=0-9, bytes=5- or bytes=-5."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.strip())
    if not match or match.groups() == ("", ""):
        raise Refusal(416, f"Range {wanted} is not understood", headers={"Content-Range": f"bytes */{size}"})
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or stop <= start:
        raise Refusal(
            416, f"Range {wanted} is outside the file", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, stop
