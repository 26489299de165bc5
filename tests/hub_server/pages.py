"""A page for each repository: enough to look around, and to accept the conditions of a gated one."""

from html import escape

from .access import belongs, repository_of
from .refusal import Refusal
from .wire import Answer, Request, route

STYLE = """<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
td { padding: .2rem 1.5rem .2rem 0; } td:last-child { opacity: .7; text-align: right; }
pre { padding: .7rem 1rem; border: 1px solid #8886; border-radius: .4rem; overflow: auto; }
</style>"""
GATE = """<p>The files are for those who accepted its conditions:</p>
<pre>curl -X POST -H "Authorization: Bearer $HF_TOKEN" {page}/accept</pre>"""


@route("GET", "/")
def home(request: Request) -> Answer:
    listed = [item for item in request.hub.store.repositories.values() if not item.private]
    rows = [(f"/{item.path}", item.path, item.type) for item in listed]
    return _html("Hub on this machine", _table(rows) if rows else "<p>Nothing was pushed yet.</p>")


@route("GET", "/(?!api/)(?:(?P<types>datasets|spaces)/)?{repo}")
def page(request: Request) -> Answer:
    repository = repository_of(request)
    start, files = f"/{repository.path}/resolve/main", repository.commit_of("main").files
    rows = [(f"{start}/{path}", path, f"{file.size:,} B") for path, file in files.items()]
    gate = GATE.format(page=escape(f"{request.hub.url}/{repository.path}")) if repository.gated else ""
    return _html(repository.id, gate + _table(rows))


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


def _table(rows: list[tuple[str, str, str]]) -> str:
    """Links with a text, and what stands behind them."""
    cells = [
        f'<tr><td><a href="{escape(link)}">{escape(text)}</a><td>{escape(more)}' for link, text, more in rows
    ]
    return f"<table>{''.join(cells)}</table>"


def _html(title: str, body: str) -> Answer:
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>{STYLE}'
    text = f'{head}<p><a href="/">Hub on this machine</a></p><h1>{escape(title)}</h1>{body}'
    return Answer(body=text.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
