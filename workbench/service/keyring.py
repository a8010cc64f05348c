"""The keys that open the service: kept as hashes, compared in the same time whatever is sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from workbench.errors import ConfigError

#: Shortest key that is taken, in characters: 16 random ones of base64 are 96 bits.
SHORTEST = 16
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,31}):(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    digest: bytes


class Keyring:
    """Keys by name. What was given is forgotten at once: only SHA-256 digests stay in memory.

    Parameters
    ----------
    keys : each ``key`` or ``name:key``; none at all opens the service to everyone

    Raises
    ------
    ConfigError : a key is too short to be one, or two have one name

    Examples
    --------
    >>> ring = Keyring(["ann:correct-horse-battery"])
    >>> ring.name_of("correct-horse-battery"), ring.name_of("ann:correct-horse-battery")
    ('ann', None)
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys: list[_Key] = []
        for number, text in enumerate(keys, 1):
            named = _NAMED.fullmatch(text)
            name, key = (named[1], named[2]) if named else (f"key-{number}", text)
            if len(key) < SHORTEST:
                raise ConfigError(
                    "API_KEYS", f"(a key of {len(key)} characters)",
                    f"keys of at least {SHORTEST} characters",
                    "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(24))'",
                )  # fmt: skip
            if any(other.name == name for other in self._keys):
                raise ConfigError("API_KEYS", name, "each name once")
            self._keys.append(_Key(name, _digest(key)))

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(key.name for key in self._keys)

    def name_of(self, sent: str) -> str | None:
        """Return the name of a key, or None: every key is compared, and none of them early."""
        digest = _digest(sent)
        found: str | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.name
        return found

    def holder(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the name of the key that a request was sent with, or None.

        ``Authorization: Bearer KEY``, ``X-API-Key: KEY``, or the password of ``Authorization:
        Basic`` (which browsers ask for; the user's name is of no matter).
        """
        for name, value in headers:
            text = value.decode("latin-1")
            if name == b"x-api-key":
                return self.name_of(text.strip())
            if name == b"authorization":
                scheme, _, rest = text.strip().partition(" ")
                if scheme.lower() == "bearer":
                    return self.name_of(rest.strip())
                if scheme.lower() == "basic":
                    return self.name_of(_password(rest.strip()))
        return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
