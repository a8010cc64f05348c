"""What is known about a model, where it was learnt, and whether it fits the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.errors import MetadataError, UnsupportedInputsError, WorkbenchError, abridge
from workbench.models import passport
from workbench.models.companion import Claim  # noqa: TC001  (pydantic reads it)
from workbench.models.graph import GraphFacts, describe
from workbench.models.passport import Layout, Picture  # noqa: TC001  (pydantic reads them)
from workbench.units import count
from workbench.units import shape as shape_text

if TYPE_CHECKING:
    from workbench.preprocessing.pipeline import Pipeline

Color = Literal["RGB", "BGR", "GRAY"]
#: Largest side of an input, in pixels, that a description may ask for.
LARGEST_SIDE = 16_384
_COLORS = {"grey": "GRAY", "gray": "GRAY", "grayscale": "GRAY", "greyscale": "GRAY", "l": "GRAY"}
_TASKS = {"image_classification": "classification", "classifier": "classification"}


def _task(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a task such as 'classification'")
    task = value.strip().lower().replace("-", "_").replace(" ", "_")
    return _TASKS.get(task, task)


def _color(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("'RGB', 'BGR' or 'GRAY'")
    return _COLORS.get(value.lower(), value.upper())


def _dims(value: object) -> object:
    if value is None:
        return None
    expected = "a list of sizes, each a positive whole number, or null or -1 for any size"
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 8:
        raise ValueError(expected)
    dims: list[int | None] = []
    for dim in value:
        if dim is None or isinstance(dim, str) or dim == -1:
            dims.append(None)
        elif type(dim) is int and 1 <= dim <= LARGEST_SIDE:
            dims.append(dim)
        else:
            raise ValueError(f"{expected} (at most {LARGEST_SIDE:,})")
    return tuple(dims)


def _recipe(value: object) -> object:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, list | tuple) and value and all(isinstance(s, Mapping) for s in value):
        return [dict(step) for step in value]
    raise ValueError("the name of a preset, or a list of steps as Pipeline.recipe() gives it")


def _accuracy(value: object) -> object:
    if type(value) in (int, float):
        value = {"top1": value}
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError("a share of one, or an object such as {'top1': 0.91, 'dataset': '…'}")
    for name in ("top1", "top5"):
        told = value.get(name)
        if told is not None and not (type(told) in (int, float) and 0 <= told <= 1):
            raise ValueError(f"a share of one as {name} (0.91 for 91 %)")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number")
    return value


def _scores(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(
        type(score) in (int, float) and math.isfinite(score) for score in value
    ):
        raise ValueError("a list of finite numbers")
    return tuple(sorted(float(score) for score in value))


class Outside(BaseModel):
    """When an answer reads "probably none of my classes".

    Attributes
    ----------
    score : what is compared with the threshold; below it, the picture counts as outside
    threshold : in the unit of the score
    note : what is shown
    others : scores of pictures that show none of the classes, in rising order; an answer that
        does not exceed them all says how many of them scored as high
    measured : on which pictures the threshold was chosen, and how it did
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["max_softmax", "max_logit", "energy"]
    threshold: Annotated[float, BeforeValidator(_finite)]
    note: str = "probably none of my classes"
    others: Annotated[tuple[float, ...], BeforeValidator(_scores)] = ()
    measured: dict[str, Any] = Field(default_factory=dict)


class ModelSpec(Displayable, BaseModel):
    """What is known about a model: from its metadata, its labels and its graph.

    Attributes
    ----------
    id, path : name and file
    model_type : the task; "unknown" where the graph does not look like one that is known
    input_shape : of the input that takes the picture, with its batch axis; None for any size
    preprocessing : name of a preset, or a recipe as ``Pipeline.recipe()`` gives it; "none" for
        a model that takes no picture
    color_format : order of the colours fed to the model
    labels : names by class index; None where nobody says
    activation : what turns scores into probabilities; "auto" decides by the graph
    input_name, output_name : of the picture and of the scores; None where there are none
    source, licence, sha256, accuracy : as written; a plain number is the top-1 share
    outside : when an answer is probably none of the classes
    extra : fields of the metadata that have no meaning here
    image : how the graph wants its picture; None where it takes none
    inputs : the graph's inputs in words
    origins : field → where the fact came from
    guessed : whether the preprocessing is a guess
    guesses : what was guessed, in sentences
    conflicts : where descriptions contradict each other, and which one was taken
    claims : what each source says, those that were not believed included
    metadata_path : the file of the description; None where there is none
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    id: str
    path: Path
    model_type: Annotated[str, BeforeValidator(_task)] = "classification"
    input_shape: Annotated[tuple[int | None, ...] | None, BeforeValidator(_dims)] = None
    preprocessing: Annotated[str | list[dict[str, Any]], BeforeValidator(_recipe)] = "none"
    color_format: Annotated[Color, BeforeValidator(_color)] = "RGB"
    labels: tuple[str, ...] | None = None
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"
    input_name: str | None = None
    output_name: str | None = None
    source: str | None = None
    licence: str | None = None
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{64}$")] = None
    accuracy: Annotated[dict[str, Any] | None, BeforeValidator(_accuracy)] = None
    outside: Outside | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    image: Picture | None = None
    inputs: str = ""
    origins: dict[str, str] = Field(default_factory=dict)
    guessed: bool = False
    guesses: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    metadata_path: Path | None = None

    def __init__(self, **given: Any) -> None:
        """Check each field on its own; :mod:`workbench.models.evidence` checks them
        against the graph.

        Raises
        ------
        MetadataError : a value that cannot be
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            where = given.get("metadata_path") or f"The description of {given.get('id')!r}"
            raise _as_metadata_error(error, str(where)) from error

    @property
    def layout(self) -> Layout:
        """The order of the axes that the graph wants."""
        return "NCHW" if self.image is None else self.image.layout

    def pipeline(self) -> Pipeline:
        """Return the steps from a picture to this model's input.

        Raises
        ------
        UnsupportedInputsError : the model takes no picture
        MetadataError : there is no such preprocessing, or it cannot be built
        """
        if self.image is None:
            raise UnsupportedInputsError(
                str(self.path), "pictures", f"inputs ({self.inputs})", passport.EXPECTED_INPUT
            )
        where = str(self.metadata_path or f"The description of {self.id!r}")
        return build_pipeline(where, self.preprocessing, self.image, self.color_format)

    def check_classification(self, facts: GraphFacts, *, shown: str = "") -> None:
        """Make sure that the model takes one picture and gives scores of classes.

        ``shown`` : what the model is called in an error, in place of its path

        Raises
        ------
        UnsupportedInputsError : it does not; its ports are described
        """
        name = shown or str(self.path)
        if self.model_type not in ("classification", "unknown"):
            seen = f"the task {self.model_type!r} in its metadata ({describe(facts.inputs)})"
            raise UnsupportedInputsError(name, "classification", seen, "the task 'classification'")
        passport.require_classification(
            name, facts, self.input_name, self.output_name, self.input_shape
        )

    @property
    def described(self) -> bool:
        """Whether anything here was written down by somebody for this model."""
        return bool(self.extra) or "metadata JSON" in self.origins.values()

    def notes(self) -> tuple[str, ...]:
        """Say what was guessed, and where descriptions contradict each other."""
        head = ("No metadata: what follows was read from the graph or guessed.",)
        return (
            *(head if self.guessed and not self.described else ()),
            *self.guesses,
            *self.conflicts,
        )

    def _card(self) -> Card:
        recipe = self.preprocessing if isinstance(self.preprocessing, str) else "own recipe"
        rows = [
            ("task", self.model_type),
            ("input", shape_text(self.input_shape) if self.input_shape else self.inputs),
            ("preprocessing", recipe + (" (a guess)" if self.guessed else "")),
            ("colours", f"{self.color_format}, {self.layout}"),
            ("labels", count(len(self.labels), "class") if self.labels else "none"),
            ("activation", self.activation),
        ]
        optional = (("source", self.source), ("licence", self.licence))
        rows += [(name, value) for name, value in optional if value]
        blocks = (Facts(tuple(rows)), self.learnt(), Notes(self.notes()))
        return Card(f"spec of {self.id}", blocks)

    def learnt(self) -> Table:
        """Return a table of what is known and where each fact came from."""
        rows = tuple(
            (name, in_short(name, getattr(self, name, None)), came)
            for name, came in sorted(self.origins.items())
        )
        return Table(("fact", "value", "learnt from"), rows, "Where this was learnt")


def in_short(name: str, value: Any) -> str:
    """Render a fact of any kind in a few words."""
    match name, value:
        case _, None | "" | ():
            return "–"
        case "input_shape", tuple():
            return shape_text(value)
        case _, tuple() | list() as items:
            noun = "class" if name == "labels" else "step" if name == "preprocessing" else "value"
            return count(len(items), noun)
        case _, Mapping():
            return ", ".join(f"{key} {told}" for key, told in value.items()
                             if isinstance(told, str | int | float))  # fmt: skip
        case _, Outside():
            return f"{value.score.replace('_', ' ')} below {value.threshold:.3g}"
        case _:
            return abridge(str(value))[1:-1]


#: What may be written in a metadata file: fields of the spec that are not worked out here.
WRITABLE = (
    "model_type", "input_shape", "preprocessing", "color_format", "labels", "activation",
    "input_name", "output_name", "source", "licence", "sha256", "accuracy", "outside",
)  # fmt: skip


def _as_metadata_error(error: ValidationError, where: str) -> MetadataError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("str", "list[dict]"))
    expected = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return MetadataError(where, field or "(all of it)", first.get("input"), expected)


def check_preset(where: str, recipe: str | list[dict[str, Any]]) -> None:
    """Make sure that a preset is known by its name; MetadataError where it is not."""
    from workbench.preprocessing import presets

    if isinstance(recipe, str) and recipe not in presets.NAMES:
        expected = f"a preset ({', '.join(presets.NAMES)}) or a list of steps"
        raise MetadataError(where, "preprocessing", recipe, expected)


def build_pipeline(
    where: str, recipe: str | list[dict[str, Any]], image: Picture, color: Color
) -> Pipeline:
    """Build a preprocessing; whatever fails names the field."""
    from workbench.preprocessing import presets
    from workbench.preprocessing.pipeline import Pipeline

    try:
        if not isinstance(recipe, str):
            return Pipeline.from_recipe(recipe, where=where)
        check_preset(where, recipe)
        return presets.get(
            recipe,
            size=image.size,
            color_format=color,
            layout=image.layout,
            channels=1 if color == "GRAY" else 3,
            dtype=image.dtype,
        )
    except MetadataError:
        raise
    except WorkbenchError as error:
        raise MetadataError(
            where, "preprocessing", recipe, f"steps that can be ({error})"
        ) from error
