"""How the values of each channel are spread after each step of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workbench.cards import (
    THUMBNAIL_PIXELS,
    Block,
    Card,
    Displayable,
    Facts,
    Notes,
    Picture,
    Pictures,
    table_of,
)
from workbench.errors import ConfigError
from workbench.preprocessing.steps import ChannelOrder
from workbench.units import count

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.preprocessing.trace import TraceStep

#: Bins of a histogram; a power of two, so that those of 8-bit values are equally wide.
BINS = 64
_ROW_PIXELS = 32
_BAR, _GROUND, _EDGE = 48, 255, 200


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Channel(Displayable):
    """The values of one channel after one step.

    Attributes
    ----------
    step, name : of the step, and of the channel: "R", "G", "B", "grey", or a number
    counts : (n,) int64, how many values lie in each bin
    edges : (n + 1,) float64, of the bins; those of 8-bit values lie between the levels
    mean, std, low, high : of all finite values
    missing : how many values are not finite
    """

    step: str
    name: str
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    mean: float
    std: float
    low: float
    high: float
    missing: int = 0

    @property
    def text(self) -> str:
        """The channel in a few words: its mean and its standard deviation."""
        return f"{self.name} {self.mean:.3g} ± {self.std:.3g}"

    def _card(self) -> Card:
        figures = (("min", self.low), ("max", self.high), ("mean", self.mean))
        rows = [(name, f"{value:.4g}") for name, value in (*figures, ("deviation", self.std))]
        picture = Picture(_drawn([self]), f"histogram of {self.name} after {self.step}")
        blocks = (Pictures((picture,)), Facts((*rows, ("not finite", f"{self.missing:,}"))))
        return Card(f"channel {self.name} after {self.step}", blocks)


class Histograms(Sequence[Channel], Displayable):
    """The values of each channel after each step, in order: ``histograms[0].counts``.

    Made by :meth:`Trace.histograms`.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = tuple(channels)

    def __getitem__(self, key: Any) -> Any:
        """Return a channel by number, or a tuple of them for a slice."""
        return self._channels[key]

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels)

    __repr__ = Displayable.__repr__

    def by_step(self) -> dict[str, tuple[Channel, ...]]:
        """Return the channels of each step."""
        steps = dict.fromkeys(c.step for c in self._channels)
        return {step: tuple(c for c in self._channels if c.step == step) for step in steps}

    def to_frame(self) -> pd.DataFrame:
        """Return a row a bin: ``step``, ``channel``, ``from``, ``to``, ``count``."""
        import pandas as pd

        rows = [
            (c.step, c.name, low, high, n)
            for c in self._channels
            for low, high, n in zip(
                c.edges[:-1].tolist(), c.edges[1:].tolist(), c.counts.tolist(), strict=True
            )
        ]
        return pd.DataFrame(rows, columns=["step", "channel", "from", "to", "count"])

    def plot(self) -> Figure:
        """Draw a panel a step with a line a channel."""
        from workbench import drawing

        return drawing.histograms(
            [
                (f"{n} {step}", [(c.name, c.counts, c.edges) for c in channels])
                for n, (step, channels) in enumerate(self.by_step().items(), 1)
            ],
            title="Values of each channel after each step",
        )

    def strip(self) -> tuple[Block, ...]:
        """Return small pictures of the histograms, a step each, for a card."""
        pictures = tuple(
            Picture(
                _drawn(channels),
                f"histograms after {step}, {', '.join(c.name for c in channels)} from the top",
                (step, *(c.text for c in channels)),
            )
            for step, channels in self.by_step().items()
        )
        note = "Small values at the left, large ones at the right; beneath: mean ± deviation."
        return (Pictures(pictures), Notes((note,)))

    def _card(self) -> Card:
        missing = any(c.missing for c in self._channels)
        columns = ["step", "channel", "min", "max", "mean", "deviation"]
        columns += ["not finite"] * missing
        rows = []
        for c in self._channels:
            figures = [f"{value:.4g}" for value in (c.low, c.high, c.mean, c.std)]
            rows.append([c.step, c.name, *figures, *[f"{c.missing:,}"] * missing])
        table = table_of(
            columns, rows, caption="Values of each channel", numeric=tuple(columns[2:])
        )
        steps = len(self.by_step())
        line = f"{count(len(self), 'channel')} of {count(steps, 'step')}"
        return Card("histograms", (*self.strip(), table), line=line)


def histograms_of(steps: Sequence[TraceStep], bins: int = BINS) -> Histograms:
    """Count the values of each channel after each step.

    ``bins`` : of each histogram, 2 to 256; a power of two keeps those of 8-bit values equal.
    """
    if type(bins) is not int or not 2 <= bins <= 256:
        raise ConfigError("bins", bins, "a whole number of bins, 2 to 256")
    channels: list[Channel] = []
    turned = False
    for step in steps:
        if isinstance(step.step, ChannelOrder) and step.step.order == "BGR":
            turned = not turned
        planes = _planes(step.array, step.layout)
        names = {1: ("grey",), 3: ("B", "G", "R") if turned else ("R", "G", "B")}.get(
            len(planes), tuple(map(str, range(len(planes))))
        )
        channels += (_channel(step.name, n, p, bins) for n, p in zip(names, planes, strict=True))
    return Histograms(channels)


def _planes(array: NDArray[Any], layout: str) -> list[NDArray[Any]]:
    """Return the channels of the first item, each (H, W)."""
    first = array[0] if layout.startswith("N") else array
    axis = layout.removeprefix("N").index("C")
    return list(np.moveaxis(first, axis, 0))


def _channel(step: str, name: str, plane: NDArray[Any], bins: int) -> Channel:
    if plane.dtype == np.uint8:
        levels = np.array(Image.fromarray(np.ascontiguousarray(plane)).histogram(), np.int64)
        values, n = np.arange(256.0), int(levels.sum())
        mean = float(levels @ values) / n
        std = float(np.sqrt(levels @ (values - mean) ** 2 / n))
        edges = np.linspace(-0.5, 255.5, bins + 1)
        counts = np.histogram(values, edges, weights=levels)[0].astype(np.int64)
        seen = np.flatnonzero(levels)
        return Channel(step, name, counts, edges, mean, std, float(seen[0]), float(seen[-1]))
    values = plane.astype(np.float64).ravel()
    finite = values[np.isfinite(values)]
    missing = values.size - finite.size
    if not finite.size:
        edges = np.linspace(0.0, 1.0, bins + 1)
        nothing = np.zeros(bins, np.int64)
        return Channel(step, name, nothing, edges, np.nan, np.nan, np.nan, np.nan, missing)
    counts, edges = np.histogram(finite, bins)
    mean, std = float(finite.mean()), float(finite.std())
    low, high = float(finite.min()), float(finite.max())
    return Channel(step, name, counts.astype(np.int64), edges, mean, std, low, high, missing)


def _drawn(channels: Sequence[Channel]) -> NDArray[np.uint8]:
    """Draw histograms one above the other, dark on white: (H, W) uint8."""
    rows = []
    for channel in channels:
        n = len(channel.counts)
        wide = max(1, THUMBNAIL_PIXELS // n)
        tallest = int(channel.counts.max(initial=0)) or 1
        heights = np.ceil(channel.counts / tallest * (_ROW_PIXELS - 2)).astype(int)
        y = np.arange(_ROW_PIXELS)[::-1, None]
        row = np.where(y < np.repeat(heights, wide)[None], _BAR, _GROUND).astype(np.uint8)
        row[-1] = np.minimum(row[-1], _EDGE)
        rows.append(row)
    return np.concatenate(rows)
