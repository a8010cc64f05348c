"""What a quantisation learns its ranges from: batches of prepared pictures, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import ConfigError, UnsupportedInputsError, WorkbenchError
from workbench.inference.source import is_one, listed, name_of
from workbench.models.session import check_feeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.model import Model
    from workbench.stopping import Stop

Feeds = Mapping[str, "NDArray[Any]"]


class Calibration:
    """Hands feeds to onnxruntime's calibration, which asks for ``get_next`` and ``set_range``.

    Each batch is made when it is asked for: memory does not grow with the number of pictures.
    """

    def __init__(self, model: Model, items: list[Any], batch: int, bar: Any, stop: Stop | None):
        self._model, self._bar, self._stop = model, bar, stop
        self._parts = [items[i : i + batch] for i in range(0, len(items), batch)]
        self._batch = batch
        self._next, self._end = 0, len(self._parts)
        #: how many pictures, or feeds, are taken in all
        self.taken = len(items)
        #: the first batch
        self.sample = self._feeds(self._parts[0])

    def __len__(self) -> int:
        return len(self._parts)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on from a batch up to another, as the tools ask."""
        self._next, self._end = start_index, min(end_index, len(self._parts))

    def get_next(self) -> Feeds | None:
        """Return the next batch by input name, or None at the end of the range."""
        if self._stop is not None:
            self._stop.check("The calibration")
        if self._next >= self._end:
            return None
        part = self._parts[self._next]
        feeds = self.sample if self._next == 0 else self._feeds(part)
        self._next += 1
        if self._bar is not None:
            self._bar.update(len(part))
        return feeds

    def _feeds(self, part: list[Any]) -> Feeds:
        model = self._model
        if isinstance(part[0], Mapping):
            (feeds,) = part
            if mismatch := check_feeds(model.inputs, feeds):
                raise mismatch
            return dict(feeds)
        rows = [_prepared(model, source) for source in part]
        if model.picture_batch:  # the last batch is filled up with its own pictures
            rows = [rows[i % len(rows)] for i in range(self._batch)]
        return {model.picture_port.name: np.concatenate(rows)}


def _prepared(model: Model, source: Any) -> NDArray[Any]:
    """Prepare one picture; what is wrong with it is said with its name."""
    try:
        return model.preprocessing(source)
    except WorkbenchError as error:
        error.add_note(f"It was the calibration picture {name_of(source)}.")
        raise


@contextmanager
def calibrate(
    model: Model, data: Any, most: int, batch: int, progress: bool, stop: Stop | None
) -> Iterator[Calibration]:
    """Give the calibration data of a ``with`` block, under a bar where one is wanted.

    Raises
    ------
    ConfigError : there are none
    UnsupportedInputsError : pictures for a model that takes none
    """
    items = _items(data, most)
    feeds = isinstance(items[0], Mapping)
    if not feeds:
        batch = model.picture_batch or batch  # refuses a model that takes no picture
    elif not all(isinstance(item, Mapping) for item in items):
        raise UnsupportedInputsError(
            model.id, "a calibration", "pictures and feeds together", "one kind of them"
        )
    if not progress:
        yield Calibration(model, items, 1 if feeds else batch, None, stop)
        return
    from tqdm.auto import tqdm

    with tqdm(total=len(items), desc="Calibrating", unit="picture", delay=1.0, leave=False) as bar:
        yield Calibration(model, items, 1 if feeds else batch, bar, stop)


def _items(data: Any, most: int) -> list[Any]:
    expected = "pictures, a folder of them, or a list of feeds (input name → array)"
    if data is None:
        raise ConfigError("calibration", data, expected)
    if isinstance(data, Mapping):
        items: list[Any] = [data]
    elif is_one(data):
        items = list(listed(data))
    elif isinstance(data, (Iterable, Path)):
        items = list(islice(listed(data), most))
    else:
        raise ConfigError("calibration", data, expected)
    if not items:
        raise ConfigError("calibration", items, f"at least one picture: {expected}")
    return items
