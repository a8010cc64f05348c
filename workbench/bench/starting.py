"""Taking cold starts: which shapes, how often, in which order, one fresh process at a time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.bench.cold import ColdStart, Start
from workbench.bench.launch import Shapes, rehearse
from workbench.errors import CancelledError, ConfigError, WorkbenchError, require_count
from workbench.models.hub import ModelHub, default_hub
from workbench.models.model import Model
from workbench.models.session import Options, check_feeds
from workbench.models.warmup import made_up
from workbench.timing import Samples
from workbench.units import shape

if TYPE_CHECKING:
    from workbench.stopping import Stop


def cold_start(
    model: str | Path | Model,
    *,
    shapes: Iterable[int | Sequence[int] | Mapping[str, Sequence[int]]] = (1,),
    repeats: int = 5,
    runs: int = 30,
    hub: ModelHub | None = None,
    threads: int | None = None,
    providers: object = "auto",
    spinning: bool | Literal["auto"] = "auto",
    timeout_s: float = 60.0,
    seed: int = 0,
    progress: bool = True,
    stop: Stop | None = None,
) -> ColdStart:
    """Start a model in fresh processes, and say where the time goes until it is steady.

    Parameters
    ----------
    model : id, path to an .onnx file, or a Model (whose options hold)
    shapes : what it is fed with: a batch, the shape of its only input, or input → shape
    repeats : fresh processes for each shape, in shuffled order
    runs : most runs after the first in each, until the times settle
    hub : where the model comes from; its other runs wait meanwhile; None for the process's hub
    threads, providers, spinning : as in :meth:`ModelHub.load`
    timeout_s : limit of one process in seconds; what takes longer is killed, and its row says so
    seed : of the order
    progress : show a bar with the time left
    stop : ends it at once and keeps what was measured; the keyboard interrupt does the same

    Raises
    ------
    UnknownModelError, MissingFileError, NotOnnxError, … : there is no such model
    ConfigError, InputMismatchError : counts or shapes that cannot be

    Notes
    -----
    Launching is measured from before the process was made to the interpreter's first statement;
    it is left out where the clocks of two processes cannot be compared.
    """
    require_count("repeats", repeats)
    require_count("runs", runs)
    if type(timeout_s) not in (int, float) or not (timeout_s > 0 and isfinite(timeout_s)):
        raise ConfigError("timeout_s", timeout_s, "a positive number of seconds")
    hub = hub or (model.hub if isinstance(model, Model) else default_hub())
    options = Options.of(threads, providers, spinning)
    handle = hub.handle(model, options)
    wanted = [_shapes(handle, item) for item in _listed(shapes)]
    turns = [(number, fed) for number in range(repeats) for fed in _shuffled(wanted, seed + number)]
    starts: list[Start] = []
    with hub.exclusive(timeout_s=hub.timeout_s):
        try:
            for number, fed in _shown(turns, progress):
                if stop is not None and stop.over:
                    break
                starts.append(_start(handle, fed, number, runs, timeout_s, stop))
        except (CancelledError, KeyboardInterrupt):
            pass  # what was measured is kept
    return ColdStart(
        model=handle.id,
        starts=tuple(starts),
        wanted=len(turns),
        seed=seed,
        stopped=len(starts) < len(turns),
    )


def _start(
    model: Model, fed: Shapes, number: int, runs: int, timeout_s: float, stop: Stop | None
) -> Start:
    """Take one cold start; what goes wrong is a marked row, but for a stop."""
    told = words(fed)
    try:
        found, error = rehearse(model, fed, runs=runs, timeout_s=timeout_s, stop=stop)
    except CancelledError:
        raise
    except WorkbenchError as refused:
        return Start(fed=told, number=number, stages={}, runs=Samples(()), error=refused)
    return read(found, told, number, timeout_s, error)


def read(
    found: Mapping[str, Any], fed: str, number: int, timeout_s: float, error: WorkbenchError | None
) -> Start:
    """Turn what a child found into a row."""
    launch_s = float(found.get("launch_s", -1.0))
    comparable = 0 <= launch_s <= timeout_s
    peak, imported = found.get("peak_bytes"), found.get("imported_bytes")
    return Start(
        fed=fed,
        number=number,
        stages=({"launch": launch_s} if comparable else {}) | dict(found.get("stages", {})),
        runs=Samples(tuple(found.get("runs_s", ())), fed),
        settled_at=found.get("settled_at"),
        provider=str(found.get("provider", "")),
        precision=str(found.get("precision", "")),
        threads=int(found.get("threads", 0)),
        peak_bytes=peak,
        grown_bytes=None if peak is None or imported is None else max(0, peak - imported),
        error=error,
    )


def _listed(shapes: Any) -> list[Any]:
    """Return the shapes that were asked for, at least one."""
    if isinstance(shapes, (str, bytes, Mapping)) or not isinstance(shapes, Iterable):
        raise ConfigError("shapes", shapes, "a list of batches, or of shapes")
    items = list(shapes)
    if not items:
        raise ConfigError("shapes", items, "at least one batch or shape")
    return items


def _shapes(model: Model, item: Any) -> Shapes:
    """Turn one item of ``shapes`` into the dtype and shape of every input, and check it."""
    own = model.sample_shapes(1)
    if type(item) is int:
        require_count("shapes", item)
        wanted = model.sample_shapes(item)
    elif isinstance(item, Mapping):
        if unknown := [name for name in item if name not in own]:
            raise ConfigError("shapes", unknown[0], f"a shape for one of {', '.join(own)}")
        wanted = {name: (kind, _dims(item.get(name, dims))) for name, (kind, dims) in own.items()}
    elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)) and len(own) == 1:
        wanted = {name: (kind, _dims(item)) for name, (kind, _) in own.items()}
    else:
        raise ConfigError(
            "shapes", item, "a batch (a whole number), a shape, or a dict of input → shape"
        )
    if mismatch := check_feeds(model.inputs, made_up(wanted)):
        raise mismatch
    return wanted


def _dims(dims: Any) -> tuple[int, ...]:
    for dim in dims:
        require_count("shapes", dim)
    return tuple(dims)


def words(fed: Shapes) -> str:
    """Render what is fed: the shape of an only input, or each with its name."""
    if len(fed) == 1:
        return next(shape(dims) for _, dims in fed.values())
    return ", ".join(f"{name} {shape(dims)}" for name, (_, dims) in fed.items())


def _shuffled(items: Sequence[Shapes], seed: int) -> list[Shapes]:
    order = list(items)
    random.Random(seed).shuffle(order)
    return order


def _shown(turns: list[tuple[int, Shapes]], progress: bool) -> Iterable[tuple[int, Shapes]]:
    if not progress:
        return turns
    from tqdm.auto import tqdm

    return tqdm(turns, desc="Cold starts", unit="process", delay=1.0, leave=False)
