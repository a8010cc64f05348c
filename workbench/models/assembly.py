"""One pull, from the first byte to the lock: fetched, examined, and only then put in place.

Everything is put together in a folder of its own beside the target (:mod:`workbench.models.part`)
and moved file by file, the model's own last: while it is not there, the model is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    ChecksumError,
    ConfigError,
    DownloadError,
    ExternalDataError,
    FetchError,
    LabelsError,
    MetadataMismatchError,
    MissingFileError,
    WorkbenchError,
)
from workbench.models import gate, lock, placing, store
from workbench.models.evidence import read_spec
from workbench.models.foreign import recognise
from workbench.models.labels import as_labels, named_file, read_json, read_labels
from workbench.models.part import Workshop, not_writable
from workbench.models.placing import Made
from workbench.models.progress import Bar, Shown
from workbench.models.transfer import Item, Place, telling, transfer
from workbench.models.weights import unsafe_location
from workbench.models.whereabouts import inside, reserved
from workbench.settings import without_credentials

if TYPE_CHECKING:
    from workbench.models.catalog import Labels
    from workbench.models.fetch import Fetcher
    from workbench.models.plan import Plan

#: Most data files of one model.
_DATA_FILES = 256
#: Largest file of labels, in bytes.
_LABELS_BYTES = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for, beside the source.

    Attributes
    ----------
    id : name that the model gets; None for the source's own
    sha256 : of the file, or a mapping of file name → sha256
    metadata : fields of its description, or a path to them; they go before the source's
    replace : put it in the place of another model of that name
    renew : ask the source again even where the lock says that it is here
    progress : how it is told
    """

    id: str | None = None
    sha256: str | Mapping[str, str] | None = None
    metadata: Mapping[str, Any] | str | Path | None = None
    replace: bool = False
    renew: bool = False
    progress: Shown = True


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to.

    Attributes
    ----------
    id, path : name and file of the model
    fetched : whether anything was fetched; False where it was here already
    notes : what did not come along, and why
    """

    id: str
    path: Path
    fetched: bool
    notes: tuple[str, ...] = ()


class Assembly:
    """One pull, from the first byte to the lock.

    Parameters
    ----------
    fetcher, plan, shop : who fetches, what from where, and where it is put together
    shelf, name, wish : where it goes, under which name, and what was asked for
    own : the file that is here already and is the right one; None where there is none
    query : see :class:`workbench.models.lock.Entry`
    again : whether a former pull of the same was killed on its way
    """

    def __init__(
        self,
        fetcher: Fetcher,
        plan: Plan,
        shop: Workshop,
        shelf: store.Shelf,
        name: str,
        wish: Wish,
        own: Path | None,
        query: str,
        again: bool = False,
    ) -> None:
        self.own, self.query, self.again = own, query, again
        self.fetcher, self.plan, self.shop, self.shelf = fetcher, plan, shop, shelf
        self.name, self.wish = name, wish
        self.made: list[Made] = []
        self.pinned: Mapping[str, str] = {}
        self.notes: list[str] = []

    def run(self, hashes: Mapping[str, str]) -> Pulled:
        """Fetch, examine, place and lock; raises what :meth:`ModelHub.pull` does."""
        self.pinned = hashes
        try:
            self._model(hashes)
        except WorkbenchError as error:
            raise _reworded(error, self.shop, self.plan.source) from error.__cause__
        path = self._place()
        return Pulled(self.name, path, fetched=True, notes=tuple(self.notes))

    # ── fetching ──────────────────────────────────────────────────────────────────────────────

    def _model(self, hashes: Mapping[str, str]) -> None:
        file = self.shop.folder / "model.onnx"
        try:
            item = self.plan.model
            if self.own is not None:
                item = replace(item, places=(Place(str(self.own)), *item.places))
            self._get(item, "model", look=_is_model, seeded=self.own is None)
            self._data(file)
        except (DownloadError, WorkbenchError) as error:
            if not self._doubtful(error):
                raise
            # what was left by a killed pull had no hash to be judged by: once more, whole
            self.shop.folder.joinpath("model.onnx").unlink(missing_ok=True)
            self.made.clear()
            self._get(self.plan.model, "model", look=_is_model, seeded=False)
            self._data(file)
        for extra in self.plan.extras:
            self._get(extra, "config", look=_is_text)
        unknown = set(hashes) - {""} - {m.target for m in self.made}
        if unknown:
            expected = "names of files that belong to the model"
            raise ConfigError("sha256", sorted(unknown), expected)
        self._describe(file)

    def _doubtful(self, error: WorkbenchError) -> bool:
        parts = [p for p in self.shop.parts if p.path.name == "model.onnx"]
        resumed = bool(parts) and parts[-1].resumed
        return resumed and not self.plan.model.sha256 and not isinstance(error, FetchError)

    def _get(
        self,
        item: Item,
        role: str,
        *,
        look: Callable[[bytes, int | None, str], None],
        seeded: bool = False,
    ) -> Made:
        part = self.shop.part(item.name, seeded=seeded, tick=self.fetcher.tick)
        with Bar(f"{self.name}: {item.name}", self.wish.progress) as bar:
            place = transfer(self.fetcher, item, part, look, bar.told)
        made = Made(
            part.path, item.name, role, part.sha256, part.size, self._listed(place, item),
            validator=part.validator,
        )  # fmt: skip
        self.made.append(made)
        return made

    def _listed(self, place: Place, item: Item) -> tuple[str, ...]:
        """Return the sources of a file as the lock keeps them: the one that had it first."""
        own = "" if self.own is None else str(self.own)
        first = (place.shown,) if place.address != own else ()
        others = [p.shown for p in item.places if p is not place and "://" in p.address]
        return tuple(dict.fromkeys((*first, *others)))

    def _data(self, file: Path) -> None:
        """Fetch the files in which the model keeps its weights, as the gate asks for them."""
        for _ in range(_DATA_FILES):
            try:
                self.facts = gate.examine(file, remember=False)
                self._no_others()
                return
            except ExternalDataError as error:
                have = {made.target for made in self.made}
                reason = unsafe_location(error.location)
                if reason or error.location in have:
                    raise
                if not inside(error.location):
                    raise
                if reason := reserved(error.location):
                    raise ExternalDataError(self.plan.source, error.location, reason) from error
                self._get(self.plan.beside(error.location), "data", look=_is_data)
        raise ExternalDataError(self.plan.source, "…", f"there are more than {_DATA_FILES} of them")

    def _no_others(self) -> None:
        """Refuse weights in a file that is here for another reason, such as a note of a part."""
        fetched = {made.target for made in self.made if made.role == "data"}
        for location in self.facts.external_files:
            if location not in fetched:
                reason = reserved(location) or "no such file was fetched"
                raise ExternalDataError(self.plan.source, location, reason)

    # ── describing ────────────────────────────────────────────────────────────────────────────

    def _describe(self, file: Path) -> None:
        """Write labels and metadata, and weigh them against the graph as a load will."""
        own = mapping_of(self.wish.metadata)
        told = {**self.plan.metadata, **own}
        told |= {"sha256": self.made[0].sha256, "pulled_from": self.plan.source}
        names, made_from = ((), None) if "labels" in own else self._labels()
        if names:
            try:
                self._weigh(file, {**told, "labels": list(names)})
            except MetadataMismatchError as error:
                if error.field != "labels" or self.plan.labels is not None:
                    raise
                self.notes.append(f"The labels of config.json are not used: {error.message}")
                names = ()
        if not names:
            self._weigh(file, told)
        else:
            label_file = f"{self.name}_labels.json"
            told["labels"] = label_file
            self._write(f"labels/{label_file}", "labels", list(names), made_from)
        self._write(f"metadata/{self.name}.json", "metadata", told, told)

    def _weigh(self, file: Path, told: Mapping[str, Any]) -> None:
        folders = tuple(self.shelf.labels_folders())
        spec = read_spec(self.name, file, facts=self.facts, metadata=told, labels_dir=folders)
        if spec.image is not None and "preprocessing" in told:
            spec.pipeline()

    def _write(self, path: str, role: str, value: Any, content: Any) -> None:
        data = written(value)
        # no data file can have taken that name
        source = self.shop.folder / f"{role}-{secrets.token_hex(8)}.json"
        try:
            with source.open("xb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
        except OSError as error:
            raise not_writable(self.shelf.models, error) from error
        sha256 = hashlib.sha256(data).hexdigest()
        self.made.append(Made(source, path, role, sha256, len(data), content=content))

    def _labels(self) -> tuple[tuple[str, ...], Any]:
        """Return the names of the classes, and how they were made."""
        labels = self.plan.labels
        if labels is None:
            return self._config_labels()
        if labels.names:
            return labels.names, {"names": list(labels.names)}
        try:
            data, place = fetch_labels(self.fetcher, labels, self.plan.label_places)
        except (FetchError, MissingFileError) as error:
            self.notes.append(
                f"Its labels could not be had, so answers name numbers: {error}{_way(labels)}"
            )
            return (), None
        sources = [p for p in labels.sources if "://" in p] or [without_credentials(place)]
        facts = {"form": labels.form, "sha256": hashlib.sha256(data).hexdigest()}
        return labels.read(data, place), {**facts, "sources": sources}

    def _config_labels(self) -> tuple[tuple[str, ...], Any]:
        config = next((m for m in self.made if m.target == "config.json"), None)
        if config is None:
            return (), None
        with suppress(ValueError, OSError, KeyError, TypeError):
            told = json.loads(config.source.read_text("utf-8"))["id2label"]
            names = as_labels(told, "config.json")
            if not all(name.upper().startswith("LABEL_") for name in names):
                return names, {"names": list(names)}
        return (), None

    # ── placing ───────────────────────────────────────────────────────────────────────────────

    def _place(self) -> Path:
        """Move everything into place, the model last, and lock it."""
        now = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        entry = lock.Entry(
            id=self.name,
            source=self.plan.source,
            licence=self._licence(),
            pulled=now,
            files=(),
            given={k: v for k, v in mapping_of(self.wish.metadata).items() if k != "sha256"},
            query=self.query,
            pinned=self.pinned,
        )
        return placing.place(
            self.shop, self.made, entry, over=self.wish.replace or self.wish.renew,
            again=self.again,
        )  # fmt: skip

    def _licence(self) -> str:
        metadata = next(m.content for m in self.made if m.role == "metadata")
        told = metadata.get("licence", metadata.get("license", "")) or self.plan.licence
        return str(told or "not stated")


def _way(labels: Labels) -> str:
    """Say how labels that are missing can be had later."""
    name = next((s.rpartition("/")[2] for s in labels.sources if "://" in s), "")
    mirror = f" A mirror has them as {name}, or as labels/{name}." if name else ""
    return f"{mirror} Pulling it again fetches what is missing."


def written(value: Any) -> bytes:
    """Return a value as the JSON file that is written of it: the same bytes every time."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def fetch_labels(fetcher: Fetcher, labels: Labels, places: tuple[Place, ...]) -> tuple[bytes, str]:
    """Return a file of labels from the first place that has the right one.

    Raises
    ------
    ChecksumError : somewhere it was another one, and nowhere the right one
    """
    failures: list[WorkbenchError] = []
    for place in places:
        try:
            data = _small(fetcher, place)
            seen = hashlib.sha256(data).hexdigest()
            if labels.sha256 and seen != labels.sha256:
                raise ChecksumError(place.shown, labels.sha256, seen)
            return data, place.address
        except (FetchError, ChecksumError, MissingFileError) as error:
            failures.append(error)
    raise telling(failures) if failures else DownloadError("The labels", "no place is known")


def _small(fetcher: Fetcher, place: Place) -> bytes:
    if place.address.startswith(("http://", "https://")):
        return fetcher.read(
            place.address, limit_bytes=_LABELS_BYTES, headers=dict(place.headers),
            trusted=place.trusted,
        )  # fmt: skip
    path = Path(place.address)
    try:
        if path.stat().st_size > _LABELS_BYTES:
            raise LabelsError(place.shown, "the file is too large")
        return path.read_bytes()
    except OSError as error:
        raise MissingFileError(str(path), "labels file", "cannot be read") from error


def mapping_of(metadata: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    """Return the fields of a description that a caller gave, as they are written.

    Labels that it names lie beside it, where it is a file; they are taken into it.
    """
    if metadata is None:
        return {}
    beside: Path | None = None
    if isinstance(metadata, (str, Path)):
        shown = without_credentials(str(metadata))
        if "://" in str(metadata) or shown != str(metadata):
            raise ConfigError("metadata", shown, "a path or a mapping: no address is fetched")
        try:
            beside = Path(metadata).expanduser()
            metadata = read_json(beside, "metadata file")
        except ValueError as error:
            if isinstance(error, WorkbenchError):
                raise
            raise ConfigError("metadata", str(error), "a JSON object") from error
    if not isinstance(metadata, Mapping) or not all(isinstance(k, str) for k in metadata):
        raise ConfigError("metadata", metadata, "a mapping of names to values")
    try:
        told: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError("metadata", metadata, f"values that fit JSON ({error})") from error
    if beside is not None and isinstance(told.get("labels"), str):
        with suppress(MissingFileError):  # then it is one of the shelf's
            folders = (beside.parent, beside.parent / "labels", beside.parent.parent / "labels")
            told["labels"] = list(read_labels(named_file(told["labels"], folders)))
    return told


def _reworded(error: WorkbenchError, shop: Workshop, source: str) -> WorkbenchError:
    """Let an error speak of the source in place of a folder that is gone by now."""
    old = str(shop.folder / "model.onnx")
    for shown in (old, str(shop.folder)):
        error.message = error.message.replace(shown, source)
        error.hint = error.hint.replace(shown, source)
    error.args = (error.message, *error.args[1:])
    if getattr(error, "where", "") == old:
        error.__dict__["where"] = source
    return error


def _is_model(head: bytes, size_bytes: int | None, shown: str) -> None:
    """Raise where the first bytes are those of something else."""
    found = recognise(head, len(head) if size_bytes is None else size_bytes)
    if found and not head.startswith(b"\x08"):
        raise DownloadError(shown, f"what came is no ONNX model: {found[0]}", found[1])


def _is_data(head: bytes, size_bytes: int | None, shown: str) -> None:
    """Raise where weights turn out to be a page, or a pointer to the file."""
    found = recognise(head, len(head) if size_bytes is None else size_bytes)
    if found and ("HTML" in found[0] or "Git LFS" in found[0]):
        raise DownloadError(shown, f"what came is no file of weights: {found[0]}", found[1])


def _is_text(head: bytes, size_bytes: int | None, shown: str) -> None:
    _is_data(head, size_bytes, shown)
