"""What a pipeline did with one picture, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from workbench.cards import Card, Displayable, Fold, Notes, Picture, Pictures, Table
from workbench.preprocessing.histogram import BINS, Histograms, histograms_of
from workbench.preprocessing.reading import STRETCHED
from workbench.timing import Stages
from workbench.units import count, seconds
from workbench.units import shape as shape_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.preprocessing.reading import Reading
    from workbench.preprocessing.steps import Step


#: What stands beneath the pictures of a step that no longer has red first.
BADGE = "BGR: channel 0 = blue"
_EXCHANGED = (
    "Pictures are drawn as the numbers lie in memory, the first channel as red: where the order "
    "is BGR, red and blue are seen exchanged. A model that reads BGR wants it so."
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TraceStep(Displayable):
    """One step of a trace.

    Attributes
    ----------
    name : the stage's name in timings, "decode" for the first
    step : the step itself; None for the decoding
    array : what came out, read-only, in ``layout``
    layout : "HWC", "CHW", "NHWC" or "NCHW"
    low, high : smallest and largest value of the array
    seconds : how long the step took
    picture : (H, W, 3) or (H, W) uint8, what the array shows as it lies in memory: the first
        channel is drawn as red
    shown : how ``picture`` was made of the array: "as it is", "de-normalised" or
        "min–max stretched"
    color_format : the order of the channels: "RGB", "BGR" or "GRAY"
    """

    name: str
    step: Step | None
    array: NDArray[Any]
    layout: str
    seconds: float
    picture: NDArray[np.uint8]
    shown: str
    color_format: str = "RGB"

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape, in ``layout``."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """The array's element type."""
        return str(self.array.dtype)

    @property
    def low(self) -> float:
        """The smallest value."""
        return float(self.array.min())

    @property
    def high(self) -> float:
        """The largest value."""
        return float(self.array.max())

    @property
    def text(self) -> str:
        """What was done, in a few words."""
        return "upright RGB" if self.step is None else self.step.text()

    def lines(self) -> tuple[str, ...]:
        """Return the facts of the step, one a line."""
        return (
            self.text,
            f"{shape_text(self.shape)} {self.dtype} {self.layout}",
            f"{self.low:.4g} to {self.high:.4g}",
            seconds(self.seconds),
            f"shown {self.shown}",
            *((BADGE,) if self.color_format == "BGR" else ()),
        )

    def _card(self) -> Card:
        picture = Picture(self.picture, f"picture after {self.name}", self.lines())
        return Card(f"step {self.name}", (Pictures((picture,)),), ", ".join(self.lines()[:3]))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace(Sequence[TraceStep], Displayable):
    """Every step of a pipeline on one picture: arrays, pictures, ranges and times.

    The last array is bit for bit what the pipeline gives. Steps are found by their number or by
    their name.

    Attributes
    ----------
    steps : in their order, the decoding first
    total_s : seconds of all of them
    reading : what the model that is fed takes the last array for; None where no model is known
    """

    steps: tuple[TraceStep, ...]
    total_s: float
    pipeline_line: str = ""
    reading: Reading | None = None

    @overload
    def __getitem__(self, key: int | str) -> TraceStep: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[TraceStep, ...]: ...
    def __getitem__(self, key: int | str | slice) -> TraceStep | tuple[TraceStep, ...]:
        """Return a step by its number or name, or a tuple of steps for a slice."""
        if isinstance(key, str):
            found = [step for step in self.steps if step.name == key]
            if not found:
                raise KeyError(f"no step {key!r}; there are {', '.join(self.names)}")
            return found[0]
        return self.steps[key]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the steps, in order."""
        return tuple(step.name for step in self.steps)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What came out of each step, read-only; the last is what is fed to the model."""
        return tuple(step.array for step in self.steps)

    @property
    def timings(self) -> Stages:
        """Seconds of each step, and their sum."""
        return Stages({step.name: step.seconds for step in self.steps}, self.total_s)

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What is really fed, de-normalised, the first channel as red: (H, W, 3) uint8, 0–255."""
        return _three(self.steps[-1].picture)

    @property
    def seen(self) -> NDArray[np.uint8] | None:
        """What the model takes it for, by its own recipe: (H, W, 3) uint8 RGB, 0–255.

        None where no model is known, or where it would not take such an array.
        """
        return None if self.reading is None else self.reading.picture

    def to_frame(self) -> pd.DataFrame:
        """Return a row a step: step, shape, dtype, layout, channels, min, max, ms."""
        import pandas as pd

        return pd.DataFrame(
            [
                (s.name, s.shape, s.dtype, s.layout, s.color_format, s.low, s.high, 1e3 * s.seconds)
                for s in self.steps
            ],
            columns=["step", "shape", "dtype", "layout", "channels", "min", "max", "ms"],
        )

    def plot(self) -> Figure:
        """Draw the strip of pictures, one a step, with its facts beneath."""
        from workbench import drawing

        strip = [(s.name, _three(s.picture), s.lines()) for s in self.steps]
        more = self._more()
        if more is not None:
            strip.append((more.lines[0], more.image, more.lines[1:]))
        return drawing.picture_strip(strip)

    def _more(self) -> Picture | None:
        return None if self.reading is None else self.reading.shown()

    def histograms(self, *, bins: int = BINS) -> Histograms:
        """Return how the values of each channel are spread after each step.

        ``bins`` : of each histogram, 2 to 256
        """
        return histograms_of(self.steps, bins)

    def _card(self) -> Card:
        rows = tuple(
            (
                s.name,
                s.text,
                shape_text(s.shape),
                s.dtype,
                f"{s.layout} {s.color_format}",
                f"{s.low:.4g}",
                f"{s.high:.4g}",
                seconds(s.seconds),
            )
            for s in self.steps
        )
        table = Table(
            ("step", "what", "shape", "dtype", "layout", "min", "max", "time"),
            rows,
            "Steps",
            numeric=("min", "max", "time"),
        )
        pictures = [Picture(s.picture, f"picture after {s.name}", s.lines()) for s in self.steps]
        more = self._more()
        strip = Pictures((*pictures, *((more,) if more else ())), "What each step gives")
        last = self.steps[-1]
        line = (
            f"{count(len(self.steps), 'step')}, {shape_text(last.shape)} {last.dtype} "
            f"{last.layout}, {seconds(self.total_s)}"
        )
        stretched = [s.name for s in self.steps if s.shown == STRETCHED]
        told = [f"{name} cannot be undone: shown with its range stretched." for name in stretched]
        if any(s.color_format == "BGR" for s in self.steps):
            told.append(_EXCHANGED)
        notes = Notes(tuple(told))
        refused = Notes(() if self.reading is None else self.reading.notes(), urgent=True)
        spread = Fold("Values of each channel", self.histograms().strip())
        return Card("trace", (strip, refused, notes, table, spread), line)


def _three(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture with three channels, also where it is grey."""
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
