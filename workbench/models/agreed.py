"""What was agreed on a pulled model's description, kept through all that is done to it later.

A passport that is written, or a metadata JSON that is edited, says what somebody decided: the lock
takes it up (:func:`write`), and pulling the model again keeps it (:func:`kept`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, WorkbenchError
from workbench.models import catalog, lock
from workbench.models.labels import read_json
from workbench.page import put

#: Fields that a pull writes itself each time.
_PULLS = ("sha256", "pulled_from")


def holder(target: Path) -> tuple[Path, lock.Entry, lock.Locked] | None:
    """Return the folder, the entry and the file under which a lock tells of a path, or None.

    However the path is spelt, and whatever links it leads through.
    """
    for folder in _above(target):
        if not (folder / lock.NAME).is_file():
            continue
        for entry in lock.read(folder).values():
            for file in entry.files:
                if same(folder / file.path, target):
                    return folder, entry, file
    return None


def _above(target: Path) -> Iterator[Path]:
    own = Path(os.path.realpath(target.parent))
    yield from dict.fromkeys((own, *own.parents, *Path(os.path.realpath(target)).parents))


def same(one: Path, other: Path) -> bool:
    """Say whether two paths are one file, or would be."""
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def refuse(model_id: str, to: str, target: Path) -> None:
    """Refuse to write a passport over what it would break.

    Parameters
    ----------
    to : "metadata" or "onnx"

    Raises
    ------
    ConfigError : the lock, a file of the other kind, or a file whose hash a lock states and that
        is not the model's own description
    """
    suffix = target.suffix.lower()
    if target.name.casefold() == lock.NAME or suffix == (".onnx" if to == "metadata" else ".json"):
        kind = "a .json file" if to == "metadata" else "an .onnx file"
        raise ConfigError("path", str(target), kind, "Leave path= out for the model's own.")
    held = holder(target)
    if held is None:
        return
    folder, entry, file = held
    if to == "onnx" or file.role != "metadata" or entry.id != model_id:
        raise ConfigError(
            "path", str(target),
            f"another file: {folder / lock.NAME} states the sha256 of {file.path}",
            "Give path= for a copy, or write to the metadata JSON.",
        )  # fmt: skip


def write(target: Path, content: bytes, unsettled: Collection[str] = ()) -> None:
    """Write a metadata JSON, and let the lock that tells of it say what it is now.

    Parameters
    ----------
    unsettled : fields that nobody decided: they are learnt anew from the next file
    """
    held = holder(target)
    if held is None:
        put(target, content)
        return
    folder, entry, _ = held
    with lock.alone(folder / lock.NAME):
        put(target, content)
        entry = lock.read(folder).get(entry.id, entry)
        lock.put(folder, _taken_up(folder, entry, content, unsettled))


def _taken_up(
    folder: Path, entry: lock.Entry, content: bytes, unsettled: Collection[str]
) -> lock.Entry:
    told = json.loads(content)
    files = []
    for file in entry.files:
        if file.role == "metadata":
            size_bytes, mtime_ns, inode = lock.stamp(folder / file.path)
            changed = {n: v for n, v in _edits(folder, entry, told).items() if n not in unsettled}
            file = replace(  # noqa: PLW2901
                file, sha256=hashlib.sha256(content).hexdigest(), size_bytes=size_bytes,
                mtime_ns=mtime_ns, inode=inode, content=told,
            )  # fmt: skip
        files.append(file)
    given = {n: v for n, v in {**entry.given, **changed}.items() if n in told}
    return replace(entry, files=tuple(files), given=given)


def kept(folder: Path, entry: lock.Entry) -> dict[str, Any]:
    """Return the fields that a model keeps when it is pulled again: those given, and edited."""
    file = next((f for f in entry.files if f.role == "metadata"), None)
    told: Any = None
    if file is not None:
        try:
            told = read_json(folder / file.path, "metadata file")
        except (WorkbenchError, ValueError):
            told = None  # gone, or not to be read: no model loads with it
    return {**entry.given, **(_edits(folder, entry, told) if isinstance(told, Mapping) else {})}


def lacks_labels(folder: Path, entry: lock.Entry) -> bool:
    """Say whether the labels of a catalogued model could not be had when it was pulled."""
    known = catalog.entries().get(entry.source)
    wanted = known is not None and known.labels is not None
    have = any(f.role == "labels" for f in entry.files)
    return wanted and not have and "labels" not in kept(folder, entry)


def _edits(folder: Path, entry: lock.Entry, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not as the pull wrote them."""
    file = next((f for f in entry.files if f.role == "metadata"), None)
    written = file.content if file is not None and isinstance(file.content, Mapping) else {}
    found = {n: v for n, v in told.items() if n not in _PULLS and (n, v) not in written.items()}
    labels = next((f for f in entry.files if f.role == "labels"), None)
    if labels is not None and "labels" in found:
        try:
            names = read_json(folder / labels.path, "labels file")
        except (WorkbenchError, ValueError):
            names = None
        if found["labels"] == names:  # they are those of its file, spelt out
            del found["labels"]
    return found
