"""Pulling a model: fetched, examined, and only then put in place, with all that belongs to it.

Everything is put together in a folder of its own beside the target (:mod:`workbench.models.part`)
and moved file by file, the model's own last: while it is not there, the model is not there.
"""

from __future__ import annotations

import hashlib
import json
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
from workbench.models import gate, lock, store
from workbench.models.address import Plan, Planner, Source, known_sha256, tell
from workbench.models.evidence import read_spec
from workbench.models.fetch import Fetcher, Rules
from workbench.models.foreign import recognise
from workbench.models.labels import as_labels, read_json
from workbench.models.part import Workshop, not_writable, settle
from workbench.models.transfer import Item, Place, telling, transfer
from workbench.models.weights import unsafe_location
from workbench.settings import Settings, without_credentials
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.models.catalog import Labels
    from workbench.stopping import Stop

#: Most data files of one model.
_DATA_FILES = 256
#: Largest file of labels, in bytes.
_LABELS_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file has come.

    Attributes
    ----------
    name : of the file
    done_bytes, total_bytes : None where the server does not say how many there will be
    rate_bytes : a second, so far; nan at the very beginning
    """

    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes: float

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at this rate; None where that cannot be told."""
        if self.total_bytes is None or not self.rate_bytes > 0:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.rate_bytes


#: Shown as a bar (True), not at all (False), or told to a function.
Shown = bool | Callable[[Progress], None]


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


@dataclass(slots=True)
class _Made:
    """A file that is ready to be moved into place."""

    source: Path
    target: str
    role: str
    sha256: str
    size_bytes: int
    places: tuple[str, ...] = ()
    content: Any = None
    validator: str = ""


def pull(
    shelf: store.Shelf,
    source: str | Path,
    wish: Wish,
    rules: Rules,
    given: Settings,
    stop: Stop | None = None,
) -> Pulled:
    """Put a model on a shelf; see :meth:`workbench.ModelHub.pull`."""
    told = tell(source)
    hashes = known_sha256(wish.sha256)
    name = told.name if wish.id is None else store.check_id(wish.id)
    if not name:
        raise ConfigError("id", wish.id, "a name for the model, since its source gives none")
    here = _here(shelf, told, name, hashes, wish)
    if here is not None:
        return here
    written_sha256 = str(_mapping(wish.metadata).get("sha256") or "").lower()
    if written_sha256:
        hashes.setdefault("", written_sha256)
    if written_sha256 and hashes[""] != written_sha256:
        raise ConfigError("sha256", hashes[""], f"the one in metadata=, {written_sha256}")
    entry = lock.read(shelf.models).get(name)
    if wish.metadata is None and entry is not None and _came_from(entry, told):
        wish = replace(wish, metadata=entry.given)
    fetcher = Fetcher(rules, stop)
    try:
        plan = Planner(fetcher, given).plan(told, hashes)
        known = hashes.get("") or _locked_sha256(shelf, name, told, wish)
        if known and hashes.get("") and plan.model.sha256 not in ("", known):
            raise ChecksumError(told.shown, known, plan.model.sha256)
        if known:
            plan = replace(plan, model=replace(plan.model, sha256=known))
        own = _own(shelf, name, plan, wish)
        with Workshop(shelf.models, f"{name}\n{told.shown}") as shop:
            return _Assembly(fetcher, plan, shop, shelf, name, wish, own, told.query).run(hashes)
    finally:
        fetcher.close()


def _locked_sha256(shelf: store.Shelf, name: str, told: Source, wish: Wish) -> str:
    """Return what the lock demands of a model that is pulled again from the same source."""
    entry = lock.read(shelf.models).get(name)
    again = entry is not None and _came_from(entry, told) and not wish.renew
    return entry.model.sha256 if entry is not None and again else ""


def _came_from(entry: lock.Entry, told: Source) -> bool:
    return (entry.source, entry.query) == (told.shown, told.query)


def _here(
    shelf: store.Shelf, told: Source, name: str, hashes: Mapping[str, str], wish: Wish
) -> Pulled | None:
    """Answer from the lock where it can; refuse to overwrite what was not pulled from here."""
    entry = lock.read(shelf.models).get(name)
    path = _there(shelf, name)
    if entry is not None and not wish.renew:
        same = _came_from(entry, told)
        if same and hashes.get("", entry.model.sha256) == entry.model.sha256:
            findings = lock.examine(shelf.models, lock.guarded_of(entry))
            if all(f.state == "right" for f in findings) and wish.metadata is None:
                return Pulled(name, shelf.models / entry.model.path, fetched=False)
        elif path is not None and not wish.replace:
            raise ConfigError(
                "id", name, "a name that is free",
                f"That model was pulled from {entry.source!r}. Give another id=, or replace=True.",
            )  # fmt: skip
    elif entry is None and path is not None and not wish.replace and not _ours(shelf, name, told):
        known = hashes.get("")
        if not (known and lock.sha256_of(path) == known) and told.kind != "catalogue":
            raise ConfigError(
                "id", name, "a name that is free",
                f"{path} was not pulled. Give another id=, or replace=True.",
            )  # fmt: skip
    return None


def _ours(shelf: store.Shelf, name: str, told: Source) -> bool:
    """Say whether a killed pull of the same source has put the model in place."""
    with suppress(WorkbenchError, ValueError, OSError):
        facts = read_json(shelf.models / "metadata" / f"{name}.json", "metadata file")
        return isinstance(facts, Mapping) and facts.get("pulled_from") == told.shown
    return False


def _there(shelf: store.Shelf, name: str) -> Path | None:
    places = (shelf.models / f"{name}.onnx", shelf.models / name / "model.onnx")
    return next((p for p in places if p.is_file()), None)


def _own(shelf: store.Shelf, name: str, plan: Plan, wish: Wish) -> Path | None:
    """Return the file that is here already where it is the right one.

    Raises
    ------
    ConfigError : it is another one, and was not pulled
    """
    path = _there(shelf, name)
    if path is None or not plan.model.sha256:
        return None
    if lock.sha256_of(path) == plan.model.sha256:
        return path
    if not wish.replace and name not in lock.read(shelf.models):
        raise ConfigError(
            "id", name, "a name that is free",
            f"{path} was not pulled, and is another file. Give another id=, or replace=True.",
        )  # fmt: skip
    return None


class _Assembly:
    """One pull, from the first byte to the lock."""

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
    ) -> None:
        self.own, self.query = own, query
        self.fetcher, self.plan, self.shop, self.shelf = fetcher, plan, shop, shelf
        self.name, self.wish = name, wish
        self.made: list[_Made] = []
        self.notes: list[str] = []

    def run(self, hashes: Mapping[str, str]) -> Pulled:
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
    ) -> _Made:
        part = self.shop.part(item.name, seeded=seeded, tick=self.fetcher.tick)
        with Bar(f"{self.name}: {item.name}", self.wish.progress) as bar:
            place = transfer(self.fetcher, item, part, look, bar.told)
        made = _Made(
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
                return
            except ExternalDataError as error:
                have = {made.target for made in self.made}
                reason = unsafe_location(error.location)
                if reason or not lock.inside(error.location) or error.location in have:
                    raise
                self._get(self.plan.beside(error.location), "data", look=_is_data)
        raise ExternalDataError(self.plan.source, "…", f"there are more than {_DATA_FILES} of them")

    # ── describing ────────────────────────────────────────────────────────────────────────────

    def _describe(self, file: Path) -> None:
        """Write labels and metadata, and weigh them against the graph as a load will."""
        own = _mapping(self.wish.metadata)
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
        folders = (*self.shelf.labels_folders(), self.shop.folder)
        spec = read_spec(self.name, file, facts=self.facts, metadata=told, labels_dir=folders)
        if spec.image is not None and "preprocessing" in told:
            spec.pipeline()

    def _write(self, path: str, role: str, value: Any, content: Any) -> None:
        data = written(value)
        source = self.shop.folder / f"{role}.json"
        try:
            source.write_bytes(data)
        except OSError as error:
            raise not_writable(self.shelf.models, error) from error
        sha256 = hashlib.sha256(data).hexdigest()
        self.made.append(_Made(source, path, role, sha256, len(data), content=content))

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
            self.notes.append(f"Its labels could not be had, so answers name numbers: {error}")
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
        root = self.shelf.models
        folder = any(m.role in ("data", "config") for m in self.made)
        for made in self.made:
            if made.role in ("data", "config"):
                made.target = f"{self.name}/{made.target}"
            elif made.role == "model":
                made.target = f"{self.name}/model.onnx" if folder else f"{self.name}.onnx"
        model = self.made[0]
        self._clear(root, model)
        for made in (*self.made[1:], model):
            if not _same(root / made.target, made):
                settle(made.source, root / made.target)
        files = [self._locked(root, made) for made in self.made]
        now = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        lock.write(
            root,
            lock.Entry(
                id=self.name, source=self.plan.source, licence=self._licence(), pulled=now,
                files=tuple(files), given=_mapping(self.wish.metadata), query=self.query,
            ),
        )  # fmt: skip
        return root / model.target

    def _clear(self, root: Path, model: _Made) -> None:
        """Take another model of that name away first: never an old one with a new description."""
        for path in (root / f"{self.name}.onnx", root / self.name / "model.onnx"):
            if path.is_file() and not (path == root / model.target and _same(path, model)):
                try:
                    path.unlink()
                except OSError as error:
                    raise not_writable(path, error) from error

    def _licence(self) -> str:
        metadata = next(m.content for m in self.made if m.role == "metadata")
        told = metadata.get("licence", metadata.get("license", "")) or self.plan.licence
        return str(told or "not stated")

    @staticmethod
    def _locked(root: Path, made: _Made) -> lock.Locked:
        size_bytes, mtime_ns, inode = lock.stamp(root / made.target)
        return lock.Locked(
            path=made.target, role=made.role, sha256=made.sha256, size_bytes=size_bytes,
            mtime_ns=mtime_ns, inode=inode, sources=made.places, content=made.content,
            validator=made.validator,
        )  # fmt: skip


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


def _same(path: Path, made: _Made) -> bool:
    try:
        return path.stat().st_size == made.size_bytes and lock.sha256_of(path) == made.sha256
    except OSError:
        return False


def _mapping(metadata: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    if isinstance(metadata, (str, Path)):
        try:
            metadata = read_json(Path(metadata).expanduser(), "metadata file")
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


class Bar:
    """Tells how far a file has come: as a bar, to a function, or to nobody."""

    def __init__(self, name: str, shown: Shown) -> None:
        self.name, self.shown = name, shown
        self._bar: Any = None
        self._begun_s, self._first = clock(), 0
        self._before = -1

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def told(self, done: int, total: int | None) -> None:
        """Take note of how many bytes are there, and how many there will be."""
        if self.shown is False or done == self._before:
            return
        if self._before < 0:
            self._begun_s, self._first = clock(), done
        self._before = done
        if callable(self.shown):
            spent_s = clock() - self._begun_s
            rate = (done - self._first) / spent_s if spent_s > 0 else float("nan")
            self.shown(Progress(self.name, done, total, rate))
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                desc=self.name, total=total, initial=done, unit="B", unit_scale=True, leave=False
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)
