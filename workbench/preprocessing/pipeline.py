"""A pipeline: a picture in, the batch that a model is fed with out, and a trace on request.

Decoding comes first and belongs to the recipe. The trace runs the very code that the hot path
runs, so its last array is bit-equal to what the model got.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.errors import ConfigError, InputMismatchError, MetadataError, choices
from workbench.preprocessing.images import WHITE, ImageSource, Rgb, Wanted, open_picture
from workbench.preprocessing.reading import STRETCHED, Reading, stretched
from workbench.preprocessing.step import misplaced
from workbench.preprocessing.steps import (
    STEPS,
    ArrayStep,
    ChannelOrder,
    Flow,
    NormalizeBatch,
    PictureStep,
    Size,
    Step,
    as_array,
)
from workbench.preprocessing.trace import Trace, TraceStep
from workbench.preprocessing.wording import COMPUTED, Differing, differing, flat
from workbench.timing import clock
from workbench.units import count
from workbench.units import shape as shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pipeline", "Trace", "TraceStep"]

#: Steps that a recipe may have: each costs something with every picture.
MOST_STEPS = 100
#: Called after each stage with its name, its step (None for decoding), its result, its seconds.
_Watch = Callable[[str, Step | None, "Image.Image | NDArray[Any]", float], None]


@dataclass(frozen=True, slots=True, repr=False)
class Pipeline(Displayable):
    """An ordered recipe of preprocessing: a value, hashable and safe to share between threads.

    Parameters
    ----------
    steps : at least one; steps on the picture first, then steps on numbers
    fast_decode : decode a JPEG at 1/2, 1/4 or 1/8 of its size where that is no smaller than
        what the first step scales to; faster for large photos, and not the same pixels
    background : R, G, B in 0–255; shows through transparency
    name : the preset's name, for displays; two pipelines that differ in it alone are equal
    notes : what should be known of it, for displays
    reader : the recipe that the model which is fed was trained with, as far as one is known: a
        trace shows what that model takes the numbers for. ``model.preprocessing`` has it, and
        what :meth:`replace` makes of it keeps it; two pipelines that differ in it alone are equal

    Examples
    --------
    >>> from workbench.preprocessing import presets
    >>> pipeline = presets.imagenet()
    >>> pipeline(np.zeros((375, 500, 3), np.uint8)).shape
    (1, 3, 224, 224)
    """

    steps: tuple[Step, ...]
    fast_decode: bool = field(default=False, kw_only=True)
    background: Rgb = field(default=WHITE, kw_only=True)
    name: str = field(default="", kw_only=True, compare=False)
    notes: tuple[str, ...] = field(default=(), kw_only=True, compare=False)
    reader: Pipeline | None = field(default=None, kw_only=True, compare=False)
    _flows: tuple[Flow, ...] = field(init=False, repr=False, compare=False)
    _stages: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        if not steps or not all(isinstance(step, Step) for step in steps):
            raise ConfigError("steps", self.steps, "at least one step of workbench.steps")
        ground = tuple(self.background) if isinstance(self.background, tuple | list) else ()
        if len(ground) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in ground):
            raise ConfigError("background", self.background, "red, green and blue in 0–255")
        if self.reader is not None and not isinstance(self.reader, Pipeline):
            raise ConfigError("reader", self.reader, "a Pipeline: model.preprocessing")
        flows = [Flow()]
        for number, step in enumerate(steps):
            before = steps[number - 1] if number else step
            if isinstance(step, PictureStep) and not isinstance(before, PictureStep):
                raise misplaced(step, flows[-1], f"on the picture, before {type(before).__name__}")
            flows.append(step.flow(flows[-1]))
        for key, value in (
            ("steps", steps),
            ("fast_decode", bool(self.fast_decode)),
            ("background", ground),
            ("notes", tuple(self.notes)),
            ("_flows", tuple(flows)),
            ("_stages", _stage_names(steps)),
        ):
            object.__setattr__(self, key, value)

    # ── what it gives ─────────────────────────────────────────────────────────────────────────

    @property
    def size(self) -> Size | None:
        """(height, width) fed to the model; None where it depends on the picture."""
        return self._flows[-1].size

    @property
    def layout(self) -> str:
        """The order of the axes that come out, as a rule "NCHW" or "NHWC"."""
        return self._flows[-1].layout

    @property
    def channels(self) -> int:
        """How many channels come out: 3, or 1."""
        return self._flows[-1].channels

    @property
    def dtype(self) -> str:
        """The element type that comes out."""
        return self._flows[-1].dtype

    @property
    def color_format(self) -> str:
        """The order of the channels that come out: "RGB", "BGR" or "GRAY"."""
        return self._order(len(self.steps))

    def _order(self, done: int) -> str:
        """Return the order of the channels after ``done`` steps."""
        if self._flows[done].channels == 1:
            return "GRAY"
        turns = sum(isinstance(s, ChannelOrder) and s.order == "BGR" for s in self.steps[:done])
        return "BGR" if turns % 2 else "RGB"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape that comes out for one picture; None where it depends on the picture."""
        height, width = self.size or (None, None)
        dims = {"N": 1, "C": self.channels, "H": height, "W": width}
        return tuple(dims[axis] for axis in self.layout)

    # ── running ───────────────────────────────────────────────────────────────────────────────

    def __call__(
        self, source: ImageSource, *, max_bytes: int | None = None, where: str | None = None
    ) -> NDArray[Any]:
        """Return what the model is fed with for one picture: :attr:`shape`, :attr:`dtype`.

        ``source``, ``max_bytes`` and ``where`` : as for :func:`~workbench.read_image`.
        """
        picture = self._open(source, max_bytes, where)
        return self._run(picture, None)

    def array(self, image_hwc: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what the model is fed with for an (H, W, 3) uint8 RGB array."""
        return self(image_hwc)

    def timed(
        self, source: ImageSource, *, max_bytes: int | None = None, where: str | None = None
    ) -> tuple[NDArray[Any], dict[str, float]]:
        """Return what the model is fed with, and the seconds of each stage ("decode" first)."""
        start = clock()
        picture = self._open(source, max_bytes, where)
        parts = {"decode": clock() - start}

        def watch(name: str, _step: Step | None, _result: object, elapsed_s: float) -> None:
            parts[name] = elapsed_s

        return self._run(picture, watch), parts

    def batch(
        self, sources: Iterable[ImageSource], *, max_bytes: int | None = None
    ) -> NDArray[Any]:
        """Return one batch of all pictures, (N, C, H, W) or (N, H, W, C)."""
        items = list(sources)
        if not items:
            raise ConfigError("sources", items, "at least one picture")
        if self.layout[0] != "N":
            raise ConfigError("steps", repr(self), "a pipeline that ends with a batch axis")
        shape = (len(items), *(side for side in self.shape[1:] if side is not None))
        if len(shape) < len(self.shape):
            arrays = [self(item, max_bytes=max_bytes) for item in items]
            shapes = sorted({a.shape for a in arrays})
            if len(shapes) > 1:
                seen = " and ".join(shape_text(s) for s in shapes[:3])
                raise InputMismatchError(
                    "batch", f"pictures that become {seen}", "one shape", "Add a CenterCrop."
                )
            return np.concatenate(arrays)
        out = np.empty(shape, self.dtype)
        for number, item in enumerate(items):
            picture = self._open(item, max_bytes, None)
            self._run(picture, None, out[number : number + 1])
        return out

    def trace(
        self,
        source: ImageSource,
        *,
        reader: Pipeline | None = None,
        max_bytes: int | None = None,
        where: str | None = None,
    ) -> Trace:
        """Return every intermediate array with its picture, its range and its time.

        The pictures are drawn as the numbers lie in memory, the first channel as red: where a
        step has turned RGB into BGR, red and blue are seen exchanged, and it says so beneath. What
        the model takes the numbers for is one more picture, :attr:`Trace.seen`.

        ``reader`` : the recipe that the model was trained with; None for :attr:`reader`
        """
        start = clock()
        picture = self._open(source, max_bytes, where)
        kept: list[tuple[str, Step | None, Image.Image | NDArray[Any], float]] = [
            ("decode", None, picture, clock() - start)
        ]
        self._run(picture, lambda *stage: kept.append(stage))
        steps = []
        for number, (name, step, result, elapsed_s) in enumerate(kept):
            array = as_array(result) if isinstance(result, Image.Image) else result.view()
            array.flags.writeable = False
            image, shown = self._shown(array, number)
            layout, order = self._flows[number].layout, self._order(number)
            if order == "BGR" and shown != STRETCHED:
                image = np.ascontiguousarray(image[:, :, ::-1])
            steps.append(TraceStep(name, step, array, layout, elapsed_s, image, shown, order))
        total_s = sum(s.seconds for s in steps)
        reader = self.reader if reader is None else reader
        read = None if reader is None else self._read_by(reader, steps[-1].array)
        return Trace(tuple(steps), total_s, repr(self), read)

    def _read_by(self, reader: Pipeline, fed: NDArray[Any]) -> Reading:
        """Say what a model that was trained with ``reader`` takes for what this pipeline feeds."""
        # the same, in other steps, is its own recipe
        same = all(told.what == COMPUTED for told in reader.differs_from(self))
        wanted, given = reader._kind(), self._kind()
        if given != wanted:
            return Reading(None, reader.color_format, same, given, wanted)
        return Reading(reader.denormalize(fed), reader.color_format, same, given, wanted)

    def _kind(self) -> str:
        """Return what an input must be like to be taken at all: type, layout and channels."""
        return f"{self.dtype} {self.layout} with {count(self.channels, 'channel')}"

    def _open(self, source: ImageSource, max_bytes: int | None, where: str | None) -> Image.Image:
        wanted: Wanted | None = None
        if self.fast_decode and isinstance(self.steps[0], PictureStep):
            wanted = self.steps[0].wanted
        return open_picture(
            source, background=self.background, max_bytes=max_bytes, where=where, wanted=wanted
        )

    def _run(
        self, picture: Image.Image, watch: _Watch | None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Run all steps; the one path of calls, timings, batches and traces."""
        array: NDArray[Any] | None = None
        last = len(self.steps) - 1
        for number, step in enumerate(self.steps):
            start = clock() if watch else 0.0
            if isinstance(step, PictureStep):
                picture = step.apply(picture)
            else:
                array = _computed(step, picture, array, out if number == last else None)
            if watch:
                elapsed_s = clock() - start
                watch(self._stages[number], step, picture if array is None else array, elapsed_s)
        if array is None:
            array = np.array(as_array(picture))
        if out is not None and array is not out:
            out[...] = array
        return array

    # ── looking back ──────────────────────────────────────────────────────────────────────────

    def denormalize(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Return what this recipe takes a batch for: its first item, (H, W, 3) uint8 RGB.

        The steps on numbers are undone, the order of the channels as well. Of a batch that
        another recipe made it shows what a model with this one takes it for: colours, contrast
        and brightness are wrong where the other one is.

        ``batch`` : (N, C, H, W) or whatever axes :attr:`layout` names
        """
        if batch.ndim != len(self.layout):
            seen = f"{batch.dtype} {shape_text(batch.shape)}"
            raise InputMismatchError("batch", seen, f"{len(self.layout)} axes: {self.layout}")
        picture, _ = self._shown(batch, len(self.steps))
        return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)

    def _shown(self, array: NDArray[Any], done: int) -> tuple[NDArray[np.uint8], str]:
        """Return the picture that an array after ``done`` steps shows, and how it was made."""
        values = array
        for step in reversed(self.steps[:done]):
            if isinstance(step, PictureStep):
                break
            if not isinstance(step, ArrayStep) or type(step).undo is ArrayStep.undo:
                return stretched(array, self._flows[done].layout), STRETCHED
            values = step.undo(values)
        if values.dtype != np.uint8:
            values = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
            shown = "de-normalised"
        else:
            shown = "as it is"
        values = np.ascontiguousarray(values)
        return (values[:, :, 0] if values.shape[2] == 1 else values), shown

    # ── the recipe ────────────────────────────────────────────────────────────────────────────

    def recipe(self) -> list[dict[str, Any]]:
        """Return the whole pipeline as JSON-able values; the first entry is the decoding."""
        decode = {"step": "Decode", "fast": self.fast_decode, "background": list(self.background)}
        return [decode, *(step.recipe() for step in self.steps)]

    @classmethod
    def from_recipe(
        cls, recipe: Sequence[Mapping[str, Any]], *, name: str = "", where: str = "The recipe"
    ) -> Pipeline:
        """Return the pipeline of a recipe: a list of ``{"step": name, field: value …}``.

        Raises
        ------
        MetadataError : an unknown step or field, named with the choices; an impossible value;
            more than :data:`MOST_STEPS`
        """
        if not isinstance(recipe, list | tuple):
            raise MetadataError(where, "preprocessing", recipe, "a list of steps")
        if len(recipe) > MOST_STEPS:
            seen = f"a list of {len(recipe):,} steps"
            raise MetadataError(where, "preprocessing", seen, f"at most {MOST_STEPS} of them")
        options: dict[str, Any] = {}
        steps: list[Step] = []
        for number, entry in enumerate(recipe):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("step"), str):
                expected = "an object with 'step' and the step's fields"
                raise MetadataError(where, f"preprocessing[{number}]", entry, expected)
            values = {key: value for key, value in entry.items() if key != "step"}
            try:
                if entry["step"] == "Decode" and number == 0:
                    options = _decode_options(values, where)
                else:
                    steps.append(_step(entry["step"], values, f"preprocessing[{number}]", where))
            except ConfigError as error:
                place = f"preprocessing[{number}].{error.name}"
                raise MetadataError(where, place, error.seen, error.expected) from error
        try:
            return cls(tuple(steps), name=name, **options)
        except ConfigError as error:
            raise MetadataError(where, "preprocessing", error.seen, error.expected) from error

    def replace(
        self,
        *,
        size: int | Size | None = None,
        color_format: str | None = None,
        layout: str | None = None,
        dtype: str | None = None,
        fast_decode: bool | None = None,
        background: Rgb | None = None,
    ) -> Pipeline:
        """Return this pipeline with something else: what is left out stays.

        A new ``size`` (height and width, or one side) scales the resize before a crop along.
        Reversing the channels reverses the constants too; for "GRAY" they are averaged, and the
        pipeline's notes say so.
        """
        from workbench.preprocessing.adapt import adapted

        steps, notes = adapted(self, size, color_format, layout, dtype)
        return dataclasses.replace(
            self,
            steps=steps,
            notes=(*self.notes, *(n for n in notes if n not in self.notes)),
            fast_decode=self.fast_decode if fast_decode is None else fast_decode,
            background=self.background if background is None else background,
        )

    def unfused(self) -> Pipeline:
        """Return the plain steps, one thing each: slower, and more to see in a trace."""
        return dataclasses.replace(self, steps=tuple(p for s in self.steps for p in s.parts()))

    def difference(self, other: Pipeline) -> tuple[tuple[str, object, object], ...]:
        """Return what differs from another pipeline: (parameter, here, there), in order.

        The parameters are those of the recipe; :meth:`differs_from` says it in words.
        """
        mine, theirs = flat(self), flat(other)
        keys = [*mine, *(key for key in theirs if key not in mine)]
        pairs = ((key, mine.get(key), theirs.get(key)) for key in keys)
        return tuple((key, here, there) for key, here, there in pairs if here != there)

    def differs_from(self, other: Pipeline) -> tuple[Differing, ...]:
        """Return what differs from another pipeline, in words: (what, here, there), in order.

        >>> from workbench.preprocessing import presets
        >>> own = presets.imagenet()
        >>> own.differs_from(own.replace(color_format="BGR"))
        (Differing(what='colours', here='RGB', there='BGR'),)
        """
        return differing(self, other)

    def describe(self) -> str:
        """Return an English sentence that says what is done.

        >>> from workbench.preprocessing.steps import CenterCrop, Resize
        >>> Pipeline((Resize(256), CenterCrop(224))).describe()
        'Decode to upright RGB; shorter side to 256 (bilinear); middle 224×224.'
        """
        return "; ".join([self._decode_text(), *(step.text() for step in self.steps)]) + "."

    def _decode_text(self) -> str:
        fast = ", at a fraction of the size where that suffices" if self.fast_decode else ""
        ground = "" if self.background == WHITE else f" on {self.background}"
        return f"Decode to upright RGB{ground}{fast}"

    def _card(self) -> Card:
        rows = [("decode", self._decode_text(), "(?, ?, 3)", "uint8", "HWC")]
        for step, name, flow in zip(self.steps, self._stages, self._flows[1:], strict=True):
            height, width = flow.size or (None, None)
            dims = {"N": 1, "C": flow.channels, "H": height, "W": width}
            shape = shape_text(tuple(dims[axis] for axis in flow.layout))
            rows.append((name, step.text(), shape, flow.dtype, flow.layout))
        result = f"{shape_text(self.shape)} {self.dtype} {self.layout} {self.color_format}"
        blocks = (
            Facts((("gives", result),)),
            Table(("step", "what", "shape", "dtype", "layout"), tuple(rows), "Recipe"),
            Notes(self.notes),
        )
        fast = "fast decode → " if self.fast_decode else ""
        line = fast + " → ".join(step.text() for step in self.steps)
        return Card(f"pipeline {self.name}".rstrip(), blocks, line)


def _computed(
    step: Step, picture: Image.Image, array: NDArray[Any] | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Run a step on numbers: on ``array``, or on the picture where there is none yet."""
    if isinstance(step, NormalizeBatch):
        return step.into(picture if array is None else array, out)
    return step(as_array(picture) if array is None else array)


def _stage_names(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Return one name a step; a name used again gets a number."""
    names: list[str] = []
    for step in steps:
        again = sum(other.name == step.name for other in steps[: len(names)])
        names.append(f"{step.name}_{again + 1}" if again else step.name)
    return tuple(names)


def _decode_options(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    if unknown := sorted(set(values) - {"fast", "background"}):
        expected = f"a field of Decode: {choices(('fast', 'background'))}"
        raise MetadataError(where, "preprocessing[0]", unknown[0], expected)
    ground = values.get("background", WHITE)
    return {
        "fast_decode": bool(values.get("fast", False)),
        "background": tuple(ground) if isinstance(ground, list) else ground,
    }


def _step(name: str, values: Mapping[str, Any], place: str, where: str) -> Step:
    if name not in STEPS:
        raise MetadataError(where, place, name, f"a step: {choices(STEPS, most=20)}")
    kind: Any = STEPS[name]
    known = [f.name for f in dataclasses.fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        fields = f"a field of {name}: {choices(known)}" if known else f"no field: {name} has none"
        raise MetadataError(where, place, unknown[0], fields)
    needed = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.name not in values
    ]
    if needed:
        raise MetadataError(where, f"{place}.{needed[0]}", None, f"a value, which {name} needs")
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    made: Step = kind(**plain)
    return made
