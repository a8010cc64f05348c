"""What was pulled: ``models.lock`` in the folder of models.

It tells of each file its hash, size and sources (never a credential), of each model its licence
and when it came. At load a file is compared with it: where size, mtime and inode are those of the
lock nothing is read; where they differ the hash is taken again, and remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, Literal

from workbench.errors import ChecksumError, ConfigError, MissingFileError, abridge
from workbench.models import remembered, store, turn, whereabouts
from workbench.models.labels import once
from workbench.models.part import not_writable, settle
from workbench.models.whereabouts import fits
from workbench.settings import cache_folder

#: Name of the file in the folder of models.
NAME = whereabouts.LOCK
_EDITION = 1
#: A file that a writer of the lock has left for so long, in seconds, is nobody's.
_LEFT_S = 60.0
_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}")

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A file of a model.

    Attributes
    ----------
    path : below the folder of models
    role : "model", "data" (weights beside it), "labels", "metadata" or "config"
    sha256, size_bytes : of the file
    mtime_ns, inode : of the file when it was put in place; 0 where nobody knows
    sources : where it was had, without credentials
    content : of a file that was written here: its metadata, or how its labels were made
    validator : ETag or date under which a server gave it; empty where it gave none
    """

    path: str
    role: str
    sha256: str
    size_bytes: int
    mtime_ns: int = 0
    inode: int = 0
    sources: tuple[str, ...] = ()
    content: Any = None
    validator: str = ""

    @property
    def stamp(self) -> Stamp:
        """Size, mtime and inode."""
        return self.size_bytes, self.mtime_ns, self.inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model that was pulled.

    Attributes
    ----------
    id, source, licence : its name here, what was asked for, and as its source says
    query : hash of the rest of an address whose query is not kept; empty where it had none
    pulled : when, as ISO 8601 in UTC
    given : fields of its description that the caller gave
    pinned : sha256 that the caller demanded, by the name of a file; "" is the model
    files : all of them, the model's own first
    coming : what is being put in its place; None where nothing is
    """

    id: str
    source: str
    licence: str
    pulled: str
    files: tuple[Locked, ...]
    given: Mapping[str, Any] = dataclass_field(default_factory=dict)
    query: str = ""
    pinned: Mapping[str, str] = dataclass_field(default_factory=dict)
    coming: Entry | None = None

    @property
    def model(self) -> Locked:
        """The model's own file."""
        return next(f for f in self.files if f.role == "model")

    @property
    def pin(self) -> str:
        """The sha256 that the caller demanded of the model; empty where none was."""
        return str(self.pinned.get("") or self.given.get("sha256") or "").lower()

    def to_dict(self) -> dict[str, Any]:
        """Return what is written, in the order in which it is written."""
        files = []
        for file in self.files:
            told: dict[str, Any] = {"path": file.path, "role": file.role, "sha256": file.sha256}
            told |= {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns, "inode": file.inode}
            if file.sources:
                told["sources"] = list(file.sources)
            if file.validator:
                told["validator"] = file.validator
            if file.content is not None:
                told["content"] = file.content
            files.append(told)
        head = {"source": self.source, "licence": self.licence, "pulled": self.pulled}
        more: dict[str, Any] = {"query": self.query} if self.query else {}
        more |= {"given": dict(self.given)} if self.given else {}
        more |= {"pinned": dict(self.pinned)} if self.pinned else {}
        last = {"coming": self.coming.to_dict()} if self.coming is not None else {}
        return {**head, **more, "files": files, **last}


def read(folder: Path) -> dict[str, Entry]:
    """Return what is locked in a folder of models, by id; empty where there is no lock.

    Of a replacement that was interrupted the new entry holds once all its files are there, and
    the old one until then.

    Raises
    ------
    ConfigError : the lock cannot be understood, or names a file that is not its model's
    """
    place = folder / NAME
    try:
        text = place.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise MissingFileError(str(place), "lock", f"cannot be read: {error}") from error
    try:
        told = json.loads(text, object_pairs_hook=once, parse_constant=_no_number)
        if type(told["edition"]) is not int or told["edition"] != _EDITION:
            raise ValueError(f"its edition is {told['edition']!r}")
        if "\\ud" in text.lower():  # half a character, written as an escape
            json.dumps(told, ensure_ascii=False).encode("utf-8")
        entries = {name: _entry(name, facts) for name, facts in told["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"a lock of edition {_EDITION} ({type(error).__name__}: {error})"
        hint = "Take it from version control, or remove it and pull again."
        raise ConfigError(str(place), text[:60], what, hint) from error
    return {name: _in_force(folder, entry) for name, entry in entries.items()}


def _in_force(folder: Path, entry: Entry) -> Entry:
    coming = entry.coming
    if coming is None:
        return entry
    here = all(f.state == "right" for f in examine(folder, guarded_of(coming)))
    return coming if here else entry


def _no_number(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number")


def _entry(name: str, facts: Mapping[str, Any]) -> Entry:
    store.check_id(name)
    files = []
    for told in facts["files"]:
        path, role, sha256 = str(told["path"]), str(told["role"]), str(told["sha256"])
        if not fits(name, role, path) or not _HEX.fullmatch(sha256):
            raise ValueError(
                f"the file {abridge(path)} of {abridge(name)} is not one to be trusted"
            )
        files.append(
            Locked(
                path=path, role=role, sha256=sha256, size_bytes=_whole(told["size_bytes"], 0),
                mtime_ns=_whole(told.get("mtime_ns", 0)), inode=_whole(told.get("inode", 0), 0),
                sources=tuple(map(str, told.get("sources", ()))), content=told.get("content"),
                validator=str(told.get("validator", "")),
            )
        )  # fmt: skip
    if [f.role for f in files].count("model") != 1:
        raise ValueError(f"{abridge(name)} has no file of its own, or several")
    if len({f.path for f in files}) < len(files):
        raise ValueError(f"{abridge(name)} has a file twice")
    coming = _entry(name, facts["coming"]) if "coming" in facts else None
    return Entry(
        id=name,
        source=str(facts["source"]),
        licence=str(facts["licence"]),
        pulled=str(facts["pulled"]),
        files=tuple(files),
        given=dict(facts.get("given", {})),
        query=str(facts.get("query", "")),
        pinned={str(k): str(v) for k, v in facts.get("pinned", {}).items()},
        coming=coming,
    )


def _whole(value: object, least: int = -(2**63)) -> int:
    if type(value) is not int or not least <= value < 2**64:
        raise ValueError(f"it holds {abridge(value)} in the place of a whole number")
    return value


def write(folder: Path, entry: Entry) -> None:
    """Add an entry, or put it in the place of the old one.

    Raises
    ------
    WriteError : the folder will not take it
    """
    with alone(folder / NAME):
        put(folder, entry)


def alone(target: Path) -> AbstractContextManager[Callable[[], None]]:
    """Hold other processes and threads back while a file is read, changed and written.

    By a mark beside it: see :func:`workbench.models.turn.alone`.
    """
    return turn.alone(target.parent / f".{target.name}.held")


def put(folder: Path, entry: Entry) -> None:
    """Do what :func:`write` does, for one who holds the others back already."""
    entries = {**read(folder), entry.id: entry}
    told = {name: e.to_dict() for name, e in sorted(entries.items())}
    text = json.dumps({"edition": _EDITION, "models": told}, indent=1, ensure_ascii=False)
    _sweep(folder)
    part = folder / f".{NAME}.{secrets.token_hex(8)}.part"
    try:
        with part.open("x", encoding="utf-8") as sink:
            sink.write(f"{text}\n")
            sink.flush()
            os.fsync(sink.fileno())
    except OSError as error:
        part.unlink(missing_ok=True)
        raise not_writable(folder, error) from error
    try:
        settle(part, folder / NAME)
    finally:
        part.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed writers have left: only who holds the others back writes such files."""
    for pattern in (f".{NAME}.*.part", f".{NAME}.held.*"):
        for path in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFT_S:
                    path.unlink()


# ── hashes ────────────────────────────────────────────────────────────────────────────────────


def stamp(path: Path) -> Stamp:
    """Return size, mtime and inode of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def sha256_of(path: Path, verify: Literal["auto", "always"] = "auto") -> str:
    """Return the sha256 of a file; "auto" remembers it while nothing about the file changes."""
    found = path.stat()
    real = str(path.resolve())
    identity = [real, found.st_size, found.st_mtime_ns, found.st_ino,
                found.st_ctime_ns]  # fmt: skip
    kept = remembered.place(cache_folder() / "hash", real)
    if verify == "auto":
        with suppress(KeyError, TypeError):
            told = remembered.read(kept)
            if told["file"] == identity and _HEX.fullmatch(told["sha256"]):
                return str(told["sha256"])
    made = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            made.update(chunk)
    again = path.stat()
    if (again.st_size, again.st_mtime_ns) == (found.st_size, found.st_mtime_ns):
        with suppress(OSError):  # a disk that cannot be written to is no harm
            remembered.write(kept, {"file": identity, "sha256": made.hexdigest()})
    return made.hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one locked file: "right", "changed", "missing" or "misstated".

    The last one is a file with the right hash and another size than the lock says of it.
    """

    path: str
    role: str
    state: str
    seen: str = ""
    expected: str = ""


def examine(
    folder: Path, entry: Entry, verify: Literal["auto", "always"] = "auto"
) -> tuple[Finding, ...]:
    """Compare the files of a model with the lock; a stamp that is the same is believed once."""
    found = []
    for file in entry.files:
        path = folder / file.path
        try:
            if verify == "auto" and stamp(path) == file.stamp:
                state, seen = "right", file.sha256
            else:
                seen = sha256_of(path, verify)
                state = "right" if seen == file.sha256 else "changed"
                if state == "right" and path.stat().st_size != file.size_bytes:
                    state = "misstated"
        except OSError:
            state, seen = "missing", ""
        found.append(Finding(file.path, file.role, state, seen, file.sha256))
    return tuple(found)


def check(path: Path, verify: Literal["auto", "always"] = "auto") -> tuple[Path, ...]:
    """Refuse a model that is not what its lock says; one that is not locked is let through.

    The metadata JSON may be edited; weights, data files, labels and what came from a server with
    a description of its own may not. The folder of models is asked first: what a lock in the
    model's own folder says comes on top, and takes nothing back.

    Returns
    -------
    the locks that were asked, and the files beside the model that were compared

    Raises
    ------
    ChecksumError : a byte of it is another one
    MissingFileError : a file of labels or configuration that belongs to it is gone
    ConfigError : a lock cannot be understood
    """
    seen: list[Path] = []
    for folder in (path.parent.parent, path.parent):
        if not (folder / NAME).is_file():
            continue
        seen.append(folder / NAME)
        wanted = path.relative_to(folder).as_posix()
        for entry in read(folder).values():
            if entry.model.path == wanted:
                seen += _compared(folder, entry, verify)
    return tuple(seen)


def _compared(folder: Path, entry: Entry, verify: Literal["auto", "always"]) -> list[Path]:
    guarded = guarded_of(entry)
    for finding in examine(folder, guarded, verify):
        where = str(folder / finding.path)
        if finding.state == "changed":
            error = ChecksumError(where, finding.expected, finding.seen)
            if finding.role != "model":
                error.hint += f" {_RESTORES.format(entry.id)}"
            if finding.role == "config":
                error.hint += " What you want otherwise belongs into its metadata JSON."
            raise error
        if finding.state == "misstated":
            size_bytes = next(f.size_bytes for f in guarded.files if f.path == finding.path)
            raise ConfigError(
                f"size_bytes of {finding.path} in {folder / NAME}", size_bytes,
                f"{(folder / finding.path).stat().st_size}, which the file with that hash has",
                "Take the lock from version control, or pull the model again with replace=True.",
            )  # fmt: skip
        if finding.state == "missing" and finding.role in ("labels", "config"):
            gone = MissingFileError(
                where, f"file of {finding.role}", "is gone, and the model needs it"
            )
            gone.hint = _RESTORES.format(entry.id)
            raise gone
    return [folder / f.path for f in guarded.files if f.role != "model"]


_RESTORES = "'workbench pull --locked' fetches what the lock says of {!r}."


def guarded_of(entry: Entry) -> Entry:
    """Return an entry with the files that no one may edit."""
    return replace(entry, files=tuple(f for f in entry.files if f.role != "metadata"))
