"""A server that misbehaves as it is told to, for tests of everything that fetches."""

from __future__ import annotations

import hashlib
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """What a client asked for, and the connection to answer on.

    ``served`` : how far :func:`held` has sent the file
    """

    method: str
    target: str
    headers: dict[str, str]
    number: int
    connection: Any = field(repr=False)
    served: int | None = None

    @property
    def start(self) -> int:
        """First byte that is asked for; 0 where no range is."""
        text = self.headers.get("range", "bytes=0-")
        return int(text.removeprefix("bytes=").partition("-")[0])

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def wait_until_hung_up(self) -> None:
        """Say nothing until the client has gone: it is the client's clock that ends this."""
        self.connection.settimeout(100)
        self.connection.recv(1)

    def answer(self, body: bytes = b"", status: str = "200 OK", **headers: Any) -> None:
        """Answer as a good server does; a header of None is left out."""
        told: dict[str, Any] = {"Content-Length": len(body), "Connection": "close"}
        told |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        head = "".join(f"{n}: {v}\r\n" for n, v in told.items() if v is not None)
        self.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    def file(self, body: bytes, etag: str | None = '"1"', **headers: Any) -> None:
        """Answer with a file, or the part of it that is asked for."""
        same = self.headers.get("if-range") in (None, etag)
        if "range" in self.headers and same and self.start < len(body):
            place = f"bytes {self.start}-{len(body) - 1}/{len(body)}"
            self.answer(body[self.start :], "206 Partial Content", etag=etag, content_range=place,
                        **headers)  # fmt: skip
        else:
            self.answer(body, etag=etag, **headers)


Route = Callable[[Request], None]


class Faults(socketserver.ThreadingTCPServer):
    """Answers each path by its route, and keeps what it was asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.routes: dict[str, Route] = {}
        self.asked: list[Request] = []
        self.closing = False
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def count(self, path: str) -> int:
        """Tell how often a path was asked for, whatever its query."""
        return sum(r.target.partition("?")[0] == path for r in self.asked)

    def stop(self) -> None:
        if not self.closing:
            self.closing = True
            self.shutdown()
            self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Be quiet: clients hang up in the middle here."""


class _Handler(socketserver.StreamRequestHandler):
    server: Faults

    def handle(self) -> None:
        line = self.rfile.readline(8192).decode("latin-1").split()
        if len(line) < 2:
            return
        headers = {}
        while text := self.rfile.readline(8192).decode("latin-1").strip():
            name, _, value = text.partition(":")
            headers[name.strip().lower()] = value.strip()
        path = line[1].partition("?")[0]
        request = Request(line[0], line[1], headers, self.server.count(path), self.connection)
        self.server.asked.append(request)
        route = self.server.routes.get(line[1]) or self.server.routes.get(path)
        if route is None:
            request.answer(b"no", "404 Not Found")
        else:
            route(request)


def file(body: bytes, **options: Any) -> Route:
    """Serve a file well."""
    return lambda request: request.file(body, **options)


def cut(body: bytes, after: int, times: int = 1, etag: str | None = '"1"') -> Route:
    """Hang up after so many bytes of each of the first answers."""

    def route(request: Request) -> None:
        if request.number >= times:
            request.file(body, etag)
            return
        start = request.start if request.headers.get("if-range") in (None, etag) else 0
        rest = body[start:]
        head = f"HTTP/1.1 {'206 Partial Content' if start else '200 OK'}\r\n"
        head += f"Content-Length: {len(rest)}\r\n" + (f"ETag: {etag}\r\n" if etag else "")
        if start:
            head += f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n"
        request.send(f"{head}\r\n".encode() + rest[:after])

    return route


def trickle(body: bytes, piece: int = 1000, pause_s: float = 0.05) -> Route:
    """Send a file slowly."""

    def route(request: Request) -> None:
        request.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for at in range(0, len(body), piece):
            request.send(body[at : at + piece])
            time.sleep(pause_s)

    return route


def stall(body: bytes, after: int) -> Route:
    """Send a beginning to each who asks, and nothing more."""
    return lambda request: held(body, [after], etag=None)(request)


def held(body: bytes, ends: list[int], etag: str | None = '"1"') -> Route:
    """Send a file as far as the first of ``ends``, and nothing more until the client has gone.

    The next client is sent it as far as the next of them, or to its end when there are none left.
    """
    left = iter(ends)

    def route(request: Request) -> None:
        end = next(left, None)
        if end is None:
            request.file(body, etag)
            return
        same = "range" in request.headers and request.headers.get("if-range") in (None, etag)
        start = request.start if same else 0
        head = f"HTTP/1.1 {'206 Partial Content' if start else '200 OK'}\r\n"
        head += f"Content-Length: {len(body) - start}\r\n"
        head += f"ETag: {etag}\r\n" if etag else ""
        if start:
            head += f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n"
        request.send(f"{head}\r\n".encode() + body[start:end])
        request.served = end
        request.wait_until_hung_up()

    return route


def endless(request: Request) -> None:
    """Send without end, without saying how much."""
    request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"\x08" + b"a" * 65535
    while True:
        request.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


def redirect(place: str, status: str = "302 Found") -> Route:
    return lambda request: request.answer(b"", status, location=place)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
