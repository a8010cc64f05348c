"""Putting a model onto the writable shelf: file, description and labels, all of them or none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, UnknownModelError, WriteError
from workbench.models import store
from workbench.page import put

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.models.store import Shelf


def writable(hub: ModelHub) -> Shelf:
    """Return the shelf of a hub that models may be put on; ConfigError where it has none."""
    for shelf in hub.shelves:
        if shelf.writable:
            return shelf
    raise ConfigError("hub", "one without a writable shelf", "a ModelHub(model_dir=…)")


def check_free(hub: ModelHub, model_id: str, *, origin: str, overwrite: bool = False) -> None:
    """Make sure that a model may be put onto the shelf under an id.

    An id that is free may be taken. One on the writable shelf may be taken again by a variant of
    the same ``origin`` (its description says so), and by anything with ``overwrite``. An id of
    the embedded shelf stays what it is.

    Raises
    ------
    UnsafePathError : the id cannot be the name of a file
    ConfigError : it is taken
    """
    store.check_id(model_id)
    try:
        found = store.find(model_id, hub.shelves)
    except UnknownModelError:
        return
    if not found.shelf.writable:
        raise ConfigError("id", model_id, "an id that no embedded model has", "Give another id=.")
    if overwrite or made_from(found.metadata_path) == origin:
        return
    raise ConfigError(
        "id", model_id, "an id that is free", "Give another id=, or overwrite=True to replace it."
    )


def made_from(metadata_path: Path | None) -> str:
    """Return the id of the model that a variant was made from; "" for what is no variant."""
    if metadata_path is None:
        return ""
    with suppress(OSError, ValueError, AttributeError):
        told = json.loads(metadata_path.read_text("utf-8-sig"))
        return str(told.get("quantization", {}).get("origin", ""))
    return ""


def shelve(
    hub: ModelHub,
    model_id: str,
    *,
    model: bytes,
    metadata: Mapping[str, Any],
    labels: Sequence[str] | None = None,
) -> Path:
    """Put a model onto the writable shelf of a hub; return the path of its file.

    Each file is put in its place whole; the model comes last, so that nobody finds it before
    its description. Where one cannot be written, those before it are as they were.

    Raises
    ------
    WriteError : there is no room, or no right to write; nothing has changed
    """
    shelf = writable(hub)
    described = json.dumps(dict(metadata), indent=2, ensure_ascii=False) + "\n"
    files = [(shelf.models / "metadata" / f"{model_id}.json", described.encode())]
    if labels is not None:
        folder = shelf.labels_folders()[0]
        listed = json.dumps(list(labels), indent=2, ensure_ascii=False) + "\n"
        files.insert(0, (folder / f"{model_id}_labels.json", listed.encode()))
    target = shelf.models / f"{model_id}.onnx"
    files.append((target, model))
    before: list[tuple[Path, bytes | None]] = []
    made: list[Path] = []
    try:
        for path, content in files:
            missing = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            made += missing
            was = path.read_bytes() if path.is_file() else None
            put(path, content)
            before.append((path, was))
    except BaseException as error:
        _restore(before, made)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise WriteError(str(shelf.models), reason) from error
        raise
    return target


def _restore(before: Sequence[tuple[Path, bytes | None]], made: Sequence[Path]) -> None:
    """Bring files back to what they were, and take folders away that were made for them."""
    for path, was in before:
        with suppress(OSError):
            if was is None:
                path.unlink(missing_ok=True)
            else:
                put(path, was)
    for folder in sorted(set(made), key=lambda p: -len(p.parts)):
        with suppress(OSError):
            folder.rmdir()
