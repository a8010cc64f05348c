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
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, Literal

from workbench.errors import ChecksumError, ConfigError, MissingFileError, abridge
from workbench.models import remembered, store
from workbench.models.part import not_writable, settle
from workbench.settings import cache_folder
from workbench.timing import clock

#: Name of the file in the folder of models.
NAME = "models.lock"
_EDITION = 1
#: A change to the lock takes milliseconds: who holds it for longer, in seconds, is dead.
_HELD_S = 10.0
_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}")
_ROLES = ("model", "data", "labels", "metadata", "config")

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
    """

    id: str
    source: str
    licence: str
    pulled: str
    files: tuple[Locked, ...]
    given: Mapping[str, Any] = dataclass_field(default_factory=dict)
    query: str = ""
    pinned: Mapping[str, str] = dataclass_field(default_factory=dict)

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
        return {**head, **more, "files": files}


def read(folder: Path) -> dict[str, Entry]:
    """Return what is locked in a folder of models, by id; empty where there is no lock.

    Raises
    ------
    ConfigError : the lock cannot be understood, or names a file outside the folder
    """
    place = folder / NAME
    try:
        text = place.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise MissingFileError(str(place), "lock", f"cannot be read: {error}") from error
    try:
        told = json.loads(text)
        if told["edition"] != _EDITION:
            raise ValueError(f"its edition is {told['edition']!r}")
        return {name: _entry(name, facts) for name, facts in told["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"a lock of edition {_EDITION} ({type(error).__name__}: {error})"
        hint = "Take it from version control, or remove it and pull again."
        raise ConfigError(str(place), text[:60], what, hint) from error


def _entry(name: str, facts: Mapping[str, Any]) -> Entry:
    files = []
    for told in facts["files"]:
        path, role, sha256 = str(told["path"]), str(told["role"]), str(told["sha256"])
        if not inside(path) or role not in _ROLES or not _HEX.fullmatch(sha256):
            raise ValueError(
                f"the file {abridge(path)} of {abridge(name)} is not one to be trusted"
            )
        files.append(
            Locked(
                path=path, role=role, sha256=sha256, size_bytes=int(told["size_bytes"]),
                mtime_ns=int(told.get("mtime_ns", 0)), inode=int(told.get("inode", 0)),
                sources=tuple(map(str, told.get("sources", ()))), content=told.get("content"),
                validator=str(told.get("validator", "")),
            )
        )  # fmt: skip
    if [f.role for f in files].count("model") != 1:
        raise ValueError(f"{abridge(name)} has no file of its own, or several")
    return Entry(
        id=store.check_id(name),
        source=str(facts["source"]),
        licence=str(facts["licence"]),
        pulled=str(facts["pulled"]),
        files=tuple(files),
        given=dict(facts.get("given", {})),
        query=str(facts.get("query", "")),
        pinned={str(k): str(v) for k, v in facts.get("pinned", {}).items()},
    )


def inside(path: str) -> bool:
    """Say whether a relative path stays in its folder, on any system."""
    parts = re.split(r"[/\\]", path)
    return bool(path) and not any(p in ("", ".", "..") or ":" in p or "\0" in p for p in parts)


def write(folder: Path, entry: Entry) -> None:
    """Add an entry, or put it in the place of the old one.

    Raises
    ------
    WriteError : the folder will not take it
    """
    with alone(folder / NAME):
        entries = {**read(folder), entry.id: entry}
        told = {name: e.to_dict() for name, e in sorted(entries.items())}
        text = json.dumps({"edition": _EDITION, "models": told}, indent=1, ensure_ascii=False)
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


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold other processes and threads back while a file is read, changed and written.

    By a file beside it that only one can create, which also holds where advisory locks do
    nothing; what a killed process has left is taken away after a while.

    Raises
    ------
    WriteError : the folder will not take it
    """
    folder = target.parent
    mark = folder / f".{target.name}.held"
    owner = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    end_s = clock() + 3 * _HELD_S
    while True:
        try:
            handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            with os.fdopen(handle, "w") as sink:
                sink.write(owner)
            break
        except FileExistsError:
            _clear(mark)
            if clock() >= end_s:
                break  # rather two writers, one of whom may be forgotten, than none
            time.sleep(0.01)
        except OSError as error:
            raise not_writable(folder, error) from error
    try:
        yield
    finally:
        try:
            if mark.read_text() == owner:
                mark.unlink()
        except OSError:
            pass


def _clear(mark: Path) -> None:
    """Take away a mark that is too old: by renaming it, so that only one does."""
    try:
        if time.time() - mark.stat().st_mtime > _HELD_S:
            aside = mark.with_name(f"{mark.name}.{secrets.token_hex(8)}")
            mark.rename(aside)
            if time.time() - aside.stat().st_mtime <= _HELD_S:
                os.link(aside, mark)  # another was quicker, and this one is new: put it back
            aside.unlink()
    except OSError:
        pass


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
    """What became of one locked file: "right", "changed" or "missing"."""

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
        except OSError:
            state, seen = "missing", ""
        found.append(Finding(file.path, file.role, state, seen, file.sha256))
    return tuple(found)


def check(path: Path, verify: Literal["auto", "always"] = "auto") -> tuple[Path, ...]:
    """Refuse a model that is not what its lock says; one that is not locked is let through.

    Descriptions may be edited; weights, data files and labels may not. Returns the files beside
    the model that were compared.

    Raises
    ------
    ChecksumError : a byte of it is another one
    """
    for folder in (path.parent, path.parent.parent):
        if not (folder / NAME).is_file():
            continue
        try:
            wanted = path.relative_to(folder).as_posix()
        except ValueError:
            continue
        for entry in read(folder).values():
            if entry.model.path != wanted:
                continue
            guarded = guarded_of(entry)
            for finding in examine(folder, guarded, verify):
                if finding.state == "changed":
                    raise ChecksumError(str(folder / finding.path), finding.expected, finding.seen)
            return tuple(folder / f.path for f in guarded.files if f.role != "model")
    return ()


def guarded_of(entry: Entry) -> Entry:
    """Return an entry with the files that no one may edit."""
    return replace(
        entry, files=tuple(f for f in entry.files if f.role in ("model", "data", "labels"))
    )
