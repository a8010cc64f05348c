"""One picture through one model, with any preprocessing: what all widgets do in the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import (
    ConfigError,
    FetchError,
    ImageError,
    MissingFileError,
    WorkbenchError,
)
from workbench.inference import recipe
from workbench.inference.results import Failure, Result
from workbench.inference.source import Kept, fetched, folder_of, is_address, keep, listed, name_of
from workbench.timing import Stages
from workbench.units import count
from workbench.widgets.transfer import Upload

if TYPE_CHECKING:
    from workbench.inference.runner import Runner
    from workbench.models.model import Model
    from workbench.preprocessing.images import ImageSource
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.stopping import Stop


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A picture of a sitting.

    Attributes
    ----------
    name : for people; it may be a stranger's text
    source : what it is read from: a path, the bytes of an upload, an array …
    """

    name: str
    source: Any = field(repr=False)

    @classmethod
    def of(cls, source: ImageSource | Upload) -> Photo:
        """Name anything that stands for a picture."""
        if isinstance(source, Upload):
            return cls(source.name, source.content)
        if hasattr(source, "read") and not hasattr(source, "getexif"):  # can be read once only
            return cls(name_of(source), source.read())
        if isinstance(source, np.ndarray):  # what is written to it later is another picture
            return cls(name_of(source), source.copy())
        path = isinstance(source, (str, Path))
        return cls(name_of(source), str(source) if path else source)

    def here(self, stop: Stop | None = None) -> Photo:
        """Return the same picture with its bytes, where it is one on a server.

        Raises
        ------
        UrlRefusedError, DownloadError, … : see :func:`workbench.inference.source.fetched`
        """
        if not is_address(self.source):
            return self
        return Photo(self.name, fetched(self.source, stop))


def named(text: str, *, most: int) -> list[Photo]:
    """Return the picture, or the pictures of the folder, that a text names.

    Raises
    ------
    ConfigError : a folder with more than ``most`` pictures
    MissingFileError : a folder without any
    """
    if "://" in text or text.startswith("data:"):
        return [Photo.of(text)]
    path = Path(text).expanduser()
    if folder_of(path) is None:
        return [Photo.of(path)]
    found = [Photo.of(picture) for picture in islice(listed(path), most + 1)]
    if len(found) > most:
        many = "wb.Runner().classify(folder, model=…) takes any number."
        raise ConfigError("The folder", text, f"at most {count(most, 'picture')} here", many)
    return found


def fitted(preset: str | None, own: Pipeline) -> Pipeline | None:
    """Return a preset, fitted to the input of a model with its ``own`` pipeline; None for None."""
    return None if preset is None else recipe.fitted(preset, own)


def classify(
    runner: Runner,
    photo: Photo,
    model: Model,
    *,
    pipeline: Pipeline | None = None,
    top_k: int | None = None,
    stop: Stop | None = None,
) -> Result:
    """Answer for one picture, prepared by the model's own preprocessing or by another.

    The answer carries the picture's name, the times of all stages, and of the picture only
    what its thumbnail needs.
    """
    other = recipe.turned(model, pipeline)
    steps = other or model.preprocessing
    batch, parts = steps.timed(photo.source, where=photo.name)
    result = runner.classify_tensor(batch, model=model, top_k=top_k, stop=stop)
    assert isinstance(result, Result), "one picture, one answer"
    stages = {**parts, **result.timings}
    kept = keep(photo.source)
    picture = kept.picture()
    return replace(
        result,
        source=photo.name,
        timings=Stages(stages, sum(stages.values())),
        preprocessing=other,
        _input=Kept(picture, sha256=kept.checksum()),
    )


def unreadable(error: WorkbenchError) -> bool:
    """Say whether an error is of a picture that cannot be read, wherever it comes from."""
    return isinstance(error, ImageError | FetchError) or (
        isinstance(error, MissingFileError) and error.what != "model file"
    )


def answer(
    runner: Runner, photo: Photo, model: Model, *, stop: Stop, load: bool = True, **options: Any
) -> Result | Failure:
    """Answer as :func:`classify` does; a failure is an answer, unless someone stopped it.

    ``load`` : open the model first, so that ``stop`` ends that as well
    """
    try:
        if load:
            runner.load(model, stop=stop)
        return classify(runner, photo, model, stop=stop, **options)
    except WorkbenchError as error:
        if stop.over:
            raise
        kept = keep(photo.source).bare()
        return Failure(source=photo.name, error=error, model=model.id, _input=kept)
