"""Repositories: making, changing and describing them; their revisions and trees."""

import hashlib
import re
from urllib.parse import parse_qs, urlencode

import yaml

from .access import belongs, check_write, repository_of, visible, writable
from .refusal import Refusal, no_entry, no_revision
from .store import TYPES, Commit, File, Repository, pointer
from .wire import Answer, Request, route

FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@route("GET", "/api/whoami-v2")
def whoami(request: Request) -> Answer:
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    organisations = request.hub.store.users[request.user]["organisations"]
    account = {"type": "user", "id": request.user, "name": request.user, "fullname": request.user}
    token = {"displayName": "token", "role": request.role}
    return Answer(
        body={
            **account,
            "isPro": False,
            "canPay": False,
            "orgs": [{"type": "org", "id": name, "name": name, "fullname": name} for name in organisations],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@route("POST", "/api/repos/create")
def create(request: Request) -> Answer:
    wanted = request.json()
    type_, id_ = _named(request, wanted)
    check_write(request, id_.split("/")[0])
    _check_name(id_)
    with request.hub.store.lock:
        known = request.hub.store.repositories.get((type_, id_))
        if known:
            fields = {"url": f"{request.hub.url}/{known.path}", "id": id_}
            raise Refusal(409, f"You already created this {type_} repo: {id_}", fields=fields)
        private = wanted.get("private", False) or wanted.get("visibility") == "private"
        author = request.user or ""
        made = request.hub.store.create(type_, id_, private, wanted.get("sdk"), author)
        made.variables.update({item["key"]: item for item in wanted.get("variables") or []})
        made.secrets.update({item["key"]: {"key": item["key"]} for item in wanted.get("secrets") or []})
        request.hub.store.save(made)
    return Answer(body={"url": f"{request.hub.url}/{made.path}", "name": id_, "id": id_})


@route("DELETE", "/api/repos/delete")
def delete(request: Request) -> Answer:
    repository = visible(request, *_named(request, request.json()))
    check_write(request, repository.namespace)
    request.hub.store.delete(repository)
    return Answer(body={})


@route("POST", "/api/repos/move")
def move(request: Request) -> Answer:
    wanted = request.json()
    repository = visible(request, wanted.get("type", "model"), wanted["fromRepo"])
    check_write(request, repository.namespace)
    check_write(request, wanted["toRepo"].split("/")[0])
    _check_name(wanted["toRepo"])
    if (repository.type, wanted["toRepo"]) in request.hub.store.repositories:
        raise Refusal(409, f"{wanted['toRepo']} exists already")
    request.hub.store.move(repository, wanted["toRepo"])
    return Answer(body={})


@route("PUT", "/api/{types}/{repo}/settings")
def settings(request: Request) -> Answer:
    repository, wanted = writable(request), request.json()
    if "visibility" in wanted or "private" in wanted:
        repository.private = wanted.get("visibility") == "private" or wanted.get("private", False)
    repository.gated = wanted.get("gated", repository.gated)
    request.hub.store.save(repository)
    return Answer(body={"private": repository.private, "gated": repository.gated})


@route("GET", "/api/{types}/{repo}/auth-check(?P<write>/write)?")
def auth_check(request: Request) -> Answer:
    repository = writable(request) if request.names["write"] else repository_of(request)
    return Answer(body={"id": repository.id})


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Request) -> Answer:
    error = card_error(request.json().get("content", ""))
    if error:
        raise Refusal(400, error, fields={"errors": [{"message": error}], "warnings": []})
    return Answer(body={"errors": [], "warnings": []})


@route("GET", "/api/{types}")
def listing(request: Request) -> Answer:
    """Public and own repositories, newest first; query: author, search, filter (tags), limit."""
    type_, query = request.names["types"].removesuffix("s"), request.query
    found = []
    for repository in request.hub.store.repositories.values():
        if repository.type != type_ or repository.private and not belongs(request, repository.namespace):
            continue
        if repository.namespace not in query.get("author", [repository.namespace]):
            continue
        if query.get("search", [""])[0].lower() not in repository.id.lower():
            continue
        described = describe(request, repository, repository.commit_of("main"))
        if set(query.get("filter", [])) <= set(described["tags"]):
            found.append(described)
    found.sort(key=lambda item: item["createdAt"], reverse=True)
    limit = int(query.get("limit", ["1000"])[0])
    return _page(request, found, limit)


@route("GET", "/api/{types}/{repo}(?:/revision/{revision})?")
def info(request: Request) -> Answer:
    repository = repository_of(request)
    commit = repository.commit_of(request.names["revision"] or "main")
    described = describe(request, repository, commit)
    if "expand" in request.query:
        described = {key: described.get(key) for key in ("_id", "id", *request.query["expand"])}
    return Answer(body=described)


@route("GET", "/api/{types}/{repo}/tree/{revision}(?:/{rest})?")
def tree(request: Request) -> Answer:
    repository = repository_of(request)
    commit = repository.commit_of(request.names["revision"])
    folder, expand = request.names["rest"].strip("/"), request.flag("expand")
    prefix = f"{folder}/" if folder else ""
    if folder and not any(path.startswith(prefix) for path in commit.files):
        raise no_entry(commit.oid, f"{folder} does not exist on {request.names['revision']}")
    entries: dict[str, dict] = {}
    for path in commit.files:
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) + 1 if request.flag("recursive") else 2):
            name = prefix + "/".join(parts[:depth])
            entries.setdefault(name, entry(repository, commit, name, expand))
    size = min(request.hub.page_size, 50) if expand else request.hub.page_size
    return _page(request, list(entries.values()), size)


@route("POST", "/api/{types}/{repo}/paths-info/{revision}")
def paths_info(request: Request) -> Answer:
    repository = repository_of(request)
    commit = repository.commit_of(request.names["revision"])
    if "json" in request.headers.get("content-type", ""):
        wanted = request.json()
        paths, expand = wanted["paths"], wanted.get("expand", False)
    else:
        form = parse_qs(request.body().decode())
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() == "true"
    known = [path.strip("/") for path in paths if _exists(commit, path.strip("/"))]
    return Answer(body=[entry(repository, commit, path, expand) for path in known])


@route("GET", "/api/{types}/{repo}/commits/{revision}")
def commits(request: Request) -> Answer:
    history = repository_of(request).history(request.names["revision"])
    items = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in history
    ]
    return _page(request, items, min(50, request.hub.page_size))


@route("GET", "/api/{types}/{repo}/refs")
def refs(request: Request) -> Answer:
    repository = repository_of(request)

    def under(prefix: str) -> list[dict]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
            for ref, oid in repository.refs.items()
            if ref.startswith(prefix)
        ]

    found = {"branches": under("refs/heads/"), "tags": under("refs/tags/"), "converts": []}
    if request.flag("include_prs"):
        found["pullRequests"] = under("refs/pr/")
    return Answer(body=found)


@route("POST", "/api/{types}/{repo}/branch/{revision}")
def create_branch(request: Request) -> Answer:
    repository = writable(request)
    start = request.json().get("startingPoint", "main")
    return _add_ref(request, repository, f"refs/heads/{request.names['revision']}", start)


@route("POST", "/api/{types}/{repo}/tag/{revision}")
def create_tag(request: Request) -> Answer:
    repository = writable(request)
    return _add_ref(request, repository, f"refs/tags/{request.json()['tag']}", request.names["revision"])


@route("DELETE", "/api/{types}/{repo}/(?P<kind>branch|tag)/{revision}")
def delete_ref(request: Request) -> Answer:
    repository = writable(request)
    kind = {"branch": "heads", "tag": "tags"}[request.names["kind"]]
    ref = f"refs/{kind}/{request.names['revision']}"
    if ref not in repository.refs:
        raise no_revision(request.names["revision"])
    if ref == "refs/heads/main":
        raise Refusal(403, "The branch main cannot be deleted")
    del repository.refs[ref]
    request.hub.store.save(repository)
    return Answer(body={})


@route("POST", "/api/{types}/{repo}/super-squash/{revision}")
def squash(request: Request) -> Answer:
    """The branch begins anew, with one commit of the same files."""
    repository, ref = writable(request), f"refs/heads/{request.names['revision']}"
    files = repository.commit_of(ref).files
    message, author = request.json().get("message", "squash"), request.user or ""
    request.hub.store.commit(repository, ref, None, files, message, "", author)
    return Answer(body={})


def describe(request: Request, repository: Repository, commit: Commit) -> dict:
    """What the Hub tells of a repository at a commit."""
    card = card_data(request, commit)
    described = {
        "_id": hashlib.sha1(f"{repository.type}/{repository.id}".encode()).hexdigest()[:24],
        "id": repository.id,
        "author": repository.namespace,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": repository.created,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(card),
        "cardData": card,
        "siblings": [_sibling(path, file, request.flag("blobs")) for path, file in commit.files.items()],
    }
    if repository.type == "model":
        described["modelId"] = repository.id
        described |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
    if repository.type == "space":
        described["sdk"] = card.get("sdk", repository.sdk)
    return described


def entry(repository: Repository, commit: Commit, path: str, expand: bool) -> dict:
    """A file or folder of a tree."""
    file = commit.files.get(path)
    if file:
        found = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
        if file.lfs:
            found["lfs"] = _lfs(file)
    else:
        under = [(name, item.oid) for name, item in commit.files.items() if name.startswith(f"{path}/")]
        oid = hashlib.sha1(repr(under).encode()).hexdigest()
        found = {"type": "directory", "oid": oid, "size": 0, "path": path}
    if expand:
        last = _last_change(repository, commit, path)
        found["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return found


def card_data(request: Request, commit: Commit) -> dict:
    """The front matter of the README."""
    file = commit.files.get("README.md")
    if file is None or file.lfs:
        return {}
    match = FRONT_MATTER.match(request.hub.store.read(file).decode("utf-8", "replace"))
    found = yaml.safe_load(match[1]) if match else {}
    return found if isinstance(found, dict) else {}


def card_error(readme: str) -> str:
    """What is wrong with the front matter of a README; "" if nothing is."""
    match = FRONT_MATTER.match(readme)
    try:
        found = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return f"Invalid metadata in README.md: {error}"
    return "" if isinstance(found, dict) else "Invalid metadata in README.md: not a mapping"


def _named(request: Request, wanted: dict) -> tuple[str, str]:
    """(type, id) of the repository that a body names; without an organisation it is the user's."""
    type_ = wanted.get("type") or "model"
    namespace = wanted.get("organization") or request.user
    if type_ not in TYPES:
        raise Refusal(400, f"Unknown type of repository: {type_}")
    if namespace is None:
        raise Refusal(401, "Invalid username or password.")
    return type_, f"{namespace}/{wanted.get('name')}"


def _check_name(id_: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w-][\w.-]{0,95}", id_):
        raise Refusal(400, f"Invalid repository name {id_}")


def _add_ref(request: Request, repository: Repository, ref: str, revision: str) -> Answer:
    if ref in repository.refs:
        raise Refusal(409, f"{ref} exists already")
    repository.refs[ref] = repository.commit_of(revision).oid
    request.hub.store.save(repository)
    return Answer(body={})


def _exists(commit: Commit, path: str) -> bool:
    return path in commit.files or any(name.startswith(f"{path}/") for name in commit.files)


def _last_change(repository: Repository, commit: Commit, path: str) -> Commit:
    """The newest commit that changed a file, or anything in a folder."""

    def under(tree: Commit) -> list[tuple[str, File]]:
        return [(name, file) for name, file in tree.files.items() if f"{name}/".startswith(f"{path}/")]

    while commit.parent and under(repository.commits[commit.parent]) == under(commit):
        commit = repository.commits[commit.parent]
    return commit


def _sibling(path: str, file: File, blobs: bool) -> dict:
    found: dict = {"rfilename": path}
    if blobs:
        found |= {"size": file.size, "blobId": file.oid} | ({"lfs": _lfs(file)} if file.lfs else {})
    return found


def _lfs(file: File) -> dict:
    size = len(pointer(file.sha256, file.size))
    return {"oid": file.sha256, "sha256": file.sha256, "size": file.size, "pointerSize": size}


def _tags(card: dict) -> list[str]:
    """The tags of a card; license and task become tags too, as on the Hub."""
    tags = list(card.get("tags") or [])
    tags += [card[key] for key in ("library_name", "pipeline_tag") if key in card]
    for key in ("license", "datasets", "base_model"):
        values = card.get(key) or []
        names = [values] if isinstance(values, str) else values
        tags += [f"{key.removesuffix('s')}:{name}" for name in names]
    return list(dict.fromkeys(str(tag) for tag in tags))


def _page(request: Request, items: list[dict], size: int) -> Answer:
    """One page of a list; the Link header has the address of the next."""
    start = int(request.query.get("cursor", ["0"])[0])
    headers = {}
    if start + size < len(items):
        query = {**request.query, "cursor": [str(start + size)]}
        headers["Link"] = f'<{request.hub.url}{request.path}?{urlencode(query, doseq=True)}>; rel="next"'
    return Answer(body=items[start : start + size], headers=headers)
