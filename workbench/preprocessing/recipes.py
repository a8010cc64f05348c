"""Recipes that a model may have been trained with, and how well answers speak for one.

Pure: candidates in, pipelines out; probabilities in, scores out. Nothing is run here.

Without labels a recipe is scored by what its answers tell: how sure they are one by one and how
much they differ from picture to picture (the mutual information of pictures and classes), times
how little they change when the picture is mirrored. Sureness alone would name the wrong recipe:
a network fed with numbers that are far too large is sure of one class, whatever it is shown.

Source
------
Bridle, Heading and MacKay 1992, "Unsupervised Classifiers, Mutual Information and 'Phantom
Targets'" (firm and fair answers); Efron 1979 (the bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.sampling import ResizeSampled
from workbench.preprocessing.steps import (
    CenterCrop,
    ChannelOrder,
    Grayscale,
    NormalizeBatch,
    PictureStep,
    Resize,
    ResizeCrop,
    Size,
    Step,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Probabilities = NDArray[np.float32]

Constants = tuple[float, tuple[float, ...] | None, tuple[float, ...] | None]

_HALF = (0.5, 0.5, 0.5)
#: What is done to 0–255: multiplied by the first, then minus mean, by std (red, green, blue).
VALUES: dict[str, Constants] = {
    "ImageNet mean/std": (1 / 255, presets.IMAGENET_MEAN, presets.IMAGENET_STD),
    "CIFAR-10 mean/std": (1 / 255, presets.CIFAR10_MEAN, presets.CIFAR10_STD),
    "CLIP mean/std": (1 / 255, presets.CLIP_MEAN, presets.CLIP_STD),
    "−1 to 1": (1 / 255, _HALF, _HALF),
    "0 to 1": (1 / 255, None, None),
    "0 to 255": (1.0, None, None),
    # Caffe's models: https://github.com/BVLC/caffe, models/bvlc_googlenet (mean of ImageNet)
    "0 to 255, minus mean": (1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
}
#: Shares of the shorter side that a crop keeps: none, torchvision's, timm's newer.
CROPS: tuple[float | None, ...] = (1.0, 0.875, 0.95, None)
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
#: Rounds of the bootstrap.
ROUNDS = 600
#: Share of the rounds that a recipe must win for two to be told apart.
SURE = 0.95
#: Least difference of two scores that counts: a win in every round by less than this says more
#: of how firm answers are than of how right they are.
MARGIN = 0.02
#: Kinds of pictures (as :func:`variety` counts them) below which no recipe is called wrong.
#: Pictures of one or two kinds speak for whatever recipe spreads the answers. Measured on draws of
#: 60 and 100 of CIFAR-10's test pictures, the embedded small model's right recipe was called wrong
#: without labels in 82 % of draws of one class, 30 % of two, 6 % of three and none of five, and
#: with labels in 25 % of draws of one class and 4 % of two. By these limits 3 % of draws of one
#: class are judged, 12 % of two, 89 % of three and all of four; of the 8-bit model's 1, 0 and 62 %.
KINDS = 3.5
KINDS_LABELLED = 1.9
#: A recipe takes part in counting kinds if it scores at least this share of the best one.
_RIVAL = 0.75
#: How many times larger the numbers that one recipe feeds may be for it to be of the same order.
_ORDER = 16.0
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Candidate:
    """One recipe, by the choices that recipes differ in.

    Attributes
    ----------
    values : a name in :data:`VALUES`, or :data:`WRITTEN` for the constants of the recipe in use
    color : order of the channels
    crop : share of the scaled picture that is kept; None where the picture is stretched
    interpolation : filter of the scaling
    sampling : "antialiased" (Pillow, and torchvision on PIL images), or "sampled" (OpenCV, and
        torchvision's tensors without antialiasing)
    layout : of the batch
    """

    values: str
    color: Literal["RGB", "BGR", "GRAY"] = "RGB"
    crop: float | None = 1.0
    interpolation: str = "bilinear"
    sampling: Literal["antialiased", "sampled"] = "antialiased"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def describe(self) -> str:
        """Say what is done, in a line.

        >>> Candidate("0 to 1").describe()
        'RGB, 0 to 1, middle crop 1, bilinear, antialiased, NCHW'
        """
        crop = "stretched" if self.crop is None else f"middle crop {self.crop:g}"
        parts = (self.color, self.values, crop, self.interpolation, self.sampling, self.layout)
        return ", ".join(parts)


#: The choices, in the order in which they are shown.
CHOICES = ("color", "values", "crop", "interpolation", "sampling", "layout")
WRITTEN = "as written"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the graph fixes of every recipe.

    Attributes
    ----------
    size : height and width that are fed
    dtype, channels : of the input
    layouts : those that the graph leaves open
    written : constants of the recipe in use, where they are none of :data:`VALUES`
    base : where the search begins: the usual recipe for such a model
    """

    size: Size
    dtype: str
    channels: int
    layouts: tuple[Literal["NCHW", "NHWC"], ...]
    base: Candidate
    written: Constants | None = None

    def constants(self, name: str) -> Constants:
        """Return the constants behind a candidate's ``values``."""
        if name == WRITTEN and self.written is not None:
            return self.written
        return VALUES[name]

    def families(self) -> tuple[str, ...]:
        """Return the names of all constants worth trying."""
        if not self.dtype.startswith("float"):
            return ("0 to 255",)
        return (*VALUES, *((WRITTEN,) if self.written is not None else ()))


def constants_of(pipeline: Pipeline) -> tuple[str, Constants] | None:
    """Return the name and the numbers of what a pipeline does to 0–255; None where unclear."""
    plain = pipeline.unfused().steps
    scale = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    for step in plain:
        if type(step).__name__ == "Rescale" and mean is None:
            scale *= step.scale  # type: ignore[attr-defined]
        elif type(step).__name__ == "Normalize":
            if mean is not None:
                return None
            mean, std = step.mean, step.std  # type: ignore[attr-defined]
    if pipeline.color_format == "BGR" and mean is not None and std is not None:
        mean, std = mean[::-1], std[::-1]
    told: Constants = (scale, mean, std)
    name = next((n for n, known in VALUES.items() if _same(known, told)), WRITTEN)
    return name, told


def _same(one: Constants, other: Constants) -> bool:
    flat = [
        np.broadcast_to(np.array(part if part is not None else fallback, np.float64), 3)
        for constants in (one, other)
        for part, fallback in zip(constants, (1.0, 0.0, 1.0), strict=True)
    ]
    return all(
        np.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(flat[:3], flat[3:], strict=True)
    )


def pipeline_of(candidate: Candidate, wanted: Wanted) -> Pipeline:
    """Return the pipeline of a candidate."""
    steps: list[Step] = list(geometry_of(candidate, wanted))
    scale, mean, std = wanted.constants(candidate.values)
    if candidate.color == "GRAY":
        steps.append(Grayscale())
        if mean is not None and std is not None:
            mean, std = (float(np.mean(mean)),), (float(np.mean(std)),)
    elif candidate.color == "BGR":
        steps.append(ChannelOrder("BGR"))
        mean = None if mean is None else mean[::-1]
        std = None if std is None else std[::-1]
    steps.append(
        NormalizeBatch(scale=scale, mean=mean, std=std, layout=candidate.layout, dtype=wanted.dtype)
    )
    return Pipeline(tuple(steps), name=candidate.values)


def geometry_of(candidate: Candidate, wanted: Wanted) -> tuple[PictureStep, ...]:
    """Return the steps that scale and crop."""
    size, how = wanted.size, candidate.interpolation
    if candidate.crop is None:
        if candidate.sampling == "sampled":
            return (ResizeSampled(size, how),)  # type: ignore[arg-type]
        return (Resize(size, how),)
    scaled = presets.scale_size(size, candidate.crop)
    if candidate.sampling == "antialiased":
        return (ResizeCrop(scaled, size, how),)
    side = scaled if isinstance(scaled, int) else max(scaled)
    return ResizeSampled(side, how), CenterCrop(size)  # type: ignore[arg-type]


def alternatives(candidate: Candidate, choice: str, wanted: Wanted) -> tuple[Candidate, ...]:
    """Return a candidate with one choice made in every other way that is worth trying."""
    options: Sequence[object]
    match choice:
        case "color":
            options = ("GRAY",) if wanted.channels == 1 else ("RGB", "BGR")
        case "values":
            options = wanted.families()
        case "crop":
            options = CROPS
        case "interpolation":
            options = INTERPOLATIONS
        case "sampling":
            options = ("antialiased", "sampled")
        case _:
            options = wanted.layouts
    own = getattr(candidate, choice)
    return tuple(_with(candidate, choice, value) for value in options if value != own)


def _with(candidate: Candidate, choice: str, value: Any) -> Candidate:
    return replace(candidate, **{choice: value})


def screening(wanted: Wanted) -> Iterator[Candidate]:
    """Yield the candidates that differ most: all numbers, in both orders of colours."""
    for layout in wanted.layouts:
        for color in ("GRAY",) if wanted.channels == 1 else ("RGB", "BGR"):
            for values in wanted.families():
                yield replace(wanted.base, values=values, color=color, layout=layout)  # type: ignore[arg-type]


def usual(candidate: Candidate, base: Candidate) -> int:
    """Count the choices in which a candidate differs from the usual recipe."""
    return sum(getattr(candidate, c) != getattr(base, c) for c in CHOICES)


def magnitude(candidate: Candidate, wanted: Wanted) -> float:
    """Return how far apart black and one level above it are in what a candidate feeds.

    >>> at = Wanted((8, 8), "float32", 3, ("NCHW",), Candidate("0 to 1"))
    >>> magnitude(Candidate("0 to 255"), at), round(magnitude(Candidate("−1 to 1"), at) * 255)
    (1.0, 2)
    """
    scale, _, std = wanted.constants(candidate.values)
    return scale / float(np.mean(std)) if std is not None else scale


# ── scoring ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model says with one recipe.

    Attributes
    ----------
    plain, mirrored : (N, C) float32 probabilities of the pictures, and of their mirror images
    """

    plain: Probabilities
    mirrored: Probabilities

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        return bool(np.isfinite(self.plain).all() and np.isfinite(self.mirrored).all())


def confidence(answers: Answers) -> float:
    """Return the mean of the largest probabilities, 0–1."""
    return float(answers.plain.max(axis=1).mean())


def agreement(answers: Answers) -> float:
    """Return how alike the answers to pictures and to their mirror images are, 0–1.

    The mean Bhattacharyya coefficient.
    """
    return float(_overlap(answers).mean())


def _overlap(answers: Answers) -> NDArray[np.float64]:
    both = np.asarray(answers.plain, np.float64) * answers.mirrored
    return np.asarray(np.minimum(1.0, np.sqrt(both).sum(axis=1)), np.float64)


def resamples(n: int, rounds: int = ROUNDS) -> NDArray[np.float64]:
    """Return how much each of ``n`` pictures counts in each round, (rounds + 1, n); seed 0.

    The first row counts all the same. Every row adds up to 1.
    """
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=rounds)
    return np.concatenate([np.ones((1, n)), drawn]) / n


def scores(
    answers: Answers, truths: NDArray[np.intp] | None, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how well the answers speak for their recipe, in each round of the bootstrap.

    Parameters
    ----------
    truths : (N,) indices of the right classes; None where they are not known
    weights : (rounds, N), as :func:`resamples` gives them

    Returns
    -------
    (rounds,) float64, 0–1. With labels the mean of accuracy and of the probability given to the
    truth; without, information (0–1) times agreement. 0 where a number is not finite.

    Examples
    --------
    >>> firm = np.array([[0.98, 0.02], [0.02, 0.98]], np.float32)
    >>> stuck = np.array([[0.99, 0.01], [0.99, 0.01]], np.float32)
    >>> even = np.full((1, 2), 0.5)
    >>> [round(float(scores(Answers(p, p), None, even)[0]), 2) for p in (firm, stuck)]
    [0.86, 0.0]
    """
    if not answers.finite:
        return np.zeros(len(weights))
    p = np.asarray(answers.plain, np.float64)
    if truths is not None:
        right = (p.argmax(axis=1) == truths).astype(np.float64)
        given = p[np.arange(len(p)), truths]
        told: NDArray[np.float64] = np.asarray(weights @ ((right + given) / 2), np.float64)
        return told
    mean = weights @ p
    single = -(p * np.log(p + _LEAST)).sum(axis=1)
    together = -(mean * np.log(mean + _LEAST)).sum(axis=1)
    known = max(1.0, np.log(p.shape[1]))
    most = min(known, np.log(max(2, len(p))))
    information = np.clip((together - weights @ single) / most, 0, 1)
    return np.asarray(information * (weights @ _overlap(answers)), np.float64)


def variety(indices: NDArray[np.intp]) -> float:
    """Return how many kinds there are, each counted by its share: e to the entropy of the shares.

    >>> round(variety(np.array([3, 3, 5, 5])), 2), round(variety(np.array([3] * 19 + [5])), 2)
    (2.0, 1.22)
    """
    found = np.unique(indices, return_counts=True)[1] / len(indices)
    return float(np.exp(-(found * np.log(found)).sum()))


def kinds(
    answers: Mapping[Candidate, Answers],
    scored: Mapping[Candidate, float],
    leading: Candidate,
    wanted: Wanted,
) -> float:
    """Return of how many kinds pictures are, by what a model answers: the least that fits.

    Looked at are the recipes that feed numbers of the same order as the leading one and that do
    not score much less: among them is the right one, which spreads the pictures of one class
    less than others do. Numbers that are far too large make a model answer few classes, whatever
    it is shown, and say nothing.

    Parameters
    ----------
    answers : by recipe
    scored : how well they speak for it, 0–1
    leading : the recipe that would be named
    """
    order = magnitude(leading, wanted)
    rivals = {
        candidate: scored[candidate]
        for candidate in answers
        if all(
            getattr(candidate, c) == getattr(wanted.base, c)
            for c in ("crop", "interpolation", "sampling")
        )
        and 1 / _ORDER < magnitude(candidate, wanted) / order < _ORDER
    }
    best = max(rivals.values(), default=0.0)
    found = [
        variety(answers[candidate].plain.argmax(axis=1))
        for candidate, score in rivals.items()
        if score >= _RIVAL * best
    ]
    return min(found, default=1.0)


def kinds_needed(classes: int, *, labelled: bool) -> float:
    """Return of how many kinds pictures must be for a recipe to be called wrong.

    >>> [kinds_needed(n, labelled=False) for n in (2, 10, 1000)]
    [1.5, 3.5, 3.5]
    """
    return min(KINDS_LABELLED if labelled else KINDS, 0.75 * max(2, classes))


def moved(one: Answers, other: Answers) -> float:
    """Return how far answers are from others, 0–1: the mean total variation distance."""
    if not (one.finite and other.finite):
        return 1.0
    return float(np.abs(one.plain - other.plain).sum(axis=1).mean() / 2)


def changed(one: Answers, other: Answers) -> float:
    """Return the share of pictures whose most probable class changes."""
    return float((one.plain.argmax(axis=1) != other.plain.argmax(axis=1)).mean())


def alike(best: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Say whether these pictures cannot tell a recipe from the best."""
    return won(best, other) < SURE or float(best[0] - other[0]) < MARGIN


def won(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return in which share of the rounds the first scores more; a tie counts half."""
    return float((one[1:] > other[1:]).mean() + (one[1:] == other[1:]).mean() / 2)
