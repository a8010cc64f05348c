"""From what a user writes to where the bytes are: sources become places, in order.

A name of the catalogue, ``https://``, ``hf://org/repo/file`` (or a bare ``org/repo``),
``ipfs://CID/path``, ``s3://`` and ``gs://``, or a path. Hugging Face and IPFS become https here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from workbench.errors import (
    CidError,
    ConfigError,
    DownloadError,
    MissingFileError,
    UnknownModelError,
    UnsafePathError,
    UrlRefusedError,
    abridge,
)
from workbench.models import catalog, cid, store
from workbench.models.catalog import Labels
from workbench.models.fetch import BUCKETS, Fetcher
from workbench.models.transfer import Item, Place
from workbench.settings import Settings, without_credentials
from workbench.units import size

#: Largest answer about a repository, in bytes.
_TOLD_BYTES = 32_000_000
#: Descriptions that Hugging Face keeps beside a model, and the largest that is taken, in bytes.
_CONFIGS = ("config.json", "preprocessor_config.json")
_CONFIG_BYTES = 16_000_000
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
#: Names that say nothing about a model: the folder's is taken.
_PLAIN = re.compile(r"(?i)(model|onnx|network|decoder|encoder)([._-]?\w{0,12})?")
#: Parts of a query that only prove who asks: they differ each time, and belong in no lock.
_SECRET = re.compile(
    r"(?i)(x-(amz|goog|oss|cos)-|sig|token|access|auth|key|policy|expires|credential|secret|"
    r"password|se$|sp$|sv$|sr$|st$|spr$|skoid|sktid|skt|ske|sks|skv)"
)
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a model and what belongs to it are to be had.

    Attributes
    ----------
    source : what was asked for, without credentials: what the lock remembers
    name : id that is taken where none is given
    model : the file
    beside : the item of a file that lies beside the model, by its relative path
    labels, extras : names of classes, and descriptions that come along
    metadata : fields of its description
    licence : as its source says; empty where it does not
    """

    source: str
    name: str
    model: Item
    beside: Callable[[str], Item]
    labels: Labels | None = None
    label_places: tuple[Place, ...] = ()
    extras: tuple[Item, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""


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
        """A hash of what a query says beside credentials; empty where it says nothing."""
        if self.kind != "web":
            return ""
        told = [pair for pair in parse_qsl(urlsplit(self.text).query) if not _SECRET.match(pair[0])]
        return hashlib.sha256(repr(sorted(told)).encode()).hexdigest()[:16] if told else ""


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
    try:
        real = path.expanduser().absolute()
        if real.is_dir() and (real / "model.onnx").is_file():
            real = real / "model.onnx"
        if not real.is_file():
            what = "is a folder; give the .onnx file in it" if real.is_dir() else "does not exist"
            raise MissingFileError(abridge(str(path)), "model file", what)
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error, MissingFileError):
            raise
        raise MissingFileError(abridge(str(path)), "model file", "cannot be read") from error
    return Source("file", str(real), _named(real.stem, real.parent.name))


def _address(text: str, scheme: str) -> Source:
    rest = text.partition("://")[2]
    shown = without_credentials(text)
    if scheme in ("https", "http"):
        pieces = [p for p in unquote(urlsplit(text).path).split("/") if p]
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
            raise UrlRefusedError(shown, "credentials do not belong in its address", hint)
        stem = PurePosixPath(pieces[-1]).stem
        return Source("bucket", f"{scheme}://{rest}", _named(stem, *pieces[-2:-1]))
    if scheme == "file":
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
    """
    told = sha256 if isinstance(sha256, Mapping) else {} if sha256 is None else {"": sha256}
    for value in told.values():
        if not isinstance(value, str) or not _HEX.fullmatch(value.removeprefix("sha256:")):
            raise ConfigError("sha256", value, "64 hexadecimal digits")
    return {name: value.removeprefix("sha256:").lower() for name, value in told.items()}


class Planner:
    """Makes plans from sources; Hugging Face is asked what a repository has.

    Parameters
    ----------
    fetcher : asks
    given : mirrors, gateways, endpoint and token
    """

    def __init__(self, fetcher: Fetcher, given: Settings) -> None:
        self.fetcher, self.given = fetcher, given

    def plan(self, source: Source, hashes: Mapping[str, str]) -> Plan:
        """Return where a model is to be had; ``hashes`` are those that the caller knows."""
        match source.kind:
            case "catalogue":
                return self._catalogued(source)
            case "hf":
                return self._hf(source, hashes)
            case "ipfs":
                return self._ipfs(source, hashes)
            case _:
                return self._plain(source, hashes)

    # ── the catalogue ─────────────────────────────────────────────────────────────────────────

    def _catalogued(self, source: Source) -> Plan:
        entry = catalog.entries()[source.text]
        names = (
            entry.file,
            f"{entry.id}.onnx",
            f"{entry.id}/{entry.file}",
            f"{entry.id}/model.onnx",
        )
        places = self._mirrored(names, entry.size_bytes)
        for text in entry.sources:
            places += self._direct(text)
        labels = entry.labels
        found: list[Place] = []
        if labels is not None and labels.sources:
            file = labels.sources[0].rpartition("/")[2]
            found = self._mirrored((file, f"labels/{file}"), labels.size_bytes)
            for text in labels.sources:
                found += self._direct(text)
        item = Item("model.onnx", tuple(places), entry.sha256, entry.size_bytes)
        return Plan(
            source.text, entry.id, item, _nothing_beside(entry.id), labels, tuple(found),
            metadata=entry.described(), licence=entry.licence,
        )  # fmt: skip

    def _mirrored(self, names: tuple[str, ...], size_bytes: int | None) -> list[Place]:
        places = []
        for mirror in self.given.mirrors:
            if mirror.startswith(("https://", "http://")):
                base = mirror.rstrip("/")
                places += [Place(f"{base}/{quote(n)}", trusted=True) for n in names[::2]]
            else:
                folder = Path(mirror.removeprefix("file://")).expanduser()
                places += [Place(str(p)) for p in catalog.in_mirror(folder, names, size_bytes)]
        return places

    def _direct(self, text: str) -> list[Place]:
        """Return the places of a source whose hash is known already."""
        if text.startswith("hf://"):
            org, repo, *path = text.removeprefix("hf://").split("/")
            return [self._resolved(f"{org}/{repo}", "main", "/".join(path))]
        if text.startswith("ipfs://"):
            return list(self._gateways(text))
        return [Place(text)]

    # ── Hugging Face ──────────────────────────────────────────────────────────────────────────

    def _token(self) -> tuple[tuple[str, str], ...]:
        token = self.given.hf_token
        return () if token is None else (("authorization", f"Bearer {token.get_secret_value()}"),)

    def _resolved(self, repo: str, revision: str, path: str) -> Place:
        where = f"{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        return Place(f"{self.given.hf_endpoint}/{where}", self._token(), trusted=True)

    def _hf(self, source: Source, hashes: Mapping[str, str]) -> Plan:
        org, repo, *path = source.text.removeprefix("hf://").split("/")
        repo, _, revision = repo.partition("@")
        name = f"{org}/{repo}"
        wanted = unquote("/".join(path))
        try:
            told = self._about(name, revision)
        except DownloadError:
            if not wanted:
                raise
            told = {}  # a mirror that only has files
        listed = _siblings(told)
        if not wanted:
            wanted = _one_of(listed, name)
        elif listed and wanted not in listed:
            raise DownloadError(
                source.shown,
                "the repository has no such file",
                f"It has {_variants(listed) or 'no .onnx file'}.",
            )
        commit = str(told.get("sha", "")) or revision or "main"

        def item(file: str, name_: str, known: str = "") -> Item:
            facts = listed.get(file, _Sibling())
            place = self._resolved(name, commit, file)
            sha256 = known or facts.sha256
            return Item(name_, (place,), sha256, facts.size_bytes, facts.git_oid)

        folder = str(PurePosixPath(wanted).parent).removeprefix(".")

        def beside(location: str) -> Item:
            file = f"{folder}/{location}" if folder else location
            if listed and file not in listed:
                raise DownloadError(source.shown, f"the repository has no {file!r}")
            return item(file, location, hashes.get(location, ""))

        extras = []
        for config in _CONFIGS:
            places = (f"{folder}/{config}" if folder else config, config)
            file = next((p for p in dict.fromkeys(places) if p in listed), "")
            if file and (listed[file].size_bytes or 0) <= _CONFIG_BYTES:
                extras.append(item(file, config))
        licence = _licence(told)
        metadata = {"source": source.shown, **({"licence": licence} if licence else {})}
        return Plan(
            source.shown, source.name, item(wanted, "model.onnx", hashes.get("", "")), beside,
            extras=tuple(extras), metadata=metadata, licence=licence,
        )  # fmt: skip

    def _about(self, repo: str, revision: str) -> dict[str, Any]:
        """Ask what a repository has: its files with sizes and hashes, its commit, its licence.

        Source
        ------
        https://huggingface.co/docs/hub/api: ``/api/models/{repo}`` with ``blobs=true`` gives
        ``sha``, ``tags`` and ``siblings`` (``rfilename``, ``size``, ``blobId``, ``lfs`` with
        ``sha256`` and ``size``); ``/api/models/{repo}/tree/{revision}`` gives ``path``,
        ``size``, ``oid`` and ``lfs`` with ``oid``.
        """
        base = f"{self.given.hf_endpoint}/api/models/{quote(repo)}"
        at = f"{base}/revision/{quote(revision, safe='')}" if revision else base
        try:
            told = self._ask(f"{at}?blobs=true")
            if isinstance(told, dict) and isinstance(told.get("siblings"), list):
                return told
        except DownloadError as error:
            first = error
        else:
            first = DownloadError(f"hf://{repo}", "the answer lists no files")
        try:
            tree = self._ask(f"{base}/tree/{quote(revision or 'main', safe='')}?recursive=true")
        except DownloadError as error:
            raise first from error
        if not isinstance(tree, list):
            raise first
        return {"siblings": tree}

    def _ask(self, address: str) -> Any:
        return self.fetcher.read_json(
            address, limit_bytes=_TOLD_BYTES, headers=dict(self._token()), trusted=True
        )

    # ── IPFS ──────────────────────────────────────────────────────────────────────────────────

    def _gateways(self, text: str) -> tuple[Place, ...]:
        name, *path = text.removeprefix("ipfs://").split("/")
        told = cid.parse(name)
        steps = "".join(f"/{quote(p)}" for p in path)
        return tuple(
            Place(f"{gateway}/ipfs/{name}{steps}", trusted=True, cid=told, path=tuple(path))
            for gateway in self.given.ipfs_gateways
        )

    def _ipfs(self, source: Source, hashes: Mapping[str, str]) -> Plan:
        name, *path = source.text.removeprefix("ipfs://").split("/")
        told = cid.parse(name)
        sha256 = hashes.get("", "")
        readable = told.codec in (cid.RAW, cid.DAG_PB)
        if not (readable and told.checkable) and not sha256:
            raise CidError(
                name, f"its blocks cannot be checked here ({told.described}): give sha256= as well"
            )

        def beside(location: str) -> Item:
            if not path:
                raise DownloadError(
                    source.shown, f"nothing lies beside it, and it needs {location!r}"
                )
            near = "/".join((f"ipfs://{name}", *path[:-1], *location.split("/")))
            return Item(location, self._gateways(near), hashes.get(location, ""))

        item = Item("model.onnx", self._gateways(source.text), sha256)
        return Plan(source.shown, source.name, item, beside, metadata={"source": source.shown})

    # ── servers, buckets, disks ───────────────────────────────────────────────────────────────

    def _plain(self, source: Source, hashes: Mapping[str, str]) -> Plan:
        def beside(location: str) -> Item:
            return Item(location, (Place(_near(source, location)),), hashes.get(location, ""))

        item = Item("model.onnx", (Place(source.text),), hashes.get("", ""))
        metadata: dict[str, Any] = {"source": source.shown}
        if source.kind == "file":
            metadata = _written_beside(Path(source.text)) or metadata
        labels = _labels_beside(Path(source.text)) if source.kind == "file" else None
        places = tuple(Place(text) for text in labels.sources) if labels else ()
        return Plan(
            source.shown, source.name, item, beside, labels, places, metadata=metadata,
            licence=str(metadata.get("licence", metadata.get("license", ""))),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sibling:
    sha256: str = ""
    size_bytes: int | None = None
    git_oid: str = ""


def _siblings(told: Mapping[str, Any]) -> dict[str, _Sibling]:
    """Return the files of a repository by path, from either answer of the Hub."""
    found = {}
    for entry in told.get("siblings", ()):
        if not isinstance(entry, Mapping) or entry.get("type") == "directory":
            continue
        path = entry.get("rfilename", entry.get("path"))
        told_lfs = entry.get("lfs")
        lfs = told_lfs if isinstance(told_lfs, Mapping) else {}
        sha256 = str(lfs.get("sha256", lfs.get("oid", ""))).removeprefix("sha256:")
        git = str(entry.get("blobId", entry.get("oid", "")) or "")
        length = lfs.get("size", entry.get("size"))
        if isinstance(path, str) and path:
            found[path] = _Sibling(
                sha256.lower() if _HEX.fullmatch(sha256) else "",
                length if type(length) is int and length >= 0 else None,
                git if re.fullmatch(r"[0-9a-f]{40}", git) and not lfs else "",
            )
    return found


def _one_of(listed: Mapping[str, _Sibling], repo: str) -> str:
    models = [path for path in listed if path.lower().endswith(".onnx")]
    if len(models) == 1:
        return models[0]
    shown = f"hf://{repo}"
    if not models:
        raise DownloadError(
            shown, "the repository has no .onnx file", "Export it, or name another."
        )
    raise DownloadError(
        shown,
        f"it has {len(models)} ONNX files, and which one is meant is not clear",
        f"Name one: {_variants(listed, f'{shown}/')}.",
    )


def _variants(listed: Mapping[str, _Sibling], before: str = "") -> str:
    models = sorted(path for path in listed if path.lower().endswith(".onnx"))
    told = []
    for path in models[:20]:
        length = listed[path].size_bytes
        told.append(f"{before}{path}" + (f" ({size(length)})" if length is not None else ""))
    more = f" (and {len(models) - 20} more)" if len(models) > 20 else ""
    return ", ".join(told) + more


def _licence(told: Mapping[str, Any]) -> str:
    card = told.get("cardData")
    stated = card.get("license") if isinstance(card, Mapping) else None
    if isinstance(stated, str):
        return stated
    tags = told.get("tags")
    names = [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []
    return next((t.partition(":")[2] for t in names if t.startswith("license:")), "")


def _nothing_beside(name: str) -> Callable[[str], Item]:
    def beside(location: str) -> Item:
        raise DownloadError(name, f"the catalogue knows of no file {location!r} beside it")

    return beside


def _near(source: Source, location: str) -> str:
    """Return the address of a file beside another; a query belongs to the one it was given for."""
    if source.kind == "file":
        return str(Path(source.text).parent / location)
    if source.kind == "bucket":
        return f"{source.text.rpartition('/')[0]}/{location}"
    parts = urlsplit(source.text)
    folder = parts.path.rpartition("/")[0]
    return urlunsplit((parts.scheme, parts.netloc, f"{folder}/{quote(location)}", "", ""))


def _written_beside(path: Path) -> dict[str, Any]:
    """Return the description that lies beside a local model, as the hub looks for it."""
    from workbench.models.labels import read_json

    model_id = path.parent.name if path.stem == "model" else path.stem
    for place in (path.with_suffix(".json"), path.parent / "metadata" / f"{model_id}.json"):
        if place.is_file():
            try:
                told = read_json(place, "metadata file")
            except ValueError:
                return {}
            return dict(told) if isinstance(told, Mapping) and "model_type" in told else {}
    return {}


def _labels_beside(path: Path) -> Labels | None:
    model_id = path.parent.name if path.stem == "model" else path.stem
    for folder in (path.parent, path.parent / "labels", path.parent.parent / "data" / "labels"):
        file = folder / f"{model_id}_labels.json"
        if file.is_file():
            return Labels(sources=(str(file),))
    return None
