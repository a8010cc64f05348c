"""What is said of a model in other files than its metadata JSON: in its own, and beside it.

``preprocessor_config.json`` and ``config.json`` of Hugging Face (timm's ``pretrained_cfg`` is in
the latter), and ``config.pbtxt`` of Triton, are sought in the model's folder, and in the one
above where the model lies in ``onnx/`` (as optimum exports it) or in a numbered folder (a
version, as Triton has it). In a shelf's own folder they belong to no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import LabelsError, WorkbenchError, abridge
from workbench.models import labels as labels_

if TYPE_CHECKING:
    from workbench.models.graph import GraphFacts

METADATA, GRAPH, PROPS = "metadata JSON", "graph", "ONNX metadata_props"
PREPROCESSOR, CONFIG, TRITON = "preprocessor_config.json", "config.json", "config.pbtxt"
TIMM = "pretrained_cfg"
#: The key of a file's ``metadata_props`` under which a whole description is kept, as JSON.
KEY = "workbench.metadata"
#: Names of the files that are looked for.
FILES = (PREPROCESSOR, CONFIG, TRITON)


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that one source says of a model.

    Attributes
    ----------
    field : as a metadata file has it: "labels", "preprocessing", …
    value : in the form of the metadata; what somebody wrote, not yet checked
    source : who says so: "metadata JSON", "config.json", "graph", …
    note : why it cannot be used; empty where it can
    """

    field: str
    value: Any
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What the files of a model say: claims in the order in which they are believed.

    ``notes`` : what could not be read, and why, in sentences.
    """

    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()


def home(path: Path) -> Path:
    """Return the folder that a model's configuration lies in, and that is named after it.

    >>> home(Path("vit/onnx/model.onnx")).name, home(Path("repository/vit/1/model.onnx")).name
    ('vit', 'vit')
    """
    folder = path.parent
    return folder.parent if folder.name == "onnx" or folder.name.isdecimal() else folder


def places(path: Path) -> tuple[Path, ...]:
    """Return the files that may say something of a model; they need not exist."""
    folders = [f for f in dict.fromkeys((path.parent, home(path))) if not _is_shelf(f)]
    return tuple(folder / name for name in FILES for folder in folders)


def _is_shelf(folder: Path) -> bool:
    return (folder / "metadata").is_dir()


def said(path: Path, facts: GraphFacts) -> Said:
    """Return what a model's own metadata and the files beside it say."""
    reader = _Reader()
    reader.props(facts)
    seen: set[str] = set()
    for file in places(path):
        if file.name not in seen and file.is_file():
            seen.add(file.name)
            reader.file(file)
    return Said(tuple(reader.claims), tuple(reader.notes))


class _Reader:
    """Collects claims; what cannot be read becomes a note, never an error."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.notes: list[str] = []

    def add(self, field: str, value: Any, source: str) -> None:
        if value is not None:
            self.claims.append(Claim(field, value, source))

    def props(self, facts: GraphFacts) -> None:
        """Read the description that :meth:`Passport.write` put into the file."""
        from workbench.models.spec import WRITABLE

        text = dict(facts.metadata).get(KEY)
        if text is None:
            return
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, Mapping):
            self.notes.append(f"The {PROPS} hold {abridge(text)} as {KEY!r}: it is no JSON object.")
            return
        for field, value in told.items():
            if field in WRITABLE and field != "sha256":  # a file cannot hold its own hash
                self.add(field, value, PROPS)

    def file(self, path: Path) -> None:
        try:
            if path.name == TRITON:
                self._triton(path)
                return
            config = labels_.read_json(path, "configuration")
            if not isinstance(config, Mapping):
                raise ValueError(f"it holds {abridge(config)}, no JSON object")
            self._preprocessor(config) if path.name == PREPROCESSOR else self._config(config)
        except (ValueError, OSError) as error:
            self.notes.append(f"{path.name} is passed over: {_plainly(error)}")

    def _preprocessor(self, config: Mapping[str, Any]) -> None:
        from workbench.models import huggingface

        if isinstance(config.get(TIMM), Mapping):
            self._pretrained(config[TIMM], f"{PREPROCESSOR} ({TIMM})")
            return
        try:
            pipeline = huggingface.preprocessor(config)
        except huggingface.UnreadableError as error:
            self.notes.append(f"{PREPROCESSOR} gives no preprocessing: {error}.")
            return
        self.add("preprocessing", pipeline.recipe(), PREPROCESSOR)
        self.add("color_format", pipeline.color_format, PREPROCESSOR)

    def _config(self, config: Mapping[str, Any]) -> None:
        from workbench.models import huggingface

        for field, value in huggingface.facts(config).items():
            self.add(field, value, CONFIG)
        self.labels(huggingface.names(config), CONFIG)
        if isinstance(config.get(TIMM), Mapping):
            self._pretrained(config[TIMM], f"{CONFIG} ({TIMM})")

    def _pretrained(self, config: Mapping[str, Any], source: str) -> None:
        from workbench.models import huggingface

        try:
            pipeline = huggingface.pretrained(config)
        except huggingface.UnreadableError as error:
            self.notes.append(f"{source} gives no preprocessing: {error}.")
            return
        self.add("preprocessing", pipeline.recipe(), source)

    def _triton(self, path: Path) -> None:
        from workbench.models import triton

        if path.stat().st_size > labels_.TEXT_BYTES:
            raise ValueError("it is too large")
        told = triton.ports(triton.parse(path.read_text("utf-8-sig")))
        listed = told.pop("label_filename", None)
        for field, value in told.items():
            self.add(field, value, TRITON)
        if listed is not None:
            file = labels_.named_file(listed, (path.parent,))
            lines = [n.strip() for n in file.read_text("utf-8-sig").splitlines() if n.strip()]
            self.labels(lines, f"{TRITON} ({file.name})")

    def labels(self, value: Any, source: str) -> None:
        if value is None:
            return
        try:
            self.add("labels", labels_.as_labels(value, source), source)
        except LabelsError as error:
            self.notes.append(f"The labels of {source} are not used: {error.reason}.")


def _plainly(error: Exception) -> str:
    text = error.message if isinstance(error, WorkbenchError) else str(error)
    return text if text.endswith(".") else f"{text}."
