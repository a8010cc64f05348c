"""What numbers show: drawn as they are, or as the model takes them that is fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import Card, Displayable, Notes, Picture, Pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How the picture of a step was made that cannot be undone.
STRETCHED = "min–max stretched"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reading(Displayable):
    """What a model takes for what a pipeline feeds: the numbers, undone by the model's own recipe.

    Attributes
    ----------
    picture : (H, W, 3) uint8 RGB; None where the model would not take such an array at all
    color_format : the order in which the model takes the channels
    same : whether the pipeline does what the model's own recipe does, in whatever steps
    given, wanted : type, layout and channels of what is fed, and of what the model takes
    """

    picture: NDArray[np.uint8] | None
    color_format: str
    same: bool
    given: str
    wanted: str

    @property
    def plain(self) -> bool:
        """Whether it shows nothing that the steps do not show: the own recipe, red first."""
        return self.same and self.color_format != "BGR"

    def lines(self) -> tuple[str, ...]:
        """Return what stands beneath the picture."""
        own = "by its own recipe" if self.same else "these steps are not its own"
        return (f"it reads {self.color_format}", own)

    def notes(self) -> tuple[str, ...]:
        """Return what must be said where there is no picture."""
        if self.picture is not None:
            return ()
        return (f"The model would refuse this: it takes {self.wanted}, and this is {self.given}.",)

    def shown(self) -> Picture | None:
        """Return the picture for a strip; None where there is none, or nothing more to see."""
        if self.picture is None or self.plain:
            return None
        return Picture(
            self.picture, "what the model takes it for", ("what the model sees", *self.lines())
        )

    def _card(self) -> Card:
        shown = (
            ()
            if self.picture is None
            else (Picture(self.picture, "what the model takes it for", self.lines()),)
        )
        blocks = (Pictures(shown), Notes(self.notes()))
        return Card("what the model sees", blocks, ", ".join(self.lines()))


def stretched(array: NDArray[Any], layout: str) -> NDArray[np.uint8]:
    """Show numbers whose meaning is lost: smallest value black, largest white."""
    first = array[0] if layout.startswith("N") else array
    values = np.nan_to_num((first.transpose(1, 2, 0) if "CHW" in layout else first).astype(float))
    low, high = float(values.min()), float(values.max())
    picture = np.rint((values - low) * (255 / (high - low or 1))).astype(np.uint8)
    return np.ascontiguousarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
