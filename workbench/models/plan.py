"""From a source to the places where its files are, in order; Hugging Face and IPFS become https."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from workbench.errors import CidError, DownloadError, MetadataError
from workbench.models import catalog, cid, companion
from workbench.models.catalog import Labels
from workbench.models.labels import named_file, read_json
from workbench.models.repository import Sibling, licence_of, siblings, the_model, variants
from workbench.models.transfer import Item, Place

if TYPE_CHECKING:
    from workbench.models.address import Source
    from workbench.models.fetch import Fetcher
    from workbench.settings import Settings

#: Largest answer about a repository, in bytes.
_TOLD_BYTES = 32_000_000
#: Descriptions that Hugging Face keeps beside a model, and the largest that is taken, in bytes.
_CONFIGS = ("config.json", "preprocessor_config.json")
_CONFIG_BYTES = 16_000_000
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

    def place(self, text: str) -> Place:
        """Return the place of an address that the lock tells of; servers of the settings are known.

        A lock may come from a stranger: it makes no server trusted that the settings do not name.
        """
        if text.startswith(f"{self.given.hf_endpoint}/"):
            return Place(text, self._token(), trusted=True)
        mirrors = [m.rstrip("/") for m in self.given.mirrors if "://" in m]
        return Place(text, trusted=any(text.startswith(f"{m}/") for m in mirrors))

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
        listed = siblings(told)
        if not wanted:
            wanted = the_model(listed, name)
        elif listed and wanted not in listed:
            raise DownloadError(
                source.shown,
                "the repository has no such file",
                f"It has {variants(listed) or 'no .onnx file'}.",
            )
        commit = str(told.get("sha", "")) or revision or "main"

        def item(file: str, name_: str, known: str = "") -> Item:
            facts = listed.get(file, Sibling())
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
        licence = licence_of(told)
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

        if source.kind == "file":
            return self._local(source, hashes, beside)
        item = Item("model.onnx", (Place(source.text),), hashes.get("", ""))
        return Plan(source.shown, source.name, item, beside, metadata={"source": source.shown})

    def _local(
        self, source: Source, hashes: Mapping[str, str], beside: Callable[[str], Item]
    ) -> Plan:
        """Take along what a load of that path reads: its description, labels and configurations.

        Raises
        ------
        MetadataError : what lies beside it is no description
        MissingFileError, UnsafePathError : of the labels that it names
        """
        path = Path(source.text)
        metadata = _written_beside(path)
        sha256 = hashes.get("") or str(metadata.get("sha256") or "").lower()
        labels = _labels_beside(path) if metadata.get("labels") is None else None
        if isinstance(metadata.get("labels"), str):
            labels = Labels(sources=(str(named_file(metadata.pop("labels"), _folders(path))),))
        extras = []
        for name in _CONFIGS:
            file = next((p for p in companion.places(path) if p.name == name and p.is_file()), None)
            if file is not None and file.stat().st_size <= _CONFIG_BYTES:
                extras.append(Item(name, (Place(str(file)),), hashes.get(name, "")))
        return Plan(
            source.shown, source.name, Item("model.onnx", (Place(source.text),), sha256), beside,
            labels, tuple(Place(text) for text in labels.sources) if labels else (),
            extras=tuple(extras), metadata=metadata or {"source": source.shown},
            licence=str(metadata.get("licence", metadata.get("license", ""))),
        )  # fmt: skip


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
    model_id = companion.home(path).name if path.stem == "model" else path.stem
    for place in (path.with_suffix(".json"), path.parent / "metadata" / f"{model_id}.json"):
        if not place.is_file():
            continue
        try:
            told = read_json(place, "metadata file")
        except ValueError as error:
            raise MetadataError(str(place), "(all of it)", str(error), "a JSON object") from error
        if not isinstance(told, Mapping):
            raise MetadataError(str(place), "(all of it)", told, "a JSON object")
        sha256 = told.get("sha256")
        if sha256 is not None and not (isinstance(sha256, str) and _HEX.fullmatch(sha256)):
            raise MetadataError(str(place), "sha256", sha256, "64 hexadecimal digits")
        return dict(told)
    return {}


def _folders(path: Path) -> tuple[Path, ...]:
    """Return where the hub looks for the labels of a local model."""
    return path.parent, path.parent / "labels", path.parent.parent / "data" / "labels"


def _labels_beside(path: Path) -> Labels | None:
    model_id = companion.home(path).name if path.stem == "model" else path.stem
    files = (folder / f"{model_id}_labels.json" for folder in _folders(path))
    return next((Labels(sources=(str(file),)) for file in files if file.is_file()), None)
