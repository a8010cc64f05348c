"""What a user writes as a source, told apart without touching the network.

A name of the catalogue, ``https://``, ``hf://org/repo/file`` (or a bare ``org/repo``),
``ipfs://CID/path``, ``s3://`` and ``gs://``, or a path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote, urlsplit

from workbench.errors import (
    CidError,
    ConfigError,
    MissingFileError,
    UnknownModelError,
    UnsafePathError,
    UrlRefusedError,
    abridge,
)
from workbench.models import catalog, cid, store
from workbench.models.fetch import BUCKETS
from workbench.settings import without_credentials

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
#: Names that say nothing about a model: the folder's is taken.
_PLAIN = re.compile(r"(?i)(model|onnx|network|decoder|encoder)([._-]?\w{0,12})?")
#: What the name of a part of a query has in it where that only proves who asks: it differs each
#: time, and belongs in no lock. Words are told apart by their case and by what is no letter.
_SECRET = re.compile(
    r"(?i)x-(amz|goog|oss|cos)-|token|secret|passw|passphrase|credential|signature|session|"
    r"cookie|bearer|authori[sz]ation"
)
_SECRET_WORDS = frozenset(
    ("auth", "oauth", "access", "expires", "policy", "sig", "sign", "hmac", "nonce", "jwt", "sas",
     "pass", "pwd", "pw", "pin", "otp", "login", "sid", "ak", "sk",
     "se", "sp", "sv", "sr", "st", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv")
)  # fmt: skip
#: How often what is left of a query is hashed: a guess at it costs that much.
#: Source: OWASP Password Storage Cheat Sheet, PBKDF2 with HMAC-SHA256 (2023).
_ROUNDS = 600_000
_NOT_HERE = "credentials do not belong in its address"
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """What was asked for, told apart without touching the network.

    Attributes
    ----------
    kind : "catalogue", "web", "hf", "ipfs", "bucket" or "file"
    text : as it is used; it may hold credentials
    name : id that is taken where none is given
    """

    kind: str
    text: str = field(repr=False)
    name: str

    @property
    def shown(self) -> str:
        """The source without credentials."""
        return without_credentials(self.text).removesuffix("?…")

    @property
    def query(self) -> str:
        """A hash of what a query says beside credentials; empty where it says nothing.

        It tells addresses apart and is kept in the lock, so what it was made of must not be
        guessed from it: it is slow to make, salted with the rest of the address, and short, so
        that of many guesses more than one fits.
        """
        if self.kind != "web":
            return ""
        told = [pair for pair in parse_qsl(urlsplit(self.text).query) if not is_secret(pair[0])]
        return _slowly(repr(sorted(told)), self.shown) if told else ""


def is_secret(name: str) -> bool:
    """Say whether that part of a query only proves who asks.

    >>> [is_secret(n) for n in ("api_key", "X-Secret", "accessKey", "pw", "id", "keyword")]
    [True, True, True, True, False, False]
    """
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return bool(_SECRET.search(name)) or any(
        word.lower() in _SECRET_WORDS or word.lower().endswith("key") for word in words
    )


@lru_cache(maxsize=64)
def _slowly(text: str, salt: str) -> str:
    made = hashlib.pbkdf2_hmac("sha256", text.encode(), salt.encode(), _ROUNDS, dklen=4)
    return made.hex()


def tell(source: str | Path) -> Source:
    """Tell what kind of source something is, and the name that its model gets.

    Raises
    ------
    UrlRefusedError : an address of a kind that is not fetched
    CidError : it is no CID
    UnknownModelError, MissingFileError : neither the catalogue nor the disk has it

    Examples
    --------
    >>> tell("hf://org/repo/onnx/model_int8.onnx").name, tell("resnet18-v2-7").kind
    ('repo', 'catalogue')
    """
    if isinstance(source, Path):
        return _file(source)
    if not isinstance(source, str) or not source.strip():
        raise ConfigError("source", source, "a name of the catalogue, an address or a path")
    text = source.strip()
    if scheme := _SCHEME.match(text):
        return _address(text, scheme[1].lower())
    if text in catalog.entries():
        return Source("catalogue", text, text)
    try:
        there = Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        there = False
    if there:
        return _file(Path(text))
    if _REPO.fullmatch(text) and not text.lower().endswith(".onnx"):
        return _address(f"hf://{text}", "hf")
    if store.is_path(text):
        return _file(Path(text))
    raise UnknownModelError(text, tuple(catalog.entries()))


def _file(path: Path) -> Source:
    shown = abridge(without_credentials(str(path)))
    try:
        real = path.expanduser().absolute()
        if real.is_dir() and (real / "model.onnx").is_file():
            real = real / "model.onnx"
        if not real.is_file():
            what = "is a folder; give the .onnx file in it" if real.is_dir() else "does not exist"
            raise MissingFileError(shown, "model file", what)
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error, MissingFileError):
            raise
        raise MissingFileError(shown, "model file", "cannot be read") from error
    return Source("file", str(real), _named(real.stem, real.parent.name))


def _address(text: str, scheme: str) -> Source:
    rest = text.partition("://")[2]
    shown = without_credentials(text)
    if scheme in ("https", "http"):
        try:
            pieces = [p for p in unquote(urlsplit(text).path).split("/") if p]
        except ValueError:  # its words may hold the address
            raise UrlRefusedError(shown, "it is no address") from None
        stem = PurePosixPath(pieces[-1]).stem if pieces else ""
        return Source("web", f"{scheme}://{rest}", _named(stem, *pieces[-2:-1]))
    if scheme == "hf":
        return _hugging(rest.strip("/"), shown)
    if scheme == "ipfs":
        return _interplanetary(rest, shown)
    if scheme in BUCKETS:
        pieces = [p for p in rest.split("/") if p]
        if len(pieces) < 2:
            raise UrlRefusedError(shown, "it names no file in the bucket")
        if "@" in pieces[0]:
            hint = "Give them to the service's own settings (see s3fs and gcsfs)."
            raise UrlRefusedError(shown, _NOT_HERE, hint)
        stem = PurePosixPath(pieces[-1]).stem
        return Source("bucket", f"{scheme}://{rest}", _named(stem, *pieces[-2:-1]))
    if scheme == "file":
        if "@" in rest.partition("/")[0]:
            raise UrlRefusedError(shown, _NOT_HERE, "A file is named by its path alone.")
        return _file(Path(unquote(rest)))
    kinds = "https://, hf://, ipfs://, s3://, gs://, a path or a name of the catalogue"
    raise UrlRefusedError(shown, f"{scheme}:// is not fetched", f"Known are {kinds}.")


def _hugging(rest: str, shown: str) -> Source:
    pieces = [unquote(p) for p in rest.split("/")]
    if len(pieces) < 2 or ".." in pieces or "" in pieces:
        raise UrlRefusedError(shown, "it names no repository", "Write hf://org/repo/file.onnx.")
    repo = "/".join(pieces[:2])
    if not _REPO.fullmatch(repo) or any(c in rest for c in "?#\\"):
        raise UrlRefusedError(shown, "that can be no repository")
    stem = PurePosixPath(pieces[-1]).stem if len(pieces) > 2 else ""
    return Source("hf", f"hf://{rest}", _named(stem, pieces[1].partition("@")[0]))


def _interplanetary(rest: str, shown: str) -> Source:
    pieces = [unquote(p) for p in re.split(r"[?#]", rest)[0].split("/")]
    if "@" in rest.partition("?")[0] and not pieces[0].isalnum():
        hint = "A gateway that asks for them is set by IPFS_GATEWAYS."
        raise UrlRefusedError(shown, _NOT_HERE, hint)
    told = cid.parse(pieces[0])
    path = [p for p in pieces[1:] if p]
    if any(p in (".", "..") or "/" in p or "\\" in p for p in path):
        raise UrlRefusedError(shown, "its path leads out of the folder")
    if told.codec == cid.RAW and path:
        raise CidError(pieces[0], "a raw block is no folder, and has no files")
    stem = PurePosixPath(path[-1]).stem if path else pieces[0]
    text = "/".join((f"ipfs://{pieces[0]}", *path))
    return Source("ipfs", text, _named(stem, pieces[0]))


def _named(*names: str) -> str:
    """Return the first name that says something, fit for an id; empty where none does."""
    fit = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") for name in names]
    fit = [re.sub(r"\.{2,}", ".", name) for name in fit]
    for name in [n for n in fit if n and not _PLAIN.fullmatch(n)] + [n for n in fit if n]:
        try:
            return store.check_id(name)
        except UnsafePathError:
            continue
    return ""


def known_sha256(sha256: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return hash by file name from what a caller gave; the model's is under "".

    Raises
    ------
    ConfigError : something that is no sha256

    Examples
    --------
    >>> known_sha256("SHA256:" + "AB" * 32)[""][:6]
    'ababab'
    """
    told = sha256 if isinstance(sha256, Mapping) else {} if sha256 is None else {"": sha256}
    found = {}
    for name, value in told.items():
        plain = re.sub(r"(?i)^sha256[:-]", "", value.strip()) if isinstance(value, str) else ""
        if not _HEX.fullmatch(plain):
            raise ConfigError("sha256", value, "64 hexadecimal digits")
        found[name] = plain.lower()
    return found
