"""The one door from the service to the runner: whatever runs models stands behind it.

Nothing here knows of HTTP, and nothing else in the service touches a runner or a hub. All calls
block and are made from worker threads; each takes a Stop.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import (
    BadRequestError,
    InputMismatchError,
    MissingFileError,
    UnknownModelError,
    UnsafePathError,
    WorkbenchError,
    abridge,
)
from workbench.host import resident_bytes
from workbench.inference.results import Failure, Result
from workbench.models import store
from workbench.timing import clock
from workbench.units import shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inference.executor import WorkerState
    from workbench.inference.metrics import Metrics
    from workbench.inference.results import Outputs
    from workbench.inference.runner import Runner
    from workbench.models.cache import CacheInfo
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.models.session import SessionFacts
    from workbench.stopping import Stop

#: Models that may be given a name by requests: each costs a little memory, loaded or not.
MOST_NAMES = 1_000
#: What is no number of a whole type: numpy reads whole numbers beyond 64 bits as floats.
_NO_WHOLE = "fractions, or out of range"
#: Most runs of a warm-up that a request asks for.
WARM_UP_RUNS = 10


@dataclass(slots=True)
class Loading:
    """A preload that others look at; ``under_way`` from the begin of the load to its end."""

    under_way: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a preload did: whether the model was there, and seconds of its load and warm-up."""

    cached: bool
    load_s: float
    warmup_s: float


class Engine:
    """Runs and loads models for the service.

    Parameters
    ----------
    runner : what runs them
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        #: ids that requests have loaded, and the file that they gave them (None: their own)
        self._used: dict[str, Path | None] = {}
        #: ids that requests have described, and what they were given before (None: nothing)
        self._before: dict[str, tuple[Path, Mapping[str, Any] | None] | None] = {}
        self._lock = threading.Lock()
        #: of models in other processes; the hub counts those in this one
        self._hits = self._misses = self._evictions = 0

    @property
    def hub(self) -> ModelHub:
        """Where the models come from."""
        return self._runner.hub

    @property
    def metrics(self) -> Metrics:
        """Counts and durations of all runs."""
        return self._runner.metrics

    def model(self, model_id: str) -> Model:
        """Return the handle of a model by its id, never by a path.

        Raises
        ------
        UnsafePathError, UnknownModelError : it is no id, or no model has it
        """
        store.check_id(model_id)
        if store.is_path(model_id):
            raise UnknownModelError(model_id, self.hub.ids())
        return self.hub.handle(model_id)

    def knows(self, model_id: str) -> bool:
        """Say whether a model has this id; nothing is opened."""
        if self.hub.named(model_id) is not None:
            return True
        try:
            store.find(model_id, self.hub.shelves)
        except WorkbenchError:
            return False
        return True

    # ── running ───────────────────────────────────────────────────────────────────────────────

    def classify(self, picture: bytes, model_id: str, *, top_k: int, stop: Stop) -> Result:
        """Classify the encoded file of a picture."""
        model = self.model(model_id)
        stop.check("The request")
        with self._using(model):
            answer = self._runner.classify(
                picture, model=model, top_k=top_k, stop=stop, timeout_s=_limit_s(stop)
            )
        assert isinstance(answer, Result)
        return answer

    def classify_all(
        self, pictures: Sequence[bytes], model_id: str, *, top_k: int, stop: Stop
    ) -> list[Result | Failure]:
        """Classify pictures in shared runs; one that cannot be answered is a Failure.

        Raises
        ------
        InferenceTimeoutError, CancelledError : the Stop's
        """
        model = self.model(model_id)
        stop.check("The request")
        with self._using(model):
            return list(
                self._runner.stream(
                    pictures, model=model, top_k=top_k, stop=stop, timeout_s=_limit_s(stop)
                )
            )

    def classify_tensor(self, data: Any, model_id: str, *, top_k: int, stop: Stop) -> Result:
        """Classify one ready input: nested lists in the model's own layout.

        Raises
        ------
        BadRequestError : they are ragged, or no numbers
        InputMismatchError : they do not fit the model's input
        """
        model = self.model(model_id)
        name = model.image_input  # refuses what is no classifier
        port = next(p for p in model.inputs if p.name == name)
        batch = as_array(data, port.dtype, "input.data")
        rank = len(port.shape or (None,) * 4)
        if batch.ndim == rank - 1:
            batch = batch[None]
        if batch.ndim != rank or len(batch) != 1:
            raise InputMismatchError(
                port.name, f"{port.dtype} {shape(batch.shape)}", f"one input, {port.describe()}"
            )
        stop.check("The request")
        with self._using(model):
            answer = self._runner.classify_tensor(
                batch, model=model, top_k=top_k, stop=stop, timeout_s=_limit_s(stop)
            )
        assert isinstance(answer, Result)
        return answer

    def run(
        self,
        feeds: Mapping[str, NDArray[Any]],
        model_id: str,
        *,
        stop: Stop,
        outputs: Sequence[str] | None = None,
        most_bytes: int | None = None,
    ) -> Outputs:
        """Run any model on ready arrays and return raw outputs: those named, or all.

        Raises
        ------
        OutputUnsupportedError : together they have more bytes than they may
        """
        model = self.model(model_id)
        stop.check("The request")
        with self._using(model):
            return self._runner.outputs(
                dict(feeds), model, names=outputs, most_bytes=most_bytes, stop=stop,
                timeout_s=_limit_s(stop),
            )  # fmt: skip

    # ── models in memory ──────────────────────────────────────────────────────────────────────

    def preload(
        self,
        model_id: str,
        *,
        path: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        warmup: bool = False,
        stop: Stop | None = None,
        loading: Loading | None = None,
    ) -> Loaded:
        """Load a model, under a name of the client's choice where a path is given.

        ``loading`` : told how far this is

        Raises
        ------
        UnsafePathError : the path leads out of ``MODEL_DIR``, also by a link
        MissingFileError : there is no such file
        BadRequestError : the name is that of another model, which no request gave it
        """
        store.check_id(model_id)
        if store.is_path(model_id):
            raise UnsafePathError(model_id, "a name that does not end in '.onnx'")
        hub = self.hub
        file = None if path is None else self.file_below(path)
        own = None if file is None else self._own_file(model_id)
        if own not in (None, file):
            taken = "a name of your own: a model here has this one"
            raise BadRequestError("model_id", model_id, taken)
        if own is not None and metadata is None:
            file = None  # with its description
        if file is None and model_id not in hub:
            raise UnknownModelError(model_id, hub.ids())
        if file is not None and model_id not in hub and len(hub) >= MOST_NAMES:
            raise BadRequestError("model_id", model_id, f"one of the {MOST_NAMES} names in use")
        cached = self._is_cached(model_id, file, named=metadata is not None or file is not None)
        loading = Loading() if loading is None else loading
        loading.under_way = True
        begun = clock()
        held = None if cached or not self._runner.isolated else self.live()
        with self._describing(model_id, given=file is not None or metadata is not None):
            model = self._runner.load(
                model_id, path=file, metadata=metadata, timeout_s=_limit_s(stop), stop=stop
            )
        loading.under_way = False
        self._note(model_id, file)
        self._count(model_id, held)
        load_s, warmup_s = clock() - begun, 0.0
        if warmup:
            begun = clock()
            self._runner.warm_up(model, WARM_UP_RUNS, stop=stop)
            warmup_s = clock() - begun
        return Loaded(cached, load_s, warmup_s)

    def _is_cached(self, model_id: str, file: Path | None, *, named: bool) -> bool:
        """Say whether a model is in memory already, from the same file."""
        with self._lock:
            known = model_id in self._used and (file is None or self._used[model_id] == file)
        return (known or not named) and self._runner.holds(self.hub.handle(model_id))

    @contextmanager
    def _using(self, model: Model) -> Iterator[None]:
        """Count the use of a model, and whether it had to be loaded for it."""
        held = self._held(model.id) if self._runner.isolated else None
        yield
        self._count(model.id, held)

    def _held(self, model_id: str) -> frozenset[str] | None:
        """Return the models in memory elsewhere; None where this one is, and nothing has to go."""
        return None if self.holds(model_id) else self.live()

    def _count(self, model_id: str, held: frozenset[str] | None) -> None:
        """Count a use in other processes, as far as answers tell; the hub counts those here."""
        if not self._runner.isolated:
            return
        gone = frozenset[str]() if held is None else held - self.live()
        with self._lock:
            self._hits += held is None
            self._misses += held is not None
            self._evictions += len(gone)

    def _note(self, model_id: str, file: Path | None = None) -> None:
        """Remember which file a request gave a name to."""
        with self._lock:
            if model_id not in self._used and len(self._used) >= MOST_NAMES:
                self._used.pop(next(iter(self._used)))
            if file is not None or model_id not in self._used:
                self._used[model_id] = file

    @contextmanager
    def _describing(self, model_id: str, *, given: bool) -> Iterator[None]:
        """Remember what an id was given before a request describes it, for :meth:`unload`."""
        if given:
            with self._lock:
                self._before.setdefault(model_id, self.hub.named(model_id))
        try:
            yield
        finally:
            if self.hub.named(model_id) is None:
                self._before.pop(model_id, None)

    def _own_file(self, model_id: str) -> Path | None:
        """Return the file that an id has here by itself; None for one that requests gave a name."""
        with self._lock:
            known = model_id in self._before
            named = self._before[model_id] if known else self.hub.named(model_id)
        if named is not None:
            return named[0]
        try:
            return store.find(model_id, self.hub.shelves).path.resolve()
        except UnknownModelError:
            return None

    def _give_back(self, model_id: str) -> None:
        """Forget what requests said of a model that was here before them."""
        if model_id not in self._before or self._own_file(model_id) is None:
            return
        with self._lock:
            named = self._before.pop(model_id, None)
        if named is None:
            self.hub.forget(model_id)
            return
        with self.hub.naming(model_id, *named):
            pass

    def file_below(self, path: str) -> Path:
        """Return the file that a client names, which lies below ``MODEL_DIR`` after links."""
        expected = "the path of a file below MODEL_DIR, relative to it"
        root = self.hub.shelf.models
        if "\0" in path or "\\" in path or path.startswith(("/", "~")) or ":" in path[:3]:
            raise UnsafePathError(path, expected)
        try:
            real_root = root.resolve()
            file = (real_root / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise UnsafePathError(path, expected) from error
        if not file.is_relative_to(real_root) or file == real_root:
            raise UnsafePathError(path, expected)
        with suppress(OSError):  # too long for a name, or not to be looked at
            if file.is_file():
                return file
        raise MissingFileError(abridge(path), "model file", "is not in MODEL_DIR")

    def unload(self, model_id: str) -> tuple[bool, int | None]:
        """Close a model's session; return whether it had one, and the bytes given back.

        What requests said of a model that was here before them is forgotten.
        """
        model = self.model(model_id)
        held = self._runner.holds(model)
        before = resident_bytes()
        self._runner.unload(model)
        self._give_back(model_id)
        after = resident_bytes()
        freed = None if before is None or after is None or self._runner.isolated else before - after
        return held, None if freed is None else max(0, freed)

    def pull(
        self,
        source: str,
        model_id: str,
        *,
        sha256: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Fetch a model onto the writable shelf, under the rules of every download."""
        store.check_id(model_id)
        if store.is_path(model_id):
            raise UnsafePathError(model_id, "a name that does not end in '.onnx'")
        self.hub.pull(source, model_id, sha256=sha256, metadata=metadata, progress=False, stop=stop)

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def rows(self) -> list[dict[str, Any]]:
        """Describe every model, a row each."""
        held = self.live()
        return [
            self._elsewhere(row) if row["id"] in held and row["state"] == "cold" else row
            for row in self.hub.rows()
        ]

    def _elsewhere(self, row: dict[str, Any]) -> dict[str, Any]:
        """Describe a model that is live in other processes; its memory is that of all of them."""
        told: tuple[SessionFacts, ...] = ()
        with suppress(WorkbenchError):  # its file has gone
            told = self._runner.sessions(self.model(row["id"]))
        if not told:
            return {**row, "state": "live"}
        grown = [facts.memory_bytes for facts in told if facts.memory_bytes is not None]
        return {
            **row,
            "state": "live",
            "provider": told[-1].provider,
            "threads": told[-1].threads,
            "memory_bytes": sum(grown) if grown else None,
        }

    def live(self) -> frozenset[str]:
        """Return the ids of the models in memory where they run."""
        return frozenset(self._runner.live)

    def holds(self, model_id: str, *, everywhere: bool = False) -> bool:
        """Say whether a model is in memory where it runs: in a process, or in each of several."""
        try:
            return self._runner.holds(self.model(model_id), everywhere=everywhere)
        except WorkbenchError:  # its file has gone
            return False

    @property
    def restarts(self) -> int:
        """Workers that ended and were replaced; none where models run in this process."""
        return self._runner.replaced

    def cache_info(self) -> CacheInfo:
        """Return how the caches of models have done, here or where models run."""
        info = self.hub.cache_info()
        if not self._runner.isolated:
            return info
        number = self._runner.processes  # each has room for as many
        live = [row["size_bytes"] for row in self.rows() if row["state"] == "live"]
        with self._lock:
            return replace(
                info, hits=self._hits, misses=self._misses, evictions=self._evictions,
                live=len(live), bytes=sum(live), max_models=number * info.max_models,
                max_bytes=None if info.max_bytes is None else number * info.max_bytes,
            )  # fmt: skip

    def workers(self) -> tuple[WorkerState, ...]:
        """Return what each worker process is about; nothing where models run in this one."""
        return self._runner.worker_states

    def status(self) -> dict[str, Any]:
        """Return what is in memory, and how the cache has done."""
        info = self.cache_info()
        rows = [row for row in self.rows() if row["state"] == "live"]
        return {
            "models": [
                {
                    "model_id": row["id"],
                    "size_bytes": row["size_bytes"],
                    "memory_bytes": row["memory_bytes"],
                    "provider": row["provider"],
                    "threads": row["threads"],
                }
                for row in rows
            ],
            "cache": {
                "hits": info.hits,
                "misses": info.misses,
                "evictions": info.evictions,
                "live": info.live,
                "max_models": info.max_models,
                "bytes": info.bytes,
                "max_bytes": info.max_bytes,
            },
            "workers": [
                {
                    "models": list(worker.models),
                    "busy": worker.busy,
                    "memory_bytes": worker.resident_bytes,
                    "spare": worker.spare,
                }
                for worker in self.workers()
            ],
        }

    def close(self) -> None:
        """Let go of what runs; the hub stays its owner's."""
        self._runner.close()


def _limit_s(stop: Stop | None) -> float | None:
    """Return what is left of a request's time as the limit of a run; None for the runner's own."""
    return None if stop is None or stop.timeout_s is None else max(stop.remaining_s, 1e-3)


def as_array(data: Any, dtype: str, where: str) -> NDArray[Any]:
    """Return nested lists of numbers as an array of some type.

    Raises
    ------
    BadRequestError : they are ragged, no numbers, or out of the type's range
    """
    try:
        wanted = np.dtype(dtype)
        array = np.asarray(data)
        if array.dtype.kind == "O" or (wanted == np.uint64 and array.dtype.kind == "f"):
            array = _as_told(data)  # numbers that no type of numpy's holds beside the others
        if array.dtype.kind not in "biufO" or not array.size:
            raise ValueError("no numbers")
        if wanted.kind in "iub" and array.dtype.kind == "f":
            raise ValueError(_NO_WHOLE)
        with np.errstate(over="raise", invalid="raise"):
            made = array.astype(wanted)
        if wanted.kind in "iub" and not (made == array).all():
            raise ValueError(_NO_WHOLE)
        if wanted.kind == "f" and not np.isfinite(made).all():
            raise ValueError("out of range")
    except WorkbenchError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        words = "out of range" if isinstance(error, ArithmeticError) else error
        kind = f"{type(data).__name__} ({words})"
        raise BadRequestError(where, kind, f"nested lists of equal length of {dtype}") from error
    return made


def _as_told(data: Any) -> NDArray[Any]:
    """Return nested lists of numbers as an array of Python's own, which have no range.

    Raises
    ------
    ValueError : there is something else in them
    """
    array = np.asarray(data, dtype=object)
    if not all(type(number) in (int, float, bool) for number in array.flat):
        raise ValueError("no numbers")
    return array
