"""How far a variant answers as its reference does: tallies, output by output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import OutputUnsupportedError, UnsupportedInputsError
from workbench.inference.evaluate import wilson
from workbench.units import shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.model import Model

#: A drop in accuracy counts where it would come by chance in less than this share of cases.
CHANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputMatch:
    """How near one output of a variant is to its reference's.

    Attributes
    ----------
    name : of the reference's output
    cosine, least_cosine : of the angle between both, a picture each: mean and least (−1 to 1)
    max_difference : largest absolute difference of two values, over all pictures
    scale : largest absolute value of the reference: what a difference is to be seen against
    not_finite : pictures on which the variant answered NaN or infinity
    """

    name: str
    cosine: float
    least_cosine: float
    max_difference: float
    scale: float
    not_finite: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a variant answers as its reference does.

    Attributes
    ----------
    n : pictures that both answered
    agreed : of those, with the same most probable class; None for what has no classes
    outputs : a match an output
    labelled : pictures whose label is known
    right, reference_right : of those, answered rightly
    lost, gained : right only by the reference, right only by the variant
    """

    n: int
    agreed: int | None
    outputs: tuple[OutputMatch, ...]
    labelled: int = 0
    right: int = 0
    reference_right: int = 0
    lost: int = 0
    gained: int = 0

    @property
    def share(self) -> float:
        """Share of pictures with the same most probable class (0–1); nan where undefined."""
        return self.agreed / self.n if self.agreed is not None and self.n else nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of :attr:`share` (Wilson 1927)."""
        return wilson(self.share, self.n) if self.agreed is not None and self.n else (nan, nan)

    @property
    def cosine(self) -> float:
        """The least mean cosine of all outputs; nan without any."""
        return min((o.cosine for o in self.outputs), default=nan)

    @property
    def not_finite(self) -> int:
        """Pictures on which some output was NaN or infinite (the most of any output)."""
        return max((o.not_finite for o in self.outputs), default=0)

    @property
    def accuracy(self) -> float:
        """Share of labelled pictures that the variant answers rightly; nan without any."""
        return self.right / self.labelled if self.labelled else nan

    @property
    def reference_accuracy(self) -> float:
        """The same of the reference."""
        return self.reference_right / self.labelled if self.labelled else nan

    @property
    def chance(self) -> float:
        """How likely it is to lose so many more than are gained by chance (sign test, one side).

        Only pictures that one of both gets right tell (McNemar 1947); 1 where there are none.
        """
        n = self.lost + self.gained
        return sum(comb(n, k) for k in range(self.lost, n + 1)) / 2**n if n else 1.0


class Tally:
    """Counts one variant's answers against its reference's, as they come."""

    def __init__(self, reference: Model, variant: Model) -> None:
        self.reference, self.variant = reference, variant
        self.classes = scores_of(reference) if scores_of(variant) is not None else None
        self._n = self._agreed = 0
        self._labelled = self._right = self._reference_right = self._lost = self._gained = 0
        self._outputs: dict[str, list[float]] = {}

    def add(
        self, wanted: Mapping[str, Any], got: Mapping[str, Any], truth: int | None = None
    ) -> None:
        """Count one picture: both models' outputs by name, and its class where that is known.

        Raises
        ------
        OutputUnsupportedError : an output that the reference has is missing, or of another shape
        """
        for place, (name, one) in enumerate(wanted.items()):
            self._compare(name, np.asarray(one), self._counterpart(name, place, got, one))
        self._n += 1
        if self.classes is None:
            return
        said = _best(self.reference, wanted[self.classes])
        answered = _best(self.variant, got[scores_of(self.variant) or ""])
        self._agreed += said == answered and said is not None
        if truth is not None:
            labels = self.reference.labels
            true = labels[truth] if labels is not None else truth
            ours, theirs = answered == true, said == true
            self._labelled += 1
            self._right += ours
            self._reference_right += theirs
            self._lost += theirs and not ours
            self._gained += ours and not theirs

    def _counterpart(
        self, name: str, place: int, got: Mapping[str, Any], wanted: Any
    ) -> NDArray[Any]:
        """Return the variant's output of that name, else the one at that place."""
        values = list(got.values())
        found = got.get(name, values[place] if place < len(values) else None)
        array, other = np.asarray(wanted), np.asarray(found)
        if found is None or other.shape != array.shape or other.dtype.kind not in "fiub":
            seen = "missing" if found is None else f"{other.dtype.name} {shape(other.shape)}"
            expected = f"{array.dtype.name} {shape(array.shape)} as output {name!r} of "
            raise OutputUnsupportedError(self.variant.id, seen, f"{expected}{self.reference.id!r}")
        return other

    def _compare(self, name: str, wanted: NDArray[Any], got: NDArray[Any]) -> None:
        tally = self._outputs.setdefault(name, [0.0, inf, 0.0, 0.0, 0])
        one, two = (a.astype(np.float64).ravel() for a in (wanted, got))
        tally[3] = max(tally[3], float(np.abs(one).max(initial=0.0)))
        if not np.isfinite(two).all():
            tally[1], tally[2] = -1.0, inf
            tally[0] -= 1.0
            tally[4] += 1
            return
        angle = cosine(one, two)
        tally[0] += angle
        tally[1] = min(tally[1], angle)
        tally[2] = max(tally[2], float(np.abs(one - two).max(initial=0.0)))

    def agreement(self) -> Agreement:
        """Return what was counted."""
        n = max(1, self._n)
        return Agreement(
            n=self._n,
            agreed=None if self.classes is None else self._agreed,
            outputs=tuple(
                OutputMatch(
                    name=name, cosine=total / n, least_cosine=least, max_difference=largest,
                    scale=scale, not_finite=int(wrong),
                )
                for name, (total, least, largest, scale, wrong) in self._outputs.items()
            ),
            labelled=self._labelled,
            right=self._right,
            reference_right=self._reference_right,
            lost=self._lost,
            gained=self._gained,
        )  # fmt: skip


def cosine(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Return the cosine of the angle between two vectors: 1 for two nulls, 0 for one.

    >>> cosine(np.array([1.0, 0.0]), np.array([2.0, 0.0])), cosine(np.zeros(2), np.ones(2))
    (1.0, 0.0)
    """
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(two))
    if not all(lengths):
        return float(lengths[0] == lengths[1])
    return float(np.clip(one / lengths[0] @ (two / lengths[1]), -1.0, 1.0))


def scores_of(model: Model) -> str | None:
    """Return the output with a classifier's scores; None for what is no classifier."""
    try:
        return model.scores_output
    except UnsupportedInputsError:
        return None


def _best(model: Model, scores: Any) -> str | int | None:
    """Return the class with the highest score, by name where it has one; None among NaN."""
    row = np.asarray(scores, np.float64).ravel()
    if not row.size or np.isnan(row).any():
        return None
    index = int(row.argmax())
    labels: Sequence[str] | None = model.labels
    return labels[index] if labels is not None and index < len(labels) else index
