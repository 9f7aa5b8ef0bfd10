"""A real HTTP server on this machine whose answers can be cut, late, silent, too long or wrong."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Range"]))
        answers = self.server.answers[self.path]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


class FileServer(ThreadingHTTPServer):
    """Gives each path its answers in turn, and repeats the last one forever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: dict[str, list[Callable[[Request], None]]] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Some tests are about clients that hang up early; do not log them."""


def body(
    data: bytes, *, sends: int | None = None, ranges: bool = True, length: bool = True, stalls: bool = False
) -> Callable[[Request], None]:
    """An answer with `data`, or with the range asked for; cut or silent after `sends` bytes."""

    def respond(request: Request) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "") if ranges else None
        start = int(wanted[1]) if wanted else 0
        request.send_response(206 if wanted else 200)
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if length:
            request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        request.wfile.write(data[start:][:sends])
        if stalls:
            request.server.closing.wait(60)

    return respond


def status(code: int, **headers: str) -> Callable[[Request], None]:
    def respond(request: Request) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()

    return respond


def silence(request: Request) -> None:
    """Take the request and never answer."""
    request.server.closing.wait(60)


@contextmanager
def running() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
