"""Which addresses may be dialled, and the dialling itself: the address checked is the one dialled.

A name is resolved once, every address that it has is checked, and a socket is opened to one of
those: nobody can answer differently in between. Reading is done in short slices, so that a stop
or a deadline is noticed within one.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import inf
from typing import Any

from workbench.errors import UrlRefusedError
from workbench.timing import clock

#: Longest that a blocked read or connect goes on before it looks whether to stop, in seconds.
SLICE_S = 0.2
#: IPv6 addresses that lead to an IPv4 address: through NAT64 (RFC 6052, RFC 8215).
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_HINT = "Pass allow_private=True (or set ALLOW_PRIVATE) where that is meant."


def refusal(address: str) -> str:
    """Say why an address is not dialled; empty for a public one.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) is judged by
    both.

    Examples
    --------
    >>> refusal("127.0.0.1"), refusal("::ffff:10.0.0.8"), refusal("1.1.1.1")
    ('a loopback address', 'a private address', '')
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "no IP address"
    return next(filter(None, map(_kind, (ip, *_inside(ip)))), "")


def _inside(ip: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(ip, IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if any(ip in network for network in _NAT64):
        found.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    if int(ip) >> 32 == 0:  # ::a.b.c.d, out of use
        found.append(IPv4Address(int(ip)))
    return [v4 for v4 in found if v4 is not None]


def _kind(ip: IPv4Address | IPv6Address) -> str:
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None or ip in _NAT64[0]:
            return ""  # judged by what it stands for
        if ip.is_site_local:
            return "a private address"
    kinds = (
        (ip.is_loopback, "a loopback address"),
        (ip.is_link_local, "a link-local address"),
        (ip.is_multicast, "a multicast address"),
        (ip.is_unspecified, "the unspecified address"),
        (ip.is_private, "a private address"),
        (ip.is_reserved, "a reserved address"),
        (not ip.is_global, "an address that is not public"),
    )
    return next((kind for holds, kind in kinds if holds), "")


def possible_host(raw_host: bytes) -> bool:
    """Say whether a server can have that name, or that address.

    Source
    ------
    RFC 1035, 2.3.4: a label has 1 to 63 octets, and a name 255, of which two are not written.
    The underscore is in no host name, but in many of the names that companies give theirs.

    Examples
    --------
    >>> [possible_host(h) for h in (b"a.example", b"::1", b"a b", b"a..b", b"x" * 64 + b".org")]
    [True, True, False, False, False]
    """
    text = raw_host.decode("latin-1")
    with contextlib.suppress(ValueError):
        return bool(ip_address(text.partition("%")[0]))
    labels = text.removesuffix(".").split(".")
    return len(text) <= 253 and all(map(_LABEL.fullmatch, labels))


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, each once, in the order of the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialler:
    """Opens connections for httpcore (its ``NetworkBackend``) to addresses that were checked.

    Parameters
    ----------
    tick : called while waiting; raises where it is time to stop
    allow_private : dial any address

    Attributes
    ----------
    exempt : host and port that the request under way may dial whatever their address is
    """

    def __init__(self, tick: Callable[[], None], *, allow_private: bool = False) -> None:
        self.tick, self.allow_private = tick, allow_private
        self.exempt: tuple[str, int] | None = None

    def _resolved(self, host: str, port: int, end_s: float) -> list[str]:
        """Resolve a name in a thread of its own: the system's resolver cannot be interrupted."""
        told: list[list[str] | BaseException] = []

        def ask() -> None:
            try:
                told.append(resolve(host, port))
            except BaseException as error:  # noqa: BLE001  (raised in the thread that asked)
                told.append(error)

        thread = threading.Thread(target=ask, name="workbench-resolve", daemon=True)
        thread.start()
        while not told:
            thread.join(min(SLICE_S, 0.05) if thread.is_alive() else 0)
            self.tick()
            if clock() >= end_s:
                raise TimeoutError("the name was not resolved in time")
        answer = told[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def checked(self, host: str, port: int, end_s: float = inf) -> list[str]:
        """Return the addresses that may be dialled.

        Raises
        ------
        UrlRefusedError : one of them is not public; a name with two faces is not trusted
        OSError : the name is not known
        """
        addresses = self._resolved(host, port, end_s)
        if self.allow_private or (host.lower(), port) == self.exempt:
            return addresses
        for address in addresses:
            if reason := refusal(address):
                shown = f"{host} ({address})" if host != address else host
                raise UrlRefusedError(shown, f"it is {reason}", _HINT)
        return addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Line:
        """Dial the first address that answers; the arguments are httpcore's."""
        self.tick()
        end_s = clock() + (timeout or 0.0)
        failure: OSError | None = None
        for address in self.checked(host, port, end_s):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            raw = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._connect(raw, (address, port), end_s)
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return Line(raw, self.tick)
            except OSError as error:
                raw.close()
                if isinstance(error, UrlRefusedError):
                    raise
                failure = error
            except BaseException:
                raw.close()
                raise
        raise failure or OSError("the name has no address")

    def _connect(self, raw: socket.socket, place: tuple[str, int], end_s: float) -> None:
        raw.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raw.connect(place)
        while True:
            self.tick()
            left_s = end_s - clock()
            if left_s <= 0:
                raise TimeoutError("the server did not answer in time")
            waiter = select.poll() if hasattr(select, "poll") else None
            if waiter is None:  # Windows
                _, ready, failed = select.select([], [raw], [raw], min(SLICE_S, left_s))
                done = bool(ready or failed)
            else:
                waiter.register(raw, select.POLLOUT)
                done = bool(waiter.poll(1000 * min(SLICE_S, left_s)))
            if done:
                code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                return

    def connect_unix_socket(self, *_: Any, **__: Any) -> Line:
        """Refuse: nothing is fetched through a file."""
        raise UrlRefusedError("a Unix socket", "only TCP is dialled")

    def sleep(self, seconds: float) -> None:
        """Be httpcore's; it is not used without its own retries."""


class Line:
    """One connection (httpcore's ``NetworkStream``) that can be given up while it waits."""

    def __init__(self, raw: socket.socket, tick: Callable[[], None]) -> None:
        self.raw, self.tick = raw, tick

    def _patiently(self, act: Callable[[], Any], timeout: float | None) -> Any:
        end_s = clock() + (timeout or 0.0)
        while True:
            self.tick()
            self.raw.settimeout(max(1e-3, min(SLICE_S, end_s - clock())))
            try:
                return act()
            except (TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                if clock() >= end_s:
                    raise TimeoutError("nothing came any more") from error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come; raises TimeoutError where nothing does."""
        return bytes(self._patiently(lambda: self.raw.recv(max_bytes), timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        while buffer:
            rest = buffer
            sent = self._patiently(lambda: self.raw.send(rest), timeout)  # noqa: B023  (at once)
            buffer = rest[sent:]

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> Line:
        """Begin TLS; the certificate must be that of the name, whatever address was dialled."""
        wrapped = ssl_context.wrap_socket(
            self.raw, server_hostname=server_hostname, do_handshake_on_connect=False
        )
        line = Line(wrapped, self.tick)
        try:
            line._patiently(wrapped.do_handshake, timeout)
        except BaseException:
            wrapped.close()
            raise
        return line

    def close(self) -> None:
        """Hang up."""
        self.raw.close()

    def get_extra_info(self, info: str) -> Any:
        """Tell httpcore about the socket."""
        match info:
            case "socket":
                return self.raw
            case "ssl_object":
                return self.raw if isinstance(self.raw, ssl.SSLSocket) else None
            case "server_addr":
                return self.raw.getpeername()
            case "client_addr":
                return self.raw.getsockname()
            case "is_readable":
                return True  # connections are not used twice
            case _:
                return None
