"""Names of classes: from a JSON list, a file of them, or what a graph carries."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import LabelsError, MissingFileError, UnsafePathError, abridge
from workbench.models.store import embedded_shelf
from workbench.units import size

if TYPE_CHECKING:
    from workbench.models.graph import GraphFacts

#: Largest description or labels file, in bytes: 100,000 labels take about 2 MB.
TEXT_BYTES = 16_000_000
#: Keys of a model's own metadata under which exporters keep the names of its classes.
KEYS = ("labels", "classes", "names", "id2label", "class_names", "class_labels", "categories")


def read_json(path: Path, what: str) -> Any:
    """Return what a JSON file holds; a key that occurs twice is an error.

    Raises
    ------
    MissingFileError : it is not there, or cannot be read
    ValueError : it is no JSON, too large, or says a thing twice
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= TEXT_BYTES else None
    except OSError as error:
        reason = (
            "does not exist"
            if isinstance(error, FileNotFoundError)
            else f"cannot be read: {error.strerror}"
        )
        raise MissingFileError(str(path), what, reason) from error
    if data is None:
        raise ValueError(f"it has more than {size(TEXT_BYTES)}")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"it is not JSON ({error.msg}, {at})") from error


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of what a JSON object holds; ValueError where it says a thing twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it says {abridge(twice)} twice")
    return fields


def as_labels(value: object, where: str) -> tuple[str, ...]:
    """Return names by class index from a list, or from a dict of index → name.

    A name may occur twice (ImageNet has two cranes); it must not be blank.

    Raises
    ------
    LabelsError : it is neither, or an item is no name

    Examples
    --------
    >>> as_labels({"1": "dog", "0": "cat"}, "here")
    ('cat', 'dog')
    """
    if isinstance(value, Mapping):
        value = _by_index(value, where)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise LabelsError(where, f"it is {abridge(value)}")
    if not value:
        raise LabelsError(where, "the list is empty")
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name.strip():
            raise LabelsError(where, f"item {index} is {abridge(name)}, not a name")
    return tuple(value)


def _by_index(value: Mapping[Any, Any], where: str) -> list[Any]:
    try:
        names = {int(key): name for key, name in value.items()}
    except (TypeError, ValueError) as error:
        raise LabelsError(where, "its keys are not class numbers") from error
    if sorted(names) != list(range(len(value))):
        raise LabelsError(where, f"its class numbers do not run from 0 to {len(value) - 1}")
    return [names[index] for index in range(len(names))]


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels in a file: a JSON list of strings.

    Raises
    ------
    MissingFileError, LabelsError : there is none, or it holds no labels
    """
    try:
        value = read_json(path, "labels file")
    except ValueError as error:
        raise LabelsError(str(path), str(error)) from error
    return as_labels(value, str(path))


def named_file(name: str, folders: Sequence[Path]) -> Path:
    """Find the labels file that a description names, on its shelf or among the embedded ones.

    Raises
    ------
    UnsafePathError : the name leads out of the folder
    MissingFileError : no folder has it
    """
    if not name or name in (".", "..") or any(c in name for c in "/\\\0:"):
        raise UnsafePathError(name, "the name of a file in the labels folder, without a path")
    spellings = (name, f"{name}.json", f"{name}_labels.json")
    places = [*folders, embedded_shelf().data / "labels"]
    for folder in places:
        for spelling in spellings:
            if (folder / spelling).is_file():
                return folder / spelling
    searched = ", ".join(str(folder) for folder in dict.fromkeys(places))
    raise MissingFileError(name, "labels file", f"is not in {searched}")


def carried(facts: GraphFacts) -> tuple[tuple[str, ...] | None, str]:
    """Return the labels that a model file carries itself, and where in it.

    Looks for the keys of :data:`KEYS` in its metadata (JSON, a Python literal as Ultralytics
    writes it, or names separated by commas), then at its ZipMap and classifier nodes. What
    cannot be read as labels is passed over.
    """
    metadata = {key.lower(): value for key, value in facts.metadata}
    for key in KEYS:
        if key in metadata and (labels := _parse(metadata[key])):
            return labels, f"graph ({key} in its metadata)"
    if facts.class_labels:
        return facts.class_labels, "graph (a classifier or ZipMap node)"
    return None, ""


def _parse(text: str) -> tuple[str, ...] | None:
    value: Any = None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if value is None and "," in text:
        value = [name.strip() for name in text.split(",")]
    if isinstance(value, list | tuple):
        value = [str(v) if isinstance(v, int) else v for v in value]
    try:
        return as_labels(value, "graph")
    except LabelsError:
        return None
