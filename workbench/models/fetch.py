"""The network: one client that dials what was checked, believes no server, and gives up in time.

Everything that comes from elsewhere comes through here: models, their data files, labels,
descriptions, and pictures that are named by their address. Proxies that the environment names
are not used, and neither are its certificates: the address that is dialled is the one that was
checked. Connections are not kept, so each request is checked anew.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpcore
import httpx

from workbench import __version__
from workbench.errors import (
    CancelledError,
    ConfigError,
    DownloadError,
    DownloadTooLargeError,
    MissingExtraError,
    OfflineError,
    UrlRefusedError,
    WorkbenchError,
)
from workbench.models.guard import Dialler, possible_host
from workbench.settings import Settings, without_credentials
from workbench.stopping import Stop, deadline
from workbench.timing import clock
from workbench.units import count, seconds

#: Longest that a server may be silent, in seconds.
STALL_S = 30.0
#: Redirects that are followed (as many as a browser follows: the Fetch standard says 20).
REDIRECTS = 10
#: How often a transfer that broke off, or a busy server, is tried again.
TRIES = 5
#: Longest that a server is left alone because it asks for that, in seconds: there may be another.
WAIT_S = 120.0
#: First pause between tries in seconds; each is twice the last.
PAUSE_S = 0.5
#: Schemes that fsspec reads, with the extra ``remote``.
BUCKETS = ("s3", "gs")
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
_MOVED = frozenset((301, 302, 303, 307, 308))
_MEANINGS = {
    401: "the server asks who you are (401)",
    403: "the server forbids it (403)",
    404: "there is nothing at that address (404)",
    410: "it is gone (410)",
    451: "it is withheld for legal reasons (451)",
}
_ASKED = {401, 403}
#: Under which name an answer carries the place that it redirects to.
_PLACE = "workbench.place"

_ours: ContextVar[bool] = ContextVar("fetching", default=False)


class _Silence(logging.Filter):
    """Drops what the libraries log of our requests: addresses and headers may hold secrets."""

    def filter(self, _: logging.LogRecord) -> bool:
        return not _ours.get()


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2",
              "httpcore.proxy", "httpcore.socks"):  # fmt: skip
    logging.getLogger(_name).addFilter(_Silence())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be dialled, and how much may come.

    Attributes
    ----------
    allow_http, allow_private : plain http; addresses that are not public
    max_bytes : of all that one fetcher receives
    timeout_s : of all that it does, in seconds
    offline : nothing may be dialled
    trusted : servers that the settings name: dialled as they are written there
    ca_file : certificates that servers are checked with; empty for those of certifi
    """

    allow_http: bool = False
    allow_private: bool = False
    max_bytes: int = 8_000_000_000
    timeout_s: float = 3600.0
    offline: bool = False
    trusted: tuple[str, ...] = field(default=(), repr=False)  # they may hold credentials
    ca_file: str = ""

    @classmethod
    def of(cls, given: Settings, **asked: Any) -> Rules:
        """Return the rules of the settings; what was asked for wins, unless it is None."""
        servers = [given.hf_endpoint, *given.ipfs_gateways]
        servers += [m for m in given.mirrors if m.startswith(("http://", "https://"))]
        rules: dict[str, Any] = {
            "allow_http": given.allow_http,
            "allow_private": given.allow_private,
            "max_bytes": given.max_download_bytes,
            "timeout_s": given.download_timeout_s,
            "offline": given.offline,
            "trusted": tuple(servers),
            "ca_file": str(given.ca_file or ""),
        }
        rules |= {name: value for name, value in asked.items() if value is not None}
        return cls(**rules)

    def origins(self) -> set[tuple[str, str, int]]:
        """Return scheme, host and port of the servers that the settings name."""
        # the names that everyone knows need no trust, and get none
        public = {"huggingface.co", "ipfs.io", "dweb.link", "trustless-gateway.link"}
        found = set()
        for text in self.trusted:
            try:
                url = httpx.URL(text)
                found |= set() if url.host in public else {origin(url)}
            except (httpx.InvalidURL, UnicodeError):  # their words may hold it
                expected = "the address of a server, such as https://example.org"
                raise ConfigError(
                    "A mirror, gateway or endpoint", without_credentials(text), expected
                ) from None
        return found


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Return scheme, host (as it is dialled) and port."""
    port = url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
    return url.scheme, url.raw_host.decode("ascii").lower(), port


def _possible(url: httpx.URL) -> bool:
    """Say whether a server can have that name; httpx reads an international one each time."""
    try:
        return bool(url.host) and possible_host(url.raw_host)
    except UnicodeError:  # idna's
        return False


class _Transport(httpx.BaseTransport):
    """httpcore under httpx, with our own dialling; its errors come through as they are."""

    def __init__(self, dialler: Dialler, context: ssl.SSLContext) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            network_backend=cast("httpcore.NetworkBackend", dialler),
            max_keepalive_connections=0,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        headers = httpx.Headers(answer.headers)
        # redirects are read here alone: httpx looks at each, also where it is to follow none, and
        # raises whatever a place that is no address makes of it
        place = headers.pop("location", "")
        return httpx.Response(
            answer.status,
            headers=headers,
            stream=_Body(answer),
            extensions={**answer.extensions, _PLACE: place},
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class BrokenError(Exception):
    """A transfer that may go better the next time. Never leaves the machinery.

    Attributes
    ----------
    wait_s : how long to wait before; None for a pause that grows
    tries : how often it is worth trying again; None for :data:`TRIES`
    """

    def __init__(self, reason: str, wait_s: float | None = None, tries: int | None = None) -> None:
        self.reason, self.wait_s, self.tries = reason, wait_s, tries
        super().__init__(reason)


#: What the libraries and the system raise when a transfer breaks.
_BREAKS = (httpx.HTTPError, httpx.StreamError, httpcore.ProtocolError, httpcore.NetworkError,
           httpcore.TimeoutException, httpcore.UnsupportedProtocol, OSError)  # fmt: skip


#: Failures that another try seldom mends: how often one is made all the same.
_HOPELESS = ((ConnectionRefusedError, 0), (socket.gaierror, 1))
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)


class Fetcher:
    """Fetches for one purpose, under one set of rules, until a stop or a deadline.

    Parameters
    ----------
    rules : what may be dialled, and how much may come
    stop : ends the work when cancelled

    Examples
    --------
    >>> Fetcher(Rules()).read("https://127.0.0.1/labels.json", limit_bytes=1000)
    Traceback (most recent call last):
    workbench.errors.UrlRefusedError: '127.0.0.1' is refused: it is a loopback address. ...
    """

    def __init__(self, rules: Rules, stop: Stop | None = None) -> None:
        self.rules, self.stop = rules, stop
        self._end_s = deadline(rules.timeout_s)
        self._trusted = rules.origins()
        self._dialler = Dialler(self.tick, allow_private=rules.allow_private)
        self._client: httpx.Client | None = None
        #: bytes of files that are whole, and of those and the one that is coming
        self.whole_bytes = self.received_bytes = 0

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()

    def tick(self) -> None:
        """Raise where it is time to stop.

        Raises
        ------
        CancelledError : someone asked to stop
        DownloadError : the time limit is over
        """
        stop = self.stop
        if stop is not None and stop.cancelled:
            raise CancelledError("The download")
        over = stop is not None and stop.expired
        if over or clock() >= self._end_s:
            limit_s = stop.timeout_s if over and stop is not None else self.rules.timeout_s
            raise DownloadError(
                "The download",
                f"it took longer than the limit of {seconds(limit_s or 0.0)}",
                "What has come is taken up next time. Raise timeout_s= or DOWNLOAD_TIMEOUT.",
                resumes=True,
            )

    @property
    def left_s(self) -> float:
        """Seconds until the time limit."""
        return max(0.0, self._end_s - clock())

    def pause(self, wait_s: float) -> None:
        """Wait, unless it is time to stop."""
        end_s = clock() + wait_s
        while (left_s := end_s - clock()) > 0:
            self.tick()
            (self.stop or Stop()).wait(min(left_s, 0.2))

    def tally(self, number: int, where: str) -> None:
        """Count bytes that came; DownloadTooLargeError once there are too many."""
        self.received_bytes += number
        if self.received_bytes > self.rules.max_bytes:
            raise DownloadTooLargeError(where, self.received_bytes, self.rules.max_bytes)

    # ── one request ───────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def open(
        self, address: str, headers: Mapping[str, str] | None = None, *, trusted: bool = False
    ) -> Iterator[httpx.Response]:
        """Send a request, follow its redirects, and give the answer whose body is still to come.

        Headers that say who you are go to the first server only. ``trusted`` : the address was
        made from a server that the settings name, which is dialled as it is written there; where
        it redirects to is not.

        Raises
        ------
        UrlRefusedError, OfflineError : before anything is dialled
        DownloadError : the answer is no file
        BrokenError : it may be one the next time
        """
        url = self._read(address)
        shown = without_credentials(address)
        if self.rules.offline:
            raise OfflineError(f"Fetching {shown!r}", "Unset OFFLINE, or pass offline=False.")
        sent = {"accept-encoding": "identity", "user-agent": f"workbench/{__version__}"}
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        seen: set[str] = set()
        exempt = origin(url) if trusted and origin(url) in self._trusted else None
        response: httpx.Response | None = None
        mark = _ours.set(True)
        try:
            for _ in range(REDIRECTS + 1):
                self._permit(url, shown, exempt)
                if str(url) in seen:
                    raise DownloadError(shown, "the server redirects in a circle")
                seen.add(str(url))
                response = self._send(url, sent, shown)
                place = str(response.extensions.get(_PLACE, ""))
                if response.status_code not in _MOVED or not place:
                    break
                response.close()
                target = self._join(url, place, shown)
                if origin(target) != origin(url):
                    sent.pop("authorization", None)
                    sent.pop("cookie", None)
                url = target
            else:
                raise DownloadError(shown, f"the server redirects more than {REDIRECTS} times")
            self._judge(response, shown)
            yield response
        finally:
            if response is not None:
                with contextlib.suppress(*_BREAKS):
                    response.close()
            _ours.reset(mark)

    def _read(self, address: str) -> httpx.URL:
        shown = without_credentials(address)
        try:
            url = httpx.URL(address)
            host = url.raw_host
        except (httpx.InvalidURL, UnicodeError, ValueError, TypeError):
            raise UrlRefusedError(shown, "it is no address") from None  # its words may hold it
        if url.scheme not in ("https", "http"):
            raise UrlRefusedError(shown, f"{url.scheme}:// is not fetched", "Use https://.")
        if not host:
            raise UrlRefusedError(shown, "it names no server")
        if not _possible(url):
            raise UrlRefusedError(shown, "no server can have that name")
        return url

    def _permit(self, url: httpx.URL, shown: str, exempt: tuple[str, str, int] | None) -> None:
        """Refuse what the rules forbid; addresses are checked where they are dialled."""
        self._dialler.exempt = None if exempt != origin(url) else exempt[1:]
        if url.scheme == "http" and not self.rules.allow_http and origin(url) != exempt:
            where = without_credentials(str(url))
            via = "" if where == shown else f" (where {shown} redirects to)"
            raise UrlRefusedError(
                where + via,
                "plain http can be read and changed on its way",
                "Use https://, or pass allow_http=True (or set ALLOW_HTTP) where that is meant.",
            )

    def _join(self, url: httpx.URL, place: str, shown: str) -> httpx.URL:
        try:
            target = url.join(place)
            known = target.scheme in ("https", "http") and bool(target.raw_host)
        except (httpx.InvalidURL, UnicodeError, ValueError):
            raise DownloadError(shown, "the server redirects to no address") from None
        if not known:
            scheme = f"{target.scheme}://" if target.scheme else "nowhere"
            raise UrlRefusedError(shown, f"it redirects to {scheme}, which is not fetched")
        if not _possible(target):
            raise DownloadError(shown, "the server redirects to a name that no server can have")
        return target

    def _send(self, url: httpx.URL, headers: dict[str, str], shown: str) -> httpx.Response:
        self.tick()
        stall_s = min(STALL_S, self.left_s)
        if self._client is None:
            self._client = self._connected()
        request = self._client.build_request("GET", url, headers=headers, timeout=stall_s)
        try:
            return self._client.send(request, stream=True, follow_redirects=False)
        except UrlRefusedError as error:
            if without_credentials(str(url)) != shown:
                raise UrlRefusedError(
                    f"{error.url}, where {shown} redirects to,", error.reason, error.hint
                ) from error
            raise
        except WorkbenchError:
            raise
        except _BREAKS as error:
            raise self._broken(error, shown) from error

    def _connected(self) -> httpx.Client:
        try:
            file = self.rules.ca_file
            context = (
                ssl.create_default_context(cafile=file)
                if file
                else httpx.create_ssl_context(trust_env=False)
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("CA_FILE", file, "a file of certificates (PEM)") from error
        return httpx.Client(transport=_Transport(self._dialler, context), trust_env=False)

    def _broken(self, error: BaseException, shown: str) -> BrokenError | DownloadError:
        """Translate what the libraries raise; a certificate that is wrong stays wrong."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                words = cause.verify_message or "it does not fit"
                return DownloadError(shown, f"the server's certificate is not accepted: {words}")
            cause = cause.__cause__
        text = str(error)
        if isinstance(error, TimeoutError | httpcore.TimeoutException):
            return BrokenError("the server is silent", tries=2)
        if "complete message body" in text or "chunked read" in text:
            return BrokenError("the connection ended before the file did")
        if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
            # whoever does not answer at all is not asked for long: there may be another place
            tries = next((n for kind, n in _HOPELESS if isinstance(error, kind)), None)
            if error.errno in _UNREACHABLE:
                tries = 1
            return BrokenError(f"the connection failed ({error.strerror.lower()})", tries=tries)
        # the libraries' own words may hold an address
        kind = type(error).__name__.removesuffix("Error")
        return BrokenError(f"the connection failed ({kind})")

    def _judge(self, response: httpx.Response, shown: str) -> None:
        code = response.status_code
        if code in (200, 206, 416):
            coding = response.headers.get("content-encoding", "identity").strip().lower()
            if coding not in ("", "identity"):
                raise DownloadError(
                    shown,
                    f"the server sends it compressed ({coding[:20]}), which was not asked for and "
                    "is not unpacked: a few bytes may become billions",
                )
            return
        if code in _BUSY:
            name = "too many requests" if code == 429 else "the server is busy or broken"
            raise BrokenError(f"{name} ({code})", _retry_after(response))
        reason = _MEANINGS.get(code, f"the server answers with status {code}")
        raise DownloadError(
            shown, reason, "A token may be needed (HF_TOKEN)." if code in _ASKED else
            "Check the address." if code in (404, 410) else "",
        )  # fmt: skip

    def pieces(self, response: httpx.Response, shown: str) -> Iterator[bytes]:
        """Yield the body as it comes, counted.

        Raises
        ------
        BrokenError : it broke off
        """
        promised = response.headers.get("content-length", "")
        if promised.isdigit() and int(promised) > self.rules.max_bytes - self.received_bytes:
            raise DownloadTooLargeError(shown, int(promised), self.rules.max_bytes)
        try:
            for chunk in response.iter_raw():
                self.tick()
                self.tally(len(chunk), shown)
                yield chunk
        except WorkbenchError:
            raise
        except _BREAKS as error:
            raise self._broken(error, shown) from error

    # ── small things, as a whole ──────────────────────────────────────────────────────────────

    def retrying(
        self, shown: str, act: Callable[[], Any], progress: Callable[[], int] = lambda: 0
    ) -> Any:
        """Do something again while it breaks, with longer and longer pauses.

        ``progress`` : how far it has come; where it has come further, patience begins anew.

        Raises
        ------
        DownloadError : it broke too often in the same place, or is asked to wait too long
        """
        turn, best = 0, progress()
        while True:
            try:
                return act()
            except BrokenError as broken:
                if (now := progress()) > best:
                    turn, best = 0, now
                turn += 1
                if turn > (TRIES if broken.tries is None else min(TRIES, broken.tries)):
                    often = f", {count(turn, 'time')}" if turn > 1 else ""
                    raise DownloadError(shown, f"{broken.reason}{often}") from broken
                pause_s = PAUSE_S * 2 ** (turn - 1) if broken.wait_s is None else broken.wait_s
                self.tick()  # a silence that lasted until the time limit is that
                if broken.wait_s is not None and pause_s >= min(self.left_s, WAIT_S):
                    raise DownloadError(
                        shown,
                        f"{broken.reason}; it asks for {seconds(pause_s)} of peace, and "
                        f"{seconds(min(self.left_s, WAIT_S))} is the most that is waited",
                        "Try again later, or from another place.",
                    ) from broken
                self.pause(pause_s)

    def read(
        self,
        address: str,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        trusted: bool = False,
    ) -> bytes:
        """Return a small file as a whole.

        Raises
        ------
        UrlRefusedError, OfflineError, DownloadError, DownloadTooLargeError
        """
        shown = without_credentials(address)

        def act() -> bytes:
            body = bytearray()
            with self.open(address, headers, trusted=trusted) as response:
                for chunk in self.pieces(response, shown):
                    body.extend(chunk)
                    if len(body) > limit_bytes:
                        raise DownloadTooLargeError(shown, len(body), limit_bytes)
            return bytes(body)

        done: bytes = self.retrying(shown, act)
        return done

    def read_json(
        self,
        address: str,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        trusted: bool = False,
    ) -> Any:
        """Return what a small JSON file holds."""
        data = self.read(address, limit_bytes=limit_bytes, headers=headers, trusted=trusted)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            shown = without_credentials(address)
            raise DownloadError(shown, "the answer is no JSON") from error


def _retry_after(response: httpx.Response) -> float | None:
    """Return how long a busy server asks to be left alone, in seconds."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def bucket_pieces(address: str, tick: Callable[[], None]) -> Iterator[bytes]:
    """Yield a file in a bucket (``s3://``, ``gs://``), through fsspec.

    Whom it dials, and as whom, are fsspec's settings: see s3fs and gcsfs.

    Raises
    ------
    MissingExtraError : the extra ``remote`` is not installed
    DownloadError : the file cannot be read
    """
    scheme, _, path = address.partition("://")
    shown = without_credentials(address)
    try:
        import fsspec

        files = fsspec.filesystem(scheme)
    except ImportError as error:
        raise MissingExtraError("remote", f"reading {scheme}:// addresses") from error
    except Exception as error:  # a stranger's constructor may raise anything
        raise DownloadError(
            shown, f"{scheme} cannot be reached ({type(error).__name__})"
        ) from error
    try:
        with files.open(path, "rb") as source:
            while chunk := source.read(1 << 20):
                tick()
                yield bytes(chunk)
    except (WorkbenchError, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise DownloadError(shown, "there is nothing at that address") from error
    except Exception as error:  # its words may hold credentials
        raise DownloadError(shown, f"the bucket refused it ({type(error).__name__})") from error
