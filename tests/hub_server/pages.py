"""A page for each repository: enough to look around, and to accept the conditions of a gated one."""

from html import escape

from .access import belongs, repository_of
from .refusal import Refusal
from .wire import Answer, Request, route


@route("GET", "/")
def home(request: Request) -> Answer:
    listed = [item for item in request.hub.store.repositories.values() if not item.private]
    items = "".join(f'<li><a href="/{escape(item.path)}">{escape(item.path)}</a></li>' for item in listed)
    return _html("Hub on this machine", f"<ul>{items}</ul>")


@route("GET", "/(?!api/)(?:(?P<types>datasets|spaces)/)?{repo}")
def page(request: Request) -> Answer:
    repository = repository_of(request)
    files = repository.commit_of("main").files
    start = f"/{escape(repository.path)}/resolve/main"
    rows = "".join(
        f'<li><a href="{start}/{escape(path)}">{escape(path)}</a>, {file.size} bytes</li>'
        for path, file in files.items()
    )
    gate = ""
    if repository.gated:
        gate = "<p>Its files are for those who accepted its conditions: POST to this address/accept.</p>"
    return _html(repository.id, f"{gate}<ul>{rows}</ul>")


@route("POST", "/(?:(?P<types>datasets|spaces)/)?{repo}/(?:accept|ask-access)")
def accept(request: Request) -> Answer:
    repository = repository_of(request)
    if request.user is None:
        raise Refusal(401, "Please log in.")
    request.hub.accept(repository.type, repository.id, request.user)
    return Answer(body={"accepted": True})


@route("POST", "/api/{types}/{repo}/user-access-request/grant")
def grant(request: Request) -> Answer:
    repository = repository_of(request)
    if not belongs(request, repository.namespace):
        raise Refusal(403, "Only owners grant access")
    request.hub.accept(repository.type, repository.id, request.json()["user"])
    return Answer(body={})


def _html(title: str, body: str) -> Answer:
    text = f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>{body}"
    return Answer(body=text.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
