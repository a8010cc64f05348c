"""Putting a pulled model in place: all of it or nothing, one process at a time, the lock included.

The old model is moved out of the way first and the new one into its place last: whatever is
killed, whenever, a model is absent or right, and never lies beside the description of another.
Before an old one is touched, the lock is told what is coming; so the new one is known to be right
even where its pull is killed before it can say that it is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, WorkbenchError
from workbench.models import lock
from workbench.models.labels import read_json
from workbench.models.part import Workshop, not_writable, settle
from workbench.models.whereabouts import refuse_links

#: Ending of what is moved out of the way; no file of a model has it.
_ASIDE = ".aside.part"


@dataclass(slots=True)
class Made:
    """A file that is ready to be moved into place.

    ``target`` is below the model's own folder while it is fetched, and below the folder of models
    from :func:`place` on.
    """

    source: Path
    target: str
    role: str
    sha256: str
    size_bytes: int
    places: tuple[str, ...] = ()
    content: Any = None
    validator: str = ""

    def locked(self, path: Path) -> lock.Locked:
        """Return what the lock says of it, where it lies at a path; a move changes nothing of it.

        Raises
        ------
        WriteError : it has gone
        """
        try:
            size_bytes, mtime_ns, inode = lock.stamp(path)
        except OSError as error:
            raise not_writable(path, error) from error
        return lock.Locked(
            path=self.target, role=self.role, sha256=self.sha256, size_bytes=size_bytes,
            mtime_ns=mtime_ns, inode=inode, sources=self.places, content=self.content,
            validator=self.validator,
        )  # fmt: skip


def place(
    shop: Workshop, files: Sequence[Made], entry: lock.Entry, *, over: bool, again: bool
) -> Path:
    """Move a model and all that belongs to it into place, and lock it; return its path.

    Parameters
    ----------
    files : the model's own first
    entry : of the lock; its files are filled in
    over : whether another model, or files that were not pulled, may be replaced
    again : whether a former pull of the same was killed on its way

    Raises
    ------
    ConfigError : another is there by now, and may not be replaced
    WriteError : the disk is full, or will not take it; what was there is there again
    """
    root, model = shop.shelf, files[0]
    _whereabouts(entry.id, files)
    for made in files:
        refuse_links(root, made.target)
        same_file(root / made.target, made)  # takes the hash, while nobody is held back
    with lock.alone(root / lock.NAME) as still:
        old = lock.read(root).get(entry.id)
        here = [same_file(root / made.target, made) for made in files]
        if not over:
            _free(root, entry, old)
            if not again:
                _nothing_lost(root, files, here, old)
        spots = [root / f"{entry.id}.onnx", root / entry.id / "model.onnx"]
        there = [path for path in spots if path.is_file()]
        told = [
            m.locked(root / m.target if h else m.source) for m, h in zip(files, here, strict=True)
        ]
        entry = replace(entry, files=tuple(told))
        if all(here) and there == [root / model.target]:
            lock.put(root, entry)
        else:
            if old is not None:
                lock.put(root, replace(old, coming=entry))
            moves = _Moves(root, shop.folder)
            try:
                for path in there:
                    aside = moves.aside(path)
                    if here[0] and path == root / model.target:
                        model.source = aside  # the very file, so that its stamp stays
                for made, is_here in (*zip(files[1:], here[1:], strict=True), (model, False)):
                    still()
                    if not is_here:
                        moves.settle(made.source, root / made.target)
                lock.put(root, entry)
            except BaseException:
                moves.back()
                if old is not None:
                    with suppress(WorkbenchError):
                        lock.put(root, old)
                raise
        _tidy(root, old, entry)
    return root / model.target


def _whereabouts(name: str, files: Sequence[Made]) -> None:
    """Give every file its path below the folder of models."""
    folder = any(m.role in ("data", "config") for m in files)
    for made in files:
        if made.role in ("data", "config"):
            made.target = f"{name}/{made.target}"
        elif made.role == "model":
            made.target = f"{name}/model.onnx" if folder else f"{name}.onnx"


def _free(root: Path, entry: lock.Entry, old: lock.Entry | None) -> None:
    """Refuse to replace a model that came from elsewhere, perhaps while this one was fetched."""
    if old is None or (old.source, old.query) == (entry.source, entry.query):
        return
    if (root / old.model.path).is_file():
        raise ConfigError(
            "id", entry.id, "a name that is free",
            f"That model was pulled from {old.source!r}. Give another id=, or replace=True.",
        )  # fmt: skip


def _nothing_lost(
    root: Path, files: Sequence[Made], here: Sequence[bool], old: lock.Entry | None
) -> None:
    """Refuse to write over what no pull has put there."""
    known = set() if old is None else {f.path for f in old.files}
    for made, is_here in zip(files, here, strict=True):
        path = root / made.target
        if is_here or made.role == "model" or made.target in known or not path.exists():
            continue
        if made.role == "metadata":
            refuse_loss(path, made.content)
        else:
            raise _not_pulled(path, "")


def refuse_loss(path: Path, fields: Mapping[str, Any]) -> None:
    """Refuse to write over a description that says what the new one does not.

    Raises
    ------
    ConfigError : something of it would be lost, or it cannot be read
    """
    if not path.exists():
        return
    try:
        told = read_json(path, "metadata file")
    except (WorkbenchError, ValueError):
        told = None
    if isinstance(told, Mapping) and (
        "pulled_from" in told or all(fields.get(k) == v for k, v in told.items())
    ):
        return  # a pull wrote it, whose model has gone; or all of it is kept
    raise _not_pulled(path, f"metadata={str(path)!r} to keep what it says, or ")


def _not_pulled(path: Path, way: str) -> ConfigError:
    return ConfigError(
        "id", path.stem.removesuffix("_labels"), "a name that is free",
        f"{path} is there, and was not pulled. Give {way}another id=, or replace=True.",
    )  # fmt: skip


class _Moves:
    """Moves of files, and how to undo them."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.done: list[tuple[Path, Path]] = []

    def aside(self, target: Path) -> Path:
        """Take a file out of the way, into the folder of the pull."""
        aside = self.folder / f"{len(self.done)}{_ASIDE}"
        self.done.append((target, aside))
        try:
            os.replace(target, aside)  # noqa: PTH105  (says the same as Path.replace)
        except OSError as error:
            raise not_writable(target, error) from error
        return aside

    def settle(self, source: Path, target: Path) -> None:
        """Move a file into place; what was there is kept until all is done."""
        if os.path.lexists(target) and not target.is_dir():
            self.aside(target)
        self.done.append((source, target))
        settle(source, target)

    def back(self) -> None:
        """Undo all, the last first: the model's own file is there again when all else is."""
        for source, target in reversed(self.done):
            with suppress(OSError):
                source.parent.mkdir(parents=True, exist_ok=True)
                try:
                    target.replace(source)
                except OSError:
                    if not source.is_relative_to(self.folder) or source.name.endswith(_ASIDE):
                        raise
                    target.unlink()  # a new one, which may as well be fetched again
        for _, target in self.done:
            drop_empty(target.parent, self.root)


def _tidy(root: Path, old: lock.Entry | None, entry: lock.Entry) -> None:
    """Remove what the old model had and the new one has not."""
    now = {f.path for f in entry.files}
    for file in () if old is None else old.files:
        if file.path not in now:
            with suppress(OSError):
                (root / file.path).unlink(missing_ok=True)
            drop_empty((root / file.path).parent, root)


def drop_empty(folder: Path, root: Path) -> None:
    """Remove the folders below the shelf that a file has left empty."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def same_file(path: Path, made: Made) -> bool:
    """Say whether a file is there already."""
    try:
        return path.stat().st_size == made.size_bytes and lock.sha256_of(path) == made.sha256
    except OSError:
        return False
