"""Weighing what is written about a model against what its graph tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    ChecksumError,
    LabelsError,
    MetadataError,
    MetadataMismatchError,
    WorkbenchError,
)
from workbench.models import agreement, companion, passport
from workbench.models import labels as labels_
from workbench.models.companion import GRAPH, Claim
from workbench.models.graph import describe
from workbench.models.spec import WRITABLE, Color, ModelSpec, build_pipeline, check_preset
from workbench.units import count

if TYPE_CHECKING:
    from workbench.models.graph import Dims, GraphFacts, Port
    from workbench.models.passport import Picture

_WRITTEN = companion.METADATA
#: Fields that are weighed with the graph at hand, later than the others.
_LATER = ("labels", "preprocessing")


def read_spec(
    model_id: str,
    path: Path,
    *,
    facts: GraphFacts,
    metadata: Mapping[str, Any] | Path | None = None,
    labels_dir: Path | Sequence[Path] | None = None,
) -> ModelSpec:
    """Return what is known about a model, checked against its graph.

    Parameters
    ----------
    model_id, path : name and file
    facts : what the gate found
    metadata : the description, or its file; None to infer one from the graph
    labels_dir : where its labels are sought

    Raises
    ------
    MetadataError : a field is impossible on its own
    MetadataMismatchError : a field contradicts the graph
    LabelsError, MissingFileError, UnsafePathError : of the labels
    ChecksumError : the file is not the one described
    """
    return _Reader(model_id, Path(path), facts, metadata, labels_dir).spec()


def infer_spec(
    model_id: str,
    path: Path,
    facts: GraphFacts,
    *,
    labels_dir: Path | Sequence[Path] | None = None,
) -> ModelSpec:
    """Return what can be told about a model without metadata; guesses say that they are."""
    return read_spec(model_id, path, facts=facts, labels_dir=labels_dir)


class _Reader:
    """Weighs what is written about one model against what its graph tells."""

    def __init__(
        self,
        model_id: str,
        path: Path,
        facts: GraphFacts,
        metadata: Mapping[str, Any] | Path | None,
        labels_dir: Path | Sequence[Path] | None,
    ) -> None:
        self.id, self.path, self.facts = model_id, path, facts
        self.metadata_path = metadata if isinstance(metadata, Path) else None
        self.where = str(self.metadata_path or f"The metadata of {model_id!r}")
        self.folders = (labels_dir,) if isinstance(labels_dir, Path) else tuple(labels_dir or ())
        self.fields, self.extra = self._sorted(metadata)
        self.origins = {name: _WRITTEN for name in WRITABLE if name in self.fields}
        self.guesses: list[str] = []
        self.conflicts: list[str] = []
        self.claims: list[Claim] = []
        self.said = companion.said(self.path, facts)

    def spec(self) -> ModelSpec:
        self.claims += [
            Claim(name, value, _WRITTEN) for name, value in self.fields.items() if name != "labels"
        ]
        written = self._written_labels()
        self._adopt()
        spec = ModelSpec(
            id=self.id, path=self.path, metadata_path=self.metadata_path, **self.fields
        )
        if spec.sha256 and spec.sha256.lower() != self.facts.sha256:
            raise ChecksumError(str(self.path), spec.sha256.lower(), self.facts.sha256)
        entry, dims = self._input(spec)
        image = None if entry is None else passport.picture(entry, dims)
        output = self._output(spec)
        number = passport.classes(output)
        task = self._task(spec, image, output)
        color = self._color(spec, entry, image)
        if task != "classification":  # what its outputs mean is not known here
            number, output = None, passport.chosen(self.facts.outputs, spec.output_name)
        if output is not None:
            self.origins.setdefault("output_name", "graph")
        labels = self._labels(written, number, output)
        recipe, guessed = self._recipe(spec, image, number)
        if image is not None and entry is not None and "preprocessing" in self.fields:
            self._check_pipeline(recipe, image, color, entry)
        held = {"model_type": task, "labels": labels, "preprocessing": recipe}
        self._compare({**dict(spec), **held}, image, color)
        return spec.model_copy(
            update={
                "model_type": task,
                "input_shape": None if dims is None else _numbers(dims),
                "preprocessing": recipe,
                "color_format": color,
                "labels": labels,
                "input_name": None if entry is None else entry.name,
                "output_name": None if output is None else output.name,
                "extra": self.extra,
                "image": image,
                "inputs": describe(self.facts.inputs),
                "origins": self.origins,
                "guessed": guessed,
                "claims": tuple(self.claims),
                "guesses": tuple(self.guesses),
                "conflicts": tuple(self.conflicts),
            }
        )

    # ── what is written ───────────────────────────────────────────────────────────────────────

    def _sorted(
        self, metadata: Mapping[str, Any] | Path | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fields that mean something here, and the others."""
        if isinstance(metadata, Path):
            try:
                metadata = labels_.read_json(metadata, "metadata file")
            except ValueError as error:
                if isinstance(error, WorkbenchError):
                    raise
                raise MetadataError(
                    self.where, "(all of it)", str(error), "a JSON object"
                ) from error
            if metadata is None:
                raise MetadataError(self.where, "(all of it)", None, "a JSON object")
        if metadata is None:
            return {}, {}
        if not isinstance(metadata, Mapping) or not all(isinstance(k, str) for k in metadata):
            raise MetadataError(self.where, "(all of it)", metadata, "a JSON object")
        fields = {("licence" if n == "license" else n): v for n, v in metadata.items()}
        extra = {name: value for name, value in fields.items() if name not in WRITABLE}
        for name, value in extra.items():
            near = get_close_matches(name, WRITABLE, n=1, cutoff=0.85)
            if near and near[0] not in fields:
                raise MetadataError(self.where, name, value, f"the field to be spelt {near[0]!r}")
            if name in ("mean", "std"):
                raise MetadataError(
                    self.where, name, value,
                    "no such field: write 'preprocessing' as a list of steps, with a 'normalize' "
                    "step among them (wb.presets.imagenet().recipe() shows one)",
                )  # fmt: skip
        return {n: v for n, v in fields.items() if n in WRITABLE and v is not None}, extra

    def _adopt(self) -> None:
        """Take from other files what the metadata JSON leaves out, if it fits the graph."""
        self.guesses += self.said.notes
        for claim in self.said.claims:
            if claim.field in _LATER:
                continue
            value, reason = agreement.checked(claim)
            reason = reason or self._unfit(claim.field, value)
            if reason:
                self._refused(claim, reason)
                continue
            self.claims.append(replace(claim, value=value))
            if claim.field not in self.fields:
                self.fields[claim.field] = claim.value
                self.origins[claim.field] = claim.source

    def _refused(self, claim: Claim, reason: str) -> None:
        self.claims.append(replace(claim, note=reason))
        self.conflicts.append(f"The {claim.field} of {claim.source} is not used: {reason}.")

    def _unfit(self, field: str, value: Any) -> str:
        """Say why the graph rules a claim out; empty where it does not."""
        ports = self.facts.outputs if field == "output_name" else self.facts.inputs
        if field in ("input_name", "output_name") and passport.chosen(ports, value) is None:
            return f"it is {value!r}, and the graph has {describe(ports)}"
        if field == "input_shape" and all(self._merged(value, port) is None for port in ports):
            return f"it is {list(value)}, and the graph has {describe(ports)}"
        if field == "color_format" and len(ports) == 1:
            image = passport.picture(ports[0])
            wanted = 1 if value == "GRAY" else 3
            if image is not None and image.channels not in (None, wanted):
                return f"it is {value}, and the graph takes {count(image.channels or 0, 'channel')}"
        return ""

    def _compare(self, held: Mapping[str, Any], image: Picture | None, color: Color) -> None:
        """Say where other files contradict what was taken."""
        for claim in self.claims:
            origin = self.origins.get(claim.field, "")
            outside = claim.source not in (_WRITTEN, GRAPH, origin) and not claim.note
            if not outside or claim.source.startswith(GRAPH):
                continue
            told = agreement.difference(
                claim.field, held.get(claim.field), claim.value, image, color
            )
            if told:
                self.conflicts.append(
                    f"The {claim.field} of {origin} and of {claim.source} differ ({told}): "
                    f"{origin} holds."
                )

    def _written_labels(self) -> tuple[str, ...] | None:
        """Take the labels out of the fields: a list, or the name of a file."""
        value = self.fields.pop("labels", None)
        if value is None:
            return None
        if isinstance(value, str):
            file = labels_.named_file(value, self.folders)
            self.origins["labels"] = f"labels/{file.name}, named in the metadata JSON"
            return labels_.read_labels(file)
        try:
            return labels_.as_labels(value, self.where)
        except LabelsError as error:
            raise MetadataError(
                self.where, "labels", value, f"a list of names, or a file of them ({error.reason})"
            ) from error

    # ── what the graph says to it ─────────────────────────────────────────────────────────────

    def _input(self, spec: ModelSpec) -> tuple[Port | None, Dims | None]:
        """Choose the input that takes the picture, and its shape."""
        ports = self.facts.inputs
        entry = passport.chosen(ports, spec.input_name)
        if entry is None and spec.input_name is not None:
            raise self._mismatch("input_name", spec.input_name, f"the inputs {describe(ports)}")
        if spec.input_shape is None:
            if entry is not None:
                self.origins["input_shape"] = "graph"
            return entry, None if entry is None else entry.shape
        if entry is None:
            fit = [port for port in ports if self._merged(spec.input_shape, port) is not None]
            if not fit:
                raise self._mismatch("input_shape", list(spec.input_shape), describe(ports))
            entry = fit[0] if len(fit) == 1 else None
            return entry, spec.input_shape
        dims = self._merged(spec.input_shape, entry)
        if dims is None:
            raise self._mismatch("input_shape", list(spec.input_shape), entry.describe())
        return entry, dims

    @staticmethod
    def _merged(written: tuple[int | None, ...], port: Port) -> Dims | None:
        """Join a written shape with the graph's; None where they contradict each other."""
        if port.kind != "tensor":
            return None
        if port.shape is None:
            return written
        if len(written) != len(port.shape):
            return None
        dims: list[int | str | None] = []
        for axis, (told, real) in enumerate(zip(written, port.shape, strict=True)):
            if isinstance(real, int) and told not in (None, real):
                return None
            loose = axis == 0 and not isinstance(real, int)  # a batch of 1 fixes no batch
            dims.append(real if loose or told is None else told)
        return tuple(dims)

    def _output(self, spec: ModelSpec) -> Port | None:
        ports = self.facts.outputs
        if spec.output_name is not None and passport.chosen(ports, spec.output_name) is None:
            raise self._mismatch("output_name", spec.output_name, f"the outputs {describe(ports)}")
        if spec.output_name is not None:
            return passport.chosen(ports, spec.output_name)
        return passport.scores(ports)

    def _task(self, spec: ModelSpec, image: Picture | None, output: Port | None) -> str:
        told = dict(self.facts.metadata).get("task", "").strip().lower()
        if told:
            self.claims.append(Claim("model_type", told, f"{GRAPH} (task in its metadata)"))
        if "model_type" in self.fields:
            origin = self.origins["model_type"]
            if told and told[:6] != spec.model_type[:6]:
                self.conflicts.append(
                    f"The {origin} says the task is {spec.model_type!r} and the graph's own "
                    f"metadata {told[:40]!r}: the {origin} holds."
                )
            return spec.model_type
        fits = image is not None and output is not None and len(self.facts.inputs) == 1
        task = "classification" if fits else "unknown"
        self.origins["model_type"] = "guess"
        reason = "one picture in, scores out" if fits else "its ports fit no task that is known"
        self.guesses.append(f"The task is guessed to be {task!r}: {reason}.")
        return task

    def _color(self, spec: ModelSpec, entry: Port | None, image: Picture | None) -> Color:
        told, origin = passport.guess_color(self.facts, image)
        if origin:
            self.claims.append(Claim("color_format", told, origin))
        if "color_format" not in self.fields:
            self.origins["color_format"] = origin or "default"
            return told
        wanted = 1 if spec.color_format == "GRAY" else 3
        if image is not None and image.channels not in (None, wanted) and entry is not None:
            raise self._mismatch(
                "color_format",
                spec.color_format,
                f"{count(image.channels or 0, 'channel')} in {entry.describe()}",
            )
        if origin and told != spec.color_format:
            self.conflicts.append(
                f"The {self.origins['color_format']} says {spec.color_format} and the {origin} "
                f"{told}: the {self.origins['color_format']} holds."
            )
        return spec.color_format

    def _labels(
        self, written: tuple[str, ...] | None, number: int | None, output: Port | None
    ) -> tuple[str, ...] | None:
        labels, where = written, self.where
        if labels is not None:
            self.claims.append(Claim("labels", labels, self.origins["labels"]))
        file = self._own_labels_file()
        if file is not None and not self.origins.get("labels", "").startswith("labels/"):
            own = labels_.read_labels(file)
            self.claims.append(Claim("labels", own, f"labels/{file.name}"))
            if labels is None:
                labels, where = own, str(file)
                self.origins["labels"] = f"labels/{file.name}"
        if (
            labels is not None
            and number is not None
            and len(labels) != number
            and output is not None
        ):
            raise MetadataMismatchError(
                where, "labels", list(labels),
                f"{count(number, 'class')} in {output.describe()}, for "
                f"{count(len(labels), 'label')}",
            )  # fmt: skip
        for claim in self._labels_elsewhere():
            if number is not None and len(claim.value) != number:
                note = f"{count(len(claim.value), 'label')} for {count(number, 'class')}"
                self.claims.append(replace(claim, note=note))
                self.conflicts.append(f"The {claim.source} has {note}: they are not used.")
                continue
            self.claims.append(claim)
            if labels is None:
                labels = claim.value
                self.origins["labels"] = claim.source
            elif claim.source.startswith(GRAPH) and claim.value != labels:
                self.conflicts.append(
                    f"The labels of the {claim.source} differ from those of "
                    f"{self.origins['labels']}, which hold."
                )
        return labels

    def _labels_elsewhere(self) -> list[Claim]:
        """Return the labels that the file carries, and then those of the files beside it."""
        told = [c for c in self.said.claims if c.field == "labels"]
        inside, origin = labels_.carried(self.facts)
        carried = [] if inside is None else [Claim("labels", inside, origin)]
        own = [c for c in told if c.source == companion.PROPS]
        found = [*own, *carried, *(c for c in told if c.source != companion.PROPS)]
        usable = []
        for claim in found:
            try:
                usable.append(replace(claim, value=labels_.as_labels(claim.value, claim.source)))
            except LabelsError as error:
                self._refused(claim, error.reason)
        return usable

    def _own_labels_file(self) -> Path | None:
        files = (folder / f"{self.id}_labels.json" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def _recipe(
        self, spec: ModelSpec, image: Picture | None, number: int | None
    ) -> tuple[str | list[dict[str, Any]], bool]:
        recipe = self._claimed_recipe(spec, image)
        if "preprocessing" in self.fields:
            if spec.model_type == "classification":
                check_preset(self.where, spec.preprocessing)
            return spec.preprocessing, False
        if image is None:
            return "none", False
        if recipe is not None:
            return recipe, False
        preset, why = passport.guess_preset(image, number)
        self.origins["preprocessing"] = "guess"
        self.guesses.append(f"The preprocessing is guessed to be {preset!r}: {why}.")
        if not image.sure:
            self.guesses.append(f"The layout is guessed to be {image.layout}.")
        if image.size is None:
            self.guesses.append(f"The graph takes any size: that of {preset!r} is used.")
        elif None in (image.height, image.width):
            height, width = image.size
            self.guesses.append(f"The graph leaves one side free: {height} × {width} is used.")
        return preset, True

    def _claimed_recipe(
        self, spec: ModelSpec, image: Picture | None
    ) -> str | list[dict[str, Any]] | None:
        """Return the first preprocessing that other files give and that fits; None for none."""
        first: str | list[dict[str, Any]] | None = None
        for claim in self.said.claims:
            if claim.field != "preprocessing" or image is None:
                continue
            color: Color = "GRAY" if image.channels == 1 else spec.color_format
            recipe, overruled, reason = agreement.fitted(claim, image, color)
            if reason:
                self._refused(claim, reason)
                continue
            self.claims.append(replace(claim, value=recipe))
            if first is None and "preprocessing" not in self.fields:
                first = recipe
                self.origins["preprocessing"] = claim.source
                self.conflicts += overruled
        return first

    def _check_pipeline(
        self,
        recipe: str | list[dict[str, Any]],
        image: Picture,
        color: Color,
        entry: Port,
    ) -> None:
        """Build the preprocessing once, and compare what it gives with what the graph takes."""
        pipeline = build_pipeline(self.where, recipe, image, color)
        given = pipeline.size or (None, None)
        gives = (pipeline.layout, pipeline.dtype, pipeline.channels, *given)
        wants = (image.layout, image.dtype, image.channels, image.height, image.width)
        differ = any(w not in (None, g) for g, w in zip(gives, wants, strict=True) if g is not None)
        if differ:
            facts = (
                f"{pipeline.dtype} {pipeline.layout}",
                pipeline.channels and count(pipeline.channels, "channel"),
                pipeline.size and " × ".join(map(str, pipeline.size)),
            )
            made = ", ".join(str(fact) for fact in facts if fact)
            seen = recipe if isinstance(recipe, str) else f"a recipe that gives {made}"
            raise self._mismatch("preprocessing", seen, entry.describe())

    def _mismatch(self, field: str, seen: object, graph: str) -> MetadataMismatchError:
        return MetadataMismatchError(self.where, field, seen, graph)


def _numbers(dims: Dims) -> tuple[int | None, ...]:
    return tuple(dim if isinstance(dim, int) else None for dim in dims)
