"""HTTP: reading requests, sending answers, and the faults that strike between the two.

The standard library's server, a thread for each connection, so that a fault can close one anywhere.
"""

import json
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from .faults import Fault
from .refusal import Refusal

if TYPE_CHECKING:
    from .server import HubServer

BLOCK = 1 << 16


class Cut(Exception):
    """The connection ends here."""


@dataclass
class Answer:
    """What goes back: JSON, bytes, or `length` bytes of a file from `start`."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    start: int = 0
    length: int = 0


@dataclass
class Request:
    """A request as the routes see it. `names` are the parts of the path that the route names."""

    method: str
    path: str  # as it came, still quoted
    query: dict[str, list[str]]
    headers: dict[str, str]
    blocks: Iterator[bytes]
    hub: "HubServer"
    user: str | None = None
    role: str = ""
    names: dict[str, str] = field(default_factory=dict)

    def flag(self, name: str) -> bool:
        """A query parameter such as recursive=true or create_pr=1."""
        return self.query.get(name, [""])[-1].lower() in ("1", "true")

    def body(self) -> bytes:
        return b"".join(self.blocks)

    def json(self) -> dict:
        try:
            return json.loads(self.body() or b"{}")
        except ValueError:
            raise Refusal(400, "The body is not JSON") from None


@dataclass(eq=False)
class LogEntry:
    """A request: `received` and `sent` are the bytes of the bodies."""

    method: str
    path: str
    user: str | None
    status: int = 0  # 0: the connection was cut
    received: int = 0
    sent: int = 0


Route = tuple[str, re.Pattern, Callable[[Request], Answer]]
ROUTES: list[Route] = []
PARTS = {
    "types": r"(?P<types>models|datasets|spaces)",
    "repo": r"(?P<repo>[^/]+/[^/]+)",
    "revision": r"(?P<revision>refs/pr/\d+|[^/]+)",
    "rest": r"(?P<rest>.+)",
}


def route(method: str, path: str) -> Callable:
    """Answer requests of this path; {types}, {repo}, {revision}, {rest} and {any_name} stand for parts."""

    def part(match: re.Match) -> str:
        return PARTS.get(match[1], rf"(?P<{match[1]}>[^/]+)")

    pattern = re.compile(re.sub(r"\{(\w+)\}", part, path))

    def add(function: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        ROUTES.append((method, pattern, function))
        return function

    return add


class Server(ThreadingHTTPServer):
    """Knows its open connections, so that stopping ends them too."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hub: "HubServer") -> None:
        super().__init__(address, Handler)
        self.hub = hub
        self.open: set[socket.socket] = set()
        self.open_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.open_lock:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        with self.open_lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        with self.open_lock:
            connections = list(self.open)
        for connection in connections:
            _hang_up(connection)

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients may hang up at any time
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass  # `hub.log` keeps what tests need

    def handle_all(self) -> None:
        hub, self.received = self.server.hub, 0
        fault = hub.faults.strike(self.command, self.path)
        entry = LogEntry(self.command, self.path, None)
        try:
            time.sleep(hub.faults.slow)
            answer = self._answer(hub, fault, entry)
            if fault and fault.kind == "lose_answer":
                raise Cut
            self._send(answer, entry, fault.after if fault and fault.kind == "cut_download" else None)
        except Cut:
            if entry not in hub.log:
                hub.log.append(entry)
            self.close_connection = True
            _hang_up(self.connection)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_all  # noqa: N815

    def _answer(self, hub: "HubServer", fault: Fault | None, entry: LogEntry) -> Answer:
        request = self._request(hub, fault)
        try:
            entry.user, request.role = hub.authenticate(request.headers.get("authorization"))
            request.user = entry.user
            if fault and fault.kind == "refuse":
                raise Refusal(fault.status, fault.message)
            answer = _dispatch(request)
        except Refusal as refusal:
            answer = Answer(refusal.status, {"error": refusal.message, **refusal.fields}, refusal.headers)
        except (Cut, OSError):
            raise
        except Exception:  # a mistake of this Hub: told on both sides
            traceback.print_exc()
            answer = Answer(500, {"error": "This Hub has a mistake; see its output"})
        for _ in request.blocks:  # a client hears no answer while it still sends
            pass
        entry.received = self.received
        return answer

    def _request(self, hub: "HubServer", fault: Fault | None) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        limit = fault.after if fault and fault.kind == "cut_upload" else None
        url = urlsplit(self.path)
        return Request(
            self.command, url.path, parse_qs(url.query), headers, self._blocks(headers, limit), hub
        )

    def _blocks(self, headers: dict[str, str], limit: int | None) -> Iterator[bytes]:
        """The body as it comes in; Cut after `limit` bytes, or at its end if it is shorter."""
        chunked = "chunked" in headers.get("transfer-encoding", "")
        for block in self._chunked() if chunked else self._plain(headers):
            self.received += len(block)
            if limit is not None and self.received >= limit:
                raise Cut
            yield block
        if limit is not None:
            raise Cut

    def _plain(self, headers: dict[str, str]) -> Iterator[bytes]:
        left = int(headers.get("content-length", 0))
        while left:
            block = self.rfile.read(min(BLOCK, left))
            if not block:
                raise Cut
            left -= len(block)
            yield block

    def _chunked(self) -> Iterator[bytes]:
        while line := self.rfile.readline():
            size = int(line.split(b";")[0], 16)
            block = self.rfile.read(size)
            if len(block) < size:
                break
            self.rfile.readline()
            if size == 0:
                return
            yield block
        raise Cut  # the client hung up before the end

    def _send(self, answer: Answer, entry: LogEntry, limit: int | None) -> None:
        """Send; the log has the entry before the client has the answer."""
        body = answer.body
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, default=str).encode()  # a card may hold dates
            answer.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        length = answer.length if answer.file else len(body or b"")
        bodiless = self.command == "HEAD" or answer.status == 304
        entry.status, entry.sent = answer.status, 0 if bodiless else length
        self.server.hub.log.append(entry)
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        left = length if limit is None else limit
        for block in [] if bodiless else _blocks_of(answer) if answer.file else [body or b""]:
            self.wfile.write(block[:left])
            left -= len(block)
            if limit is not None and left <= 0:
                entry.status, entry.sent = 0, limit
                raise Cut


def _blocks_of(answer: Answer) -> Iterator[bytes]:
    assert answer.file
    with answer.file.open("rb") as file:
        file.seek(answer.start)
        left = answer.length
        while left:
            block = file.read(min(BLOCK, left))
            left -= len(block)
            yield block


def _dispatch(request: Request) -> Answer:
    method = "GET" if request.method == "HEAD" else request.method
    for wanted, pattern, function in ROUTES:
        match = pattern.fullmatch(request.path)
        if wanted == method and match:
            request.names = {name: unquote(value or "") for name, value in match.groupdict().items()}
            return function(request)
    if re.match(r"/api/(models|datasets|spaces)/", request.path):
        raise Refusal(404, "Repository not found", "RepoNotFound")
    raise Refusal(404, f"Nothing answers {request.method} {request.path}")


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the client was faster
