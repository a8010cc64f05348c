"""What the output of a classifier means: probabilities, the best k, and "none of my classes"."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbench.errors import ConfigError
from workbench.value import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

Activation = Literal["auto", "softmax", "sigmoid", "none"]
#: What is really applied, once it is decided.
Applied = Literal["softmax", "sigmoid", "none"]
Score = Literal["max_softmax", "max_logit", "energy"]

#: Operators that leave probabilities behind them: nothing is applied after these.
_PROBABILITY_OPERATORS = {
    "Softmax": "a Softmax",
    "Sigmoid": "a Sigmoid",
    "com.microsoft:QLinearSoftmax": "a quantised Softmax",
    "com.microsoft:QLinearSigmoid": "a quantised Sigmoid",
}
#: Rows of at most so many classes are read with plain floats: after a large model's run the caches
#: are cold, and the machinery of arrays costs 40 µs more than ten numbers are worth.
FEW = 64
#: How far the sum of a row of probabilities may be from 1 (rounding of 16-bit outputs).
_SUM_TOLERANCE = 2e-3


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label with its probability (0–1) and its index among the model's classes."""

    label: str
    index: int
    probability: float


_OPENED = opened(Prediction)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Turn (..., C) logits into (..., C) float32 probabilities that add up to 1.

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    return _softmax_and_energy(logits)[0]


def _softmax_and_energy(
    logits: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the softmax of (..., C) logits, and the logarithm of the sum of exponentials, (...).

    The second is the energy score of :func:`outside_score`. Both come from the same sum, in
    float64, where no finite float32 overflows.
    """
    x: NDArray[np.float64] = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # what is not finite is reported, not warned of
        top = np.maximum.reduce(x, axis=-1, keepdims=True)
        e = np.exp(x - top)
        total = np.add.reduce(e, axis=-1, keepdims=True)
        energy: NDArray[np.float64] = (top + np.log(total))[..., 0]
        return (e / total).astype(np.float32), energy


def _one_softmax(scores: NDArray[np.floating]) -> tuple[NDArray[np.float32], float, bool]:
    """Do what :func:`_softmax_and_energy` does for (C,) scores, and say whether all are finite.

    The same numbers, with half the calls: after a large model's run each has to be fetched.
    """
    x = scores.astype(np.float64)
    finite = isfinite(x.sum())  # no sum of so many float32 overflows a float64
    if not finite:
        return scores.astype(np.float32), 0.0, False
    top = x.max()
    np.subtract(x, top, x)
    np.exp(x, x)
    total = x.sum()
    np.divide(x, total, x)
    return x.astype(np.float32), top.item() + log(total), True


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Turn logits into float32 probabilities, each on its own (several labels may hold).

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    half = np.asarray(logits, np.float32) * np.float32(0.5)
    # never overflows, unlike 1 / (1 + exp(-x))
    p: NDArray[np.float32] = (np.tanh(half) + 1) * np.float32(0.5)
    return p


def resolve_activation(
    activation: Activation, values: NDArray[np.floating], operator: str = ""
) -> tuple[Applied, str]:
    """Decide what to apply to an output, and say why.

    Parameters
    ----------
    activation : what the metadata asks for
    values : (N, C) or (C,) the raw output
    operator : the graph's operator that makes this output, e.g. "Softmax"; "" when unknown

    Returns
    -------
    the activation to apply, and the reason in words

    Examples
    --------
    >>> resolve_activation("auto", np.array([[2.0, -1.0]]), "Gemm")
    ('softmax', 'auto: the values are no probabilities')
    >>> resolve_activation("auto", np.array([[0.25, 0.75]]), "Softmax")
    ('none', 'auto: the graph ends in a Softmax')
    """
    if activation != "auto":
        return activation, "as the metadata says"
    if operator in _PROBABILITY_OPERATORS:
        return "none", f"auto: the graph ends in {_PROBABILITY_OPERATORS[operator]}"
    if operator == "LogSoftmax":
        return "softmax", "auto: the graph ends in a LogSoftmax"
    if values.shape[-1] == 1:
        return "sigmoid", "auto: one score, of which a softmax would always make 100 %"
    if values.min() >= 0:
        sums = values.reshape(-1, values.shape[-1]).sum(axis=-1)
        if np.abs(sums - 1).max() <= _SUM_TOLERANCE:
            return "none", "auto: the values are probabilities already"
    return "softmax", "auto: the values are no probabilities"


def activate(values: NDArray[np.floating], activation: Applied) -> NDArray[np.float32]:
    """Apply an activation to (N, C) values."""
    if activation == "softmax":
        return softmax(values)
    if activation == "sigmoid":
        return sigmoid(values)
    return np.asarray(values, np.float32)


@dataclass(slots=True)  # not frozen: that takes longer to make, and one is made a row
class Reading:
    """What the scores of one input say.

    Attributes
    ----------
    probabilities : (C,) float32, read-only
    finite : whether all scores are; where they are not, nothing else here means anything
    activation : what was applied, and why
    outside : the score of :func:`outside_score` that was asked for, or None
    shares : the same probabilities as plain numbers where classes are few, else None
    """

    probabilities: NDArray[np.float32]
    finite: bool
    activation: str
    outside: float | None = None
    shares: list[float] | None = None


def read(
    scores: NDArray[np.floating],
    activation: Activation = "auto",
    *,
    operator: str = "",
    outside: Score | None = None,
) -> Reading:
    """Read one row of (C,) float32 scores.

    Parameters
    ----------
    scores : (C,) of one input; what it gets does not depend on its neighbours in a batch
    activation, operator : as for :func:`resolve_activation`
    outside : the score to give besides; ``max_softmax`` is the largest probability, whatever
        was applied

    Examples
    --------
    >>> found = read(np.array([1.0, 3.0], np.float32), outside="max_logit")
    >>> found.probabilities.round(3).tolist(), found.outside
    ([0.11900000274181366, 0.8809999823570251], 3.0)
    """
    applied, why = resolve_activation(activation, scores, operator)
    energy: float | None = None
    shares: list[float] | None = None
    if applied != "softmax":
        probabilities = activate(scores, applied)
        finite = bool(np.isfinite(scores).all())
    elif len(scores) <= FEW:
        values: list[float] = scores.tolist()
        finite = isfinite(sum(values))  # no sum of so many float32 overflows a float64
        top = max(values)
        parts = [exp(x - top) for x in values]
        total = sum(parts)
        energy = top + log(total)
        rounded = array("f", [part / total for part in parts])
        shares = rounded.tolist()
        # less to look up than np.array, and read-only as bytes are
        probabilities = np.frombuffer(rounded.tobytes(), np.float32)
    else:
        probabilities, energy, finite = _one_softmax(scores)
    if shares is None:
        probabilities.setflags(write=False)
    if outside is None or not finite:
        found = None
    elif outside == "max_softmax":
        found = float(probabilities.max())
    elif outside == "energy" and energy is not None:
        found = energy
    else:
        found = float(outside_score(scores, outside))
    return Reading(probabilities, finite, f"{applied} ({why})", found, shares)


def top_k(
    probabilities: NDArray[np.float32] | Sequence[float],
    k: int,
    labels: Sequence[str] | None = None,
) -> tuple[Prediction, ...]:
    """Return the k most probable classes of one row, best first, ties by index.

    Parameters
    ----------
    probabilities : (C,) float32, or the same as plain numbers
    k : classes in the answer; all where there are fewer
    labels : names by index; "class 3" and so on without

    >>> top_k(np.array([0.1, 0.6, 0.3], np.float32), 2, ["a", "b", "c"])[0].label
    'b'
    >>> [p.label for p in top_k(np.array([0.5, 0.5], np.float32), 9)]
    ['class 0', 'class 1']
    """
    if k < 1:
        raise ConfigError("top_k", k, "a whole number of at least 1")
    n = len(probabilities)
    k = min(k, n)
    if not isinstance(probabilities, np.ndarray):
        best = sorted(range(n), key=probabilities.__getitem__, reverse=True)[:k]
        pairs: Iterable[tuple[float, int]] = [(probabilities[i], i) for i in best]
    else:
        indices: Sequence[int] = range(n)
        if n > FEW and k < n // 4:
            # every class at least as probable as the k-th: ties at the edge stay in index order
            ordered = probabilities.copy()
            ordered.partition(n - k)
            candidates = (probabilities >= ordered[n - k]).nonzero()[0]
            indices, values = candidates.tolist(), probabilities[candidates].tolist()
        else:
            values = probabilities.tolist()
        both = zip(values, indices, strict=True)
        pairs = sorted(both, key=itemgetter(0), reverse=True)[:k]  # keeps the order of ties
    told: list[Prediction] = []
    for p, i in pairs:
        made = _OPENED()
        made.label = f"class {i}" if labels is None else labels[i]
        made.index, made.probability = i, p
        made.__class__ = Prediction
        told.append(made)
    return tuple(told)


def outside_score(values: NDArray[np.floating], score: Score) -> NDArray[np.float64]:
    """Score (N, C) or (C,) logits by how much they look like the known classes: higher is more.

    ``max_softmax`` (Hendrycks & Gimpel 2017, arXiv:1610.02136), ``max_logit`` (Hendrycks et
    al. 2022, arXiv:1911.11132) or ``energy``, the logarithm of the sum of exponentials (Liu et
    al. 2020, arXiv:2010.03759, with its sign turned).

    >>> outside_score(np.array([[0.0, 0.0]]), "energy").round(4).tolist()
    [0.6931]
    """
    top: NDArray[np.float64] = np.asarray(values, np.float64).max(axis=-1)
    if score == "max_logit":
        return top
    energy = _softmax_and_energy(values)[1]
    return energy if score == "energy" else np.exp(top - energy)
