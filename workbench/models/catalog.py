"""The catalogue: models that can be pulled by name, read from ``catalog.toml`` beside this file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from workbench.cards import Card, Displayable, Facts, Notes
from workbench.errors import LabelsError
from workbench.models.labels import as_labels
from workbench.units import size

#: Entries of a mirror folder that are looked at when none has the name of the file.
_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of classes that come along with a model.

    Attributes
    ----------
    names : where they are written out
    sources, sha256, size_bytes : of a file of them
    form : "json" (a list), "lines" (a name a line), "synset" (a synset and its names a line),
        "id2label" (an object that holds one, as a Hugging Face ``config.json`` does)
    """

    names: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    sha256: str = ""
    size_bytes: int | None = None
    form: str = "json"

    def read(self, data: bytes, where: str) -> tuple[str, ...]:
        """Return the names in a file of this form; LabelsError where it holds none."""
        try:
            text = data.decode("utf-8-sig")
            if self.form in ("json", "id2label"):
                told: Any = json.loads(text)
                told = told["id2label"] if self.form == "id2label" else told
                return as_labels(told, where)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, LabelsError):
                raise
            raise LabelsError(where, f"they cannot be read as {self.form}") from error
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if self.form == "synset":
            lines = [line.partition(" ")[2].strip() for line in lines]
        return as_labels(lines, where)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Entry(Displayable):
    """A model of the catalogue.

    Attributes
    ----------
    id, title, task : name here, name there, and what it does
    file : name under which mirrors keep it
    sources : in the order in which they are asked
    sha256, size_bytes : of the file; whatever answers, these decide
    licence, readme : SPDX, and the path of the README that says so in the zoo
    labels : names of the classes; None where there are none, or no source with a known hash
    accuracy : as published
    metadata : fields of the description that is written beside the model
    published : the preprocessing in the words of the source
    notes : what else must be known
    """

    id: str
    title: str
    task: str
    file: str
    sources: tuple[str, ...]
    sha256: str
    size_bytes: int
    licence: str
    readme: str = ""
    labels: Labels | None = None
    accuracy: Mapping[str, Any]
    metadata: Mapping[str, Any]
    published: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return the description that is written beside the model."""
        told: dict[str, Any] = {"model_type": self.task, **self.metadata}
        told |= {"source": self.sources[0], "licence": self.licence, "sha256": self.sha256}
        if self.accuracy:
            told["accuracy"] = dict(self.accuracy)
        return told

    @property
    def score(self) -> str:
        """The first figure of the published accuracy, with its name; empty where none is."""
        for name, value in self.accuracy.items():
            if isinstance(value, int | float):
                return f"{name} {value:.3f}"
        return ""

    def _card(self) -> Card:
        rows = [
            ("title", self.title),
            ("task", self.task),
            ("size", size(self.size_bytes)),
            ("licence", self.licence),
            ("published accuracy", self.score or "none"),
            ("labels", "come along" if self.labels else "none with a known hash"),
            ("sources", ", ".join(self.sources)),
            ("sha256", self.sha256),
        ]
        return Card(f"catalogue: {self.id}", (Facts(tuple(rows)), Notes(self.notes)))


@cache
def entries() -> dict[str, Entry]:
    """Return the catalogue in its order, by id."""
    text = files("workbench.models").joinpath("catalog.toml").read_text("utf-8")
    told = tomllib.loads(text)
    labels = {
        name: Labels(
            names=tuple(facts.get("names", ())),
            sources=tuple(facts.get("sources", ())),
            sha256=facts.get("sha256", ""),
            size_bytes=facts.get("size_bytes"),
            form=facts.get("form", "json"),
        )
        for name, facts in told["labels"].items()
    }
    found = {}
    for facts in told["model"]:
        found[facts["id"]] = Entry(
            id=facts["id"],
            title=facts["title"],
            task=facts["task"],
            file=facts["file"],
            sources=tuple(facts["sources"]),
            sha256=facts["sha256"],
            size_bytes=facts["size_bytes"],
            licence=facts["licence"],
            readme=facts.get("readme", ""),
            labels=labels.get(facts.get("labels", "")),
            accuracy=facts.get("accuracy", {}),
            metadata=facts.get("metadata", {}),
            published=facts.get("published_preprocessing", {}),
            notes=tuple(facts.get("notes", ())),
        )
    return found


def in_mirror(folder: Path, names: Sequence[str], size_bytes: int | None) -> list[Path]:
    """Return the files of a mirror folder that may be the one wanted, the likeliest first.

    By name; else by size, in the folder and one below: the hash decides in the end.
    """
    named = [path for name in names if (path := folder / name).is_file()]
    if named or size_bytes is None:
        return named
    found = []
    for count, path in enumerate(_below(folder)):
        if count >= _LOOKED_AT:
            break
        try:
            if path.stat().st_size == size_bytes:
                found.append(path)
        except OSError:
            continue
    return found


def _below(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
        files_ = [path for path in inside if path.is_file()]
        for below in inside:
            if below.is_dir():
                files_ += sorted(path for path in below.iterdir() if path.is_file())
    except OSError:
        return []
    return files_
