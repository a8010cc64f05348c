"""A model that nobody has described: what its file tells, what is missing, and fair guesses."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cards import Card, Displayable, Facts, Notes
from workbench.errors import LabelsError
from workbench.models import gate, passport
from workbench.models.evidence import infer_spec
from workbench.models.graph import describe
from workbench.preprocessing import presets
from workbench.units import count, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.models.graph import GraphFacts
    from workbench.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Newcomer(Displayable):
    """A model file that was looked at and is not in use yet.

    Attributes
    ----------
    id : the name that it would get
    path : where the file lies
    graph : what the gate found
    spec : what can be told without metadata, guesses included
    classes : how many scores it gives; None where the graph does not say
    """

    id: str
    path: Path
    graph: GraphFacts
    spec: ModelSpec
    classes: int | None

    @classmethod
    def look(cls, path: Path, *, name: str = "", known: Iterable[str] = ()) -> Newcomer:
        """Look at a file: the gate first, then its graph.

        Raises
        ------
        NotOnnxError, InvalidModelError, … : what the gate refuses
        UnsupportedInputsError : it takes no picture, or gives no scores of classes
        """
        graph = gate.examine(path, name=name)
        model_id = name_for(name or path.name, known)
        spec = infer_spec(model_id, path, graph)
        spec.check_classification(graph, shown=name or path.name)
        classes = passport.classes(passport.scores(graph.outputs))
        return cls(id=model_id, path=path, graph=graph, spec=spec, classes=classes)

    @property
    def preset(self) -> str:
        """The preset that is guessed."""
        return str(self.spec.preprocessing)

    @property
    def fixed_size(self) -> bool:
        """Whether the graph itself says how large a picture it takes."""
        return self.spec.image is not None and self.spec.image.size is not None

    @property
    def side(self) -> int:
        """Height that the graph takes, or that the guessed preset feeds."""
        fixed = self.spec.image.size if self.spec.image else None
        return fixed[0] if fixed else (presets.get(self.preset).size or (224, 224))[0]

    def metadata(
        self,
        *,
        preset: str | None = None,
        side: int | None = None,
        color_format: str | None = None,
        activation: str = "auto",
        labels: str = "",
    ) -> dict[str, Any]:
        """Return a description made of answers; what is left out is guessed.

        ``labels`` : a JSON list, or a name a line, or names with commas between them; empty
        where nobody knows them.
        """
        color = color_format or self.spec.color_format
        told: dict[str, Any] = {
            "model_type": "classification",
            "preprocessing": preset or self.preset,
            "color_format": color,
            "activation": activation,
        }
        if (image := self.spec.image) is not None:
            height, width = image.size or (side or self.side, side or self.side)
            channels = image.channels or (1 if color == "GRAY" else 3)
            dims = (channels, height, width)
            told["input_shape"] = [1, *(dims if image.layout == "NCHW" else (*dims[1:], channels))]
        if names := read_labels(labels):
            told["labels"] = names
        elif self.spec.labels:
            told["labels"] = list(self.spec.labels)
        return told

    def _card(self) -> Card:
        rows = (
            ("inputs", describe(self.graph.inputs)),
            ("outputs", describe(self.graph.outputs)),
            ("opset", ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in self.graph.opsets)),
            ("size", f"{size(self.graph.size_bytes)}, {self.graph.parameters:,} parameters"),
            ("classes", f"{self.classes:,}" if self.classes else "the graph does not say"),
            ("labels", count(len(self.spec.labels), "label") if self.spec.labels else "none"),
        )
        return Card(f"new model {self.id}", (Facts(rows), Notes(self.spec.notes())))


def name_for(file: str, known: Iterable[str] = ()) -> str:
    """Return an id for a model's file that nobody has yet.

    >>> name_for("my net (1).onnx"), name_for("net.onnx", ["net", "net-2"])
    ('my-net-1', 'net-3')
    """
    stem = re.sub(r"\.onnx$", "", file, flags=re.IGNORECASE)
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:60] or "model"
    taken, name, number = set(known), base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def read_labels(text: str) -> list[str]:
    """Read labels as people paste them: a JSON list, lines, or names with commas.

    >>> read_labels('["cat", "dog"]'), read_labels("cat, dog"), read_labels("cat\\ndog\\n")
    (['cat', 'dog'], ['cat', 'dog'], ['cat', 'dog'])
    """
    text = text.strip()
    if text.startswith("["):
        try:
            names = json.loads(text)
        except ValueError as error:
            raise LabelsError("The field", f"it begins like a JSON list and is none ({error})") from error  # fmt: skip  # noqa: E501
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise LabelsError("The field", "the list holds other things than names")
        return names
    parts = text.splitlines() if "\n" in text else text.split(",")
    return [name.strip() for name in parts if name.strip()]
