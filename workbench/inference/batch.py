"""What a run is fed with, and how its output is read: one batch, before and after the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import OutputUnsupportedError
from workbench.inference.source import Kept, Parcel, fetched, is_address, keep
from workbench.preprocessing.images import read_bytes
from workbench.timing import clock
from workbench.units import shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inference.executor import Job
    from workbench.models.model import Model

#: What is kept of a source, the batch of one that it became, and the seconds of each stage.
Prepared = tuple["Kept | None", "NDArray[Any]", dict[str, float]]


def labels_for(model: Model, classes: int) -> tuple[str, ...] | None:
    labels = model.labels
    if labels is not None and len(labels) != classes:
        raise OutputUnsupportedError(
            model.id, f"{classes} scores", f"one for each of its {len(labels)} labels"
        )
    return labels


def rows_of(values: Any, n: int, model: Model) -> NDArray[Any]:
    """Bring an output into (N, C) float form, or say why it is no list of scores."""
    plain = type(values) is np.ndarray and values.dtype.char == "f" and values.ndim == 2
    if plain and len(values) == n and values.size:
        return values  # type: ignore[no-any-return]
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = getattr(getattr(values, "dtype", None), "name", type(values).__name__)
        raise OutputUnsupportedError(model.id, f"a {kind}", "an array of scores, (N, C)")
    rows = values
    if rows.ndim > 2 and all(d == 1 for d in rows.shape[2:]):
        rows = rows.reshape(rows.shape[:2])  # (N, C, 1, 1)
    elif rows.ndim > 2 and all(d == 1 for d in rows.shape[1:-1]):
        rows = rows.reshape(rows.shape[0], rows.shape[-1])  # (N, 1, 1, C)
    if rows.ndim == 1 and n == 1:
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[0] != n or rows.shape[1] < 1:
        seen = f"{values.dtype.name} {shape(values.shape)}"
        raise OutputUnsupportedError(model.id, seen, f"({n}, C) scores")
    return rows if rows.dtype == np.float32 else rows.astype(np.float32)


def filled(batch: NDArray[Any], fixed: int | None) -> NDArray[Any]:
    """Fill a batch up with zeros to the size that a graph has fixed."""
    if fixed is None or len(batch) >= fixed:
        return batch
    rest = np.zeros((fixed - len(batch), *batch.shape[1:]), batch.dtype)
    return np.concatenate([batch, rest])


def prepared(job: Job, source: Any) -> Prepared:
    """Preprocess a source, and keep of it what can be read a second time for its thumbnail."""
    steps = job.turned or job.model.preprocessing
    if isinstance(source, Parcel):  # whoever sent it keeps what shows it
        return None, *source.prepared(steps)
    if is_address(source):
        begun = clock()
        source = fetched(source, job.stop)
        fetch_s = clock() - begun
        kept = keep(source)
        batch, parts = steps.timed(source)
        return kept, batch, {"fetch": fetch_s, **parts}
    if hasattr(source, "read") and not hasattr(source, "getexif"):
        source = read_bytes(source)[0]  # a file-like object can be read once only
    kept = keep(source)  # before the picture is read: a file that changes meanwhile is not shown
    batch, parts = steps.timed(source)
    return kept, batch, parts
