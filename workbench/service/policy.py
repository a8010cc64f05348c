"""What the service allows: one frozen value, made of settings and arguments."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from limits import RateLimitItem, parse_many

from workbench.errors import ConfigError, SwitchedOffError, UrlRefusedError
from workbench.service.keyring import Keyring
from workbench.settings import Settings, is_loopback

#: What a request may have besides its pictures, in bytes: names, options, multipart heads.
MARGIN_BYTES = 65_536
#: Largest body that carries no picture, in bytes: metadata with 10,000 labels.
SMALL_BYTES = 1_000_000
#: Deepest nesting of JSON: a tensor takes five levels, metadata a few more.
DEEPEST = 32
#: Longest that the first line and the headers of a request may take, in seconds.
HEAD_S = 10.0
#: Most bytes that they may have and not be complete.
HEAD_BYTES = 65_536
#: Items of one background job.
JOB_ITEMS = 1_000
#: What may lead out of a folder: a part that is a dot or two, a backslash, and both in disguise.
_TRICK = re.compile(r"(?i)%2e|%2f|%5c|\\\\|(?:^|[/?#])\.{1,2}(?:[/?#]|$)")
#: A page that may ask from a browser.
_ORIGIN = re.compile(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?/?")
#: Names under which every service is known on its own machine.
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is allowed, and how much of it.

    Attributes
    ----------
    host : address that is listened on
    keys : who may come in; empty for everyone
    max_image_bytes : of one encoded picture
    max_batch : pictures of one request
    queue_limit : requests that may wait
    batching : whether pictures that wait share runs: on, off, or auto, where that pays
    batch_delay_s : longest that one waits for others while a worker is free
    timeout_s : longest that a request may ask for
    body_s, drain_s : seconds for a body to come, and for the last requests to end
    pull_s : seconds of one download
    rate : requests of one key; None for any number
    hosts : names that a request may ask for; None for any
    origins : pages that may ask from a browser
    sources : what may be fetched on request; empty for nothing
    """

    host: str = "127.0.0.1"
    keys: Keyring = field(default_factory=lambda: Keyring(()))
    max_image_bytes: int = 10_000_000
    max_batch: int = 10
    queue_limit: int = 64
    batching: Literal["auto", "on", "off"] = "auto"
    batch_delay_s: float = 2e-3
    timeout_s: float = 30.0
    body_s: float = 30.0
    drain_s: float = 30.0
    pull_s: float = 3600.0
    rate: RateLimitItem | None = None
    hosts: frozenset[str] | None = frozenset(_LOCAL)
    origins: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Settings, *, keys: Iterable[str] | None = None) -> Policy:
        """Make the policy of some settings.

        Raises
        ------
        ConfigError : it would be open to others without a key, or a setting cannot be
        """
        words = [key.get_secret_value() for key in given.api_keys] if keys is None else [*keys]
        ring = Keyring(words)
        if not ring and not is_loopback(given.host):
            raise ConfigError(
                "API_KEYS", "", f"at least one key, since the service listens on {given.host}",
                "Set API_KEYS, or listen on 127.0.0.1 and put a proxy before it.",
            )  # fmt: skip
        if (given.tls_cert is None) != (given.tls_key is None):
            raise ConfigError("TLS_CERT and TLS_KEY", "one of them", "both, or neither")
        for path in filter(None, (given.tls_cert, given.tls_key)):
            if not Path(path).is_file():
                raise ConfigError("TLS_CERT and TLS_KEY", str(path), "files that are there")
        if given.tls_cert is not None and given.tls_key is not None:
            _try_certificate(given.tls_cert, given.tls_key)
        return cls(
            host=given.host,
            keys=ring,
            max_image_bytes=given.max_image_bytes,
            max_batch=given.max_batch_size,
            queue_limit=given.queue_limit,
            batching=given.dynamic_batching,
            batch_delay_s=given.batch_delay / 1000,
            timeout_s=given.timeout_s,
            body_s=given.body_timeout / 1000,
            drain_s=given.drain_timeout / 1000,
            pull_s=given.download_timeout_s,
            rate=_rate(given.rate_limit),
            hosts=_hosts(given.host, given.allowed_hosts),
            origins=_origins(given.cors_origins),
            sources=_sources(given.pull_sources),
        )

    def json_bytes(self, pictures: int = 1) -> int:
        """Return the largest JSON body: base64 takes four bytes for three; and a margin.

        Some write ``/`` as ``\\/``. One character in 64 is that one, so there is room for twice as
        many backslashes.
        """
        text_bytes = -(-self.max_image_bytes // 3) * 4
        return (text_bytes + -(-text_bytes // 32)) * pictures + MARGIN_BYTES

    def form_bytes(self, pictures: int = 1) -> int:
        """Return the largest multipart body."""
        return self.max_image_bytes * pictures + MARGIN_BYTES

    @property
    def tensor_bytes(self) -> int:
        """The largest body of tensors: as many bytes as the pictures of a batch may have."""
        return self.form_bytes(self.max_batch)

    @property
    def held_bytes(self) -> int:
        """Bodies that are held in memory at a time, in bytes: four of the largest."""
        return 4 * self.largest_body_bytes

    @property
    def largest_body_bytes(self) -> int:
        """The largest body of all: what a proxy before the service must let through."""
        return self.json_bytes(self.max_batch)

    def knows_host(self, name: str) -> bool:
        """Say whether a request may ask for this host (without its port).

        An address in figures cannot be pointed elsewhere by a stranger's name server, so where
        others are served, every address is good.
        """
        name = name.lower().rstrip(".")
        if self.hosts is None or name in self.hosts:
            return True
        return not is_loopback(self.host) and _is_address(name)

    def check_source(self, source: str) -> None:
        """Raise unless a source of models is on the list.

        Raises
        ------
        SwitchedOffError : there is no list
        UrlRefusedError : it is not on it
        """
        if not self.sources:
            raise SwitchedOffError(
                "Fetching models", "no source is allowed",
                "Its operator can allow some with PULL_SOURCES.",
            )  # fmt: skip
        if not any(_within(source, allowed) for allowed in self.sources):
            raise UrlRefusedError(source, "it is not among the sources that are allowed here")


def _within(source: str, allowed: str) -> bool:
    if allowed == "catalogue":
        from workbench.models.catalog import entries

        return source in entries()
    if "@" in source.partition("://")[2].partition("/")[0] or _TRICK.search(source):
        return False
    place = "ipfs:/" if allowed == "ipfs" else allowed.rstrip("/")
    return source == place or source.startswith(f"{place}/")


def _rate(text: str) -> RateLimitItem | None:
    if not text:
        return None
    expected = "a rate such as 600/minute"
    try:
        rates = parse_many(text)
    except ValueError as error:
        raise ConfigError("RATE_LIMIT", text, expected) from error
    if len(rates) > 1:
        raise ConfigError("RATE_LIMIT", text, f"{expected}, and one alone")
    if rates[0].amount < 1:
        raise ConfigError("RATE_LIMIT", text, f"{expected}; without one, leave it empty")
    return rates[0]


def _try_certificate(certificate: Path, key: Path) -> None:
    """Raise ConfigError unless the two files can be served with.

    A key that wants a pass phrase cannot: nobody is there to type it.
    """
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        why = (error.reason or "").lower().replace("_", " ")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    else:
        return
    raise ConfigError(
        "TLS_CERT and TLS_KEY", f"{certificate}, {key}",
        "a certificate and its own key in PEM that need no pass phrase" + (f" ({why})" * bool(why)),
    )  # fmt: skip


def _hosts(host: str, named: Sequence[str]) -> frozenset[str] | None:
    if "*" in named:
        return None
    names = {*_LOCAL, host.lower(), *(name.lower().rstrip(".") for name in named)}
    if not is_loopback(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(names)


def _origins(origins: Sequence[str]) -> tuple[str, ...]:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError("CORS_ORIGINS", origin, "pages such as https://lab.example")
    return tuple(origin.rstrip("/") for origin in origins)


def _sources(sources: Sequence[str]) -> tuple[str, ...]:
    for source in sources:
        if source not in ("catalogue", "ipfs") and not re.match(
            r"(https|hf|ipfs|s3|gs)://[^/\s]+", source
        ):
            raise ConfigError(
                "PULL_SOURCES", source, "catalogue, ipfs, hf://org, ipfs://CID or https://host/path"
            )
    return tuple(sources)


def _is_address(name: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(name)
    except ValueError:
        return False
    return True
