"""Another preprocessing in place of a model's own: read, checked against the graph, told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.errors import ConfigError, InputMismatchError, choices
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.units import shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.models.model import Model

#: What stands for a preprocessing: itself, a preset's name, or what ``Pipeline.recipe()`` gives.
Recipe: TypeAlias = "Pipeline | str | Sequence[Mapping[str, Any]]"

_EXPECTED = "a Pipeline, the name of a preset, or a recipe as Pipeline.recipe() gives it"
#: Differences that are named in a table's cell.
_NAMED = 3


def fitted(preset: str, own: Pipeline) -> Pipeline:
    """Return a preset, fitted to the input of a model with its ``own`` pipeline."""
    return presets.get(
        preset,
        size=own.size,
        color_format=own.color_format,
        layout=own.layout,
        channels=own.channels,
        dtype=own.dtype,
    )


def turned(model: Model, preprocessing: Recipe | None) -> Pipeline | None:
    """Return what is used in place of a model's own preprocessing; None for its own.

    Its :attr:`~Pipeline.reader` is the model's own.

    Raises
    ------
    UnsupportedInputsError : the model takes no single picture
    ConfigError : nothing that stands for a preprocessing; an unknown preset
    MetadataError : a recipe with an unknown step or field, or an impossible value
    InputMismatchError : it gives what the model does not take: shape, layout or type
    """
    if preprocessing is None:
        return None
    own = model.preprocessing
    pipeline = read(preprocessing, own)
    if pipeline == own:
        return None
    _check(pipeline, model)
    return replace(pipeline, reader=own)


def in_short(pipeline: Pipeline | None) -> str:
    """Say in a cell of a table what a recipe differs by from the model's own.

    >>> own = presets.imagenet()
    >>> in_short(replace(own.replace(color_format="BGR"), reader=own)), in_short(None)
    ('colours: BGR, not RGB', 'its own')
    """
    own = None if pipeline is None else pipeline.reader
    if pipeline is None or own is None:
        return "its own"
    rows = own.differs_from(pipeline)
    named = [f"{what}: {here}, not {mine}" for what, mine, here in rows[:_NAMED]]
    more = [f"and {len(rows) - _NAMED} more"] if len(rows) > _NAMED else []
    return "; ".join([*named, *more])


def read(preprocessing: Recipe, own: Pipeline) -> Pipeline:
    """Return the pipeline that is meant; a preset is fitted to the input of the ``own``.

    Raises
    ------
    ConfigError : nothing that stands for a preprocessing; an unknown preset
    MetadataError : a recipe with an unknown step or field, or an impossible value
    """
    if isinstance(preprocessing, Pipeline):
        return preprocessing
    if isinstance(preprocessing, str):
        if preprocessing not in presets.NAMES:
            expected = f"{choices(presets.NAMES)}; or {_EXPECTED}"
            raise ConfigError("preprocessing", preprocessing, expected)
        return fitted(preprocessing, own)
    if isinstance(preprocessing, list | tuple):
        return Pipeline.from_recipe(preprocessing, where="preprocessing=")
    raise ConfigError("preprocessing", preprocessing, _EXPECTED)


def _check(pipeline: Pipeline, model: Model) -> None:
    """Compare what a preprocessing gives with what the graph takes; the batch is the runner's."""
    port, own = model.picture_port, model.preprocessing
    gives, takes = pipeline.shape, port.shape
    fits = pipeline.dtype == port.dtype and pipeline.layout == own.layout
    if fits and takes is not None:
        fits = len(gives) == len(takes) and all(
            not isinstance(take, int) or give in (None, take)
            for give, take in list(zip(gives, takes, strict=True))[1:]
        )
    if not fits or pipeline.channels != own.channels:
        seen = f"{pipeline.dtype} {shape(gives)}, {pipeline.layout}, from this preprocessing"
        raise InputMismatchError(
            port.name,
            seen,
            f"{port.describe()}, {own.layout}",
            "Turn the model's own recipe, which fits: model.preprocessing.replace(…).",
        )
