"""Running models on pictures: one, many, a folder; each answer with its timings.

What is asked for is checked and taken apart here; where it runs, in this process or in others
that can be killed, is the executor's (:mod:`workbench.inference.executor`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import Card, Displayable, Facts
from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    UnsupportedInputsError,
    WorkbenchError,
    choices,
    require_count,
)
from workbench.host import host
from workbench.inference.executor import Executor, InProcess, Job, WorkerState
from workbench.inference.metrics import Metrics
from workbench.inference.opinion import OpinionGrid, Opinions, same_classes
from workbench.inference.recipe import turned
from workbench.inference.results import SHOWN, Failure, Outputs, Result, Results
from workbench.inference.source import fetched, is_address, is_one, listed, name_of
from workbench.models.hub import ModelHub, default_hub
from workbench.models.session import check_feeds
from workbench.preprocessing.images import read_bytes
from workbench.settings import Settings
from workbench.timing import clock
from workbench.units import count, seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inference.recipe import Recipe
    from workbench.models.model import Model
    from workbench.models.session import SessionFacts
    from workbench.models.warmup import WarmUp
    from workbench.preprocessing.images import ImageSource
    from workbench.stopping import Stop

#: Pictures that one of several models is asked about before the next is: enough that a hub with
#: room for fewer models need not load them for every picture.
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Asked:
    """One of several models that were asked: its name, and the job or why there is none."""

    name: str
    job: Job | WorkbenchError


class Runner(Displayable):
    """Runs models of a hub and keeps count.

    Parameters
    ----------
    hub : where models come from; None for the process's hub
    top_k : classes in an answer
    max_batch_size : inputs in one run; None for ``MAX_BATCH_SIZE`` (10)
    timeout_s : limit of one run in seconds; None for the hub's
    workers : threads that decode ahead; None for what affinity and quota allow
    isolated : run and load models in processes of their own, which can be killed
    processes : how many of those; None for ``WORKER_PROCESSES`` (1)
    memory_bytes : most that one of them may hold; None for ``WORKER_MEMORY_BYTES`` (three
        quarters of the machine's memory, divided among them)

    Notes
    -----
    In this process, the default, nothing is handed over, and promises are weaker: a time limit,
    a stop and the interrupt end a run between two nodes of the graph, not within one; a load is
    not ended by a stop; a model that needs more memory than there is, or brings the engine down
    (an integer division can), takes this process along.

    Isolated, each of these costs one error, and no other request: no model outlives a time limit
    (it holds for a load and for a run alike), a stop or the interrupt by more than a second;
    ``out_of_memory`` and ``worker_crashed`` are errors like others; a process that was killed or
    died is replaced, and loads what it had. The hub's own sessions stay closed: what is
    loaded with ``runner.load`` is live in the processes. It is no sandbox: models run with the
    rights of this user. Close such a runner, or use it as a context manager; what is forgotten
    ends with this process, however that ends.

    Examples
    --------
    >>> import workbench as wb
    >>> result = Runner().classify(wb.example("cat"), model="cifar10")
    >>> result.label
    'cat'
    """

    def __init__(
        self,
        hub: ModelHub | None = None,
        *,
        top_k: int = 5,
        max_batch_size: int | None = None,
        timeout_s: float | None = None,
        workers: int | None = None,
        isolated: bool = False,
        processes: int | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        require_count("top_k", top_k)
        counts = {"max_batch_size": max_batch_size, "workers": workers}
        of_isolated = {"processes": processes, "memory_bytes": memory_bytes}
        for name, value in (counts | of_isolated).items():
            require_count(name, value, optional=True)
        for name, value in of_isolated.items():
            if value is not None and not isolated:
                raise ConfigError(name, value, "None where isolated=True is not given")
        self.hub = default_hub() if hub is None else hub
        self.top_k = top_k
        self.max_batch_size = max_batch_size or Settings().max_batch_size
        self.timeout_s = self.hub.timeout_s if timeout_s is None else timeout_s
        self.workers = workers or host().threads
        self.isolated = bool(isolated)
        self.metrics = Metrics()
        self._executor: Executor
        if isolated:
            from workbench.inference.pool import Pool

            self._executor = Pool(
                self.hub, self.metrics, max_batch_size=self.max_batch_size,
                workers=self.workers, processes=processes, memory_bytes=memory_bytes,
            )  # fmt: skip
        else:
            self._executor = InProcess(
                self.hub, self.metrics, max_batch_size=self.max_batch_size, workers=self.workers
            )

    def _card(self) -> Card:
        rows = (
            ("hub", self.hub._card().line),
            ("top_k", str(self.top_k)),
            ("max_batch_size", str(self.max_batch_size)),
            ("timeout", "none" if self.timeout_s is None else seconds(self.timeout_s)),
            ("workers", f"{count(self.workers, 'thread')} that decode ahead"),
            *self._executor.rows(),
        )
        blocks = (Facts(rows), *self.metrics._card().blocks)
        return Card("runner", blocks, line=f"{self.metrics.count} answered with {self.hub!r}")

    # ── loading, and the end ──────────────────────────────────────────────────────────────────

    def load(
        self,
        model: str | Path | Model,
        *,
        path: str | Path | None = None,
        metadata: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Model:
        """Open a model where it will run, and return its handle; it is tried, and nothing else.

        In an isolated runner this is how a stranger's model is tried: one that brings the engine
        down already while it is loaded is ``worker_crashed``, and this process goes on.

        Parameters
        ----------
        model : id, Model, or path to an .onnx file
        path, metadata : give the id ``model`` to a file, and say what it is; known to the hub
            from then on, unless the load fails
        timeout_s : limit of the load in seconds; None for the runner's where it is isolated,
            and for none where it is not
        stop : ends the load, at once where the runner is isolated

        Raises
        ------
        LoadTimeoutError, CancelledError, WorkerCrashedError, EngineMemoryError, and what
        :meth:`ModelHub.load` raises
        """
        if not isinstance(model, str) and (path is not None or metadata is not None):
            raise ConfigError("model", model, "an id, where path= or metadata= is given")
        if timeout_s is None and not self.isolated:
            timeout_s = inf
        with self.hub.naming(str(model), path, metadata):
            job = self._job(model, None, timeout_s, stop)
            job.model.session = self._executor.load(job)
        return job.model

    def warm_up(
        self, model: str | Path | Model, runs: int = 30, *, stop: Stop | None = None
    ) -> WarmUp:
        """Load a model where it will run, and run it until its times settle."""
        require_count("runs", runs)
        return self._executor.warm_up(self._job(model, None, None, stop), runs)

    def unload(self, model: str | Path | Model) -> None:
        """Close a model's session where it runs, and give its memory back."""
        self._executor.unload(self.hub.handle(model))

    def holds(self, model: str | Path | Model, *, everywhere: bool = False) -> bool:
        """Say whether a model is live where it would run: in a process, or in each of several."""
        return self._executor.holds(self.hub.handle(model), everywhere=everywhere)

    @property
    def live(self) -> tuple[str, ...]:
        """The ids of the models that are live where they run, sorted."""
        return self._executor.live()

    def sessions(self, model: str | Path | Model) -> tuple[SessionFacts, ...]:
        """Return what is known of a model's sessions where it runs: one here, or one a worker.

        Of worker processes as far as their answers tell; nothing where the model is not live.
        """
        return self._executor.sessions(self.hub.handle(model))

    @property
    def processes(self) -> int:
        """Worker processes of an isolated runner; 0 for any other."""
        return self._executor.processes

    @property
    def worker_states(self) -> tuple[WorkerState, ...]:
        """What each worker process of an isolated runner is about."""
        return self._executor.worker_states()

    @property
    def replaced(self) -> int:
        """Worker processes of an isolated runner that ended and were replaced so far."""
        return self._executor.replaced

    def close(self) -> None:
        """End the processes of an isolated runner; harmless for any other, and a second time."""
        self._executor.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── doors ─────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        input: Any,
        model: str | Path | Model | list[Any] | tuple[Any, ...],
        *,
        preprocessing: Recipe | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Result | Results | Outputs | Opinions | OpinionGrid:
        """Run a model on whatever it takes, by its task.

        A dict of arrays (input name → array) gives raw :class:`Outputs` from any model (there
        ``top_k`` has no meaning); a ready batch, (N, C, H, W) or (N, H, W, C), goes to
        :meth:`classify_tensor`; everything else is a picture, or many (also as (N, H, W, 3)
        uint8), and goes to :meth:`classify`, as ``preprocessing`` does, which what is ready
        has no use for.
        """
        if isinstance(model, (list, tuple)):  # only pictures are the same to several models
            told: Opinions | OpinionGrid = self.classify(
                input,
                model=model,
                preprocessing=preprocessing,
                top_k=top_k,
                timeout_s=timeout_s,
                stop=stop,
            )
            return told
        if isinstance(input, Mapping):
            _refuse(preprocessing, "arrays by name")
            return self.outputs(input, model, timeout_s=timeout_s, stop=stop)
        ready = isinstance(input, np.ndarray) and input.ndim == 4
        if ready and input.dtype == np.uint8:
            handle = self.hub.handle(model)
            ready = check_feeds(handle.inputs, {handle.image_input: input}) is None
        limits: dict[str, Any] = {"top_k": top_k, "timeout_s": timeout_s, "stop": stop}
        answer: Result | Results
        if ready:
            _refuse(preprocessing, "a ready batch")
            answer = self.classify_tensor(input, model=model, **limits)
        else:
            answer = self.classify(input, model=model, preprocessing=preprocessing, **limits)
        return answer

    def outputs(
        self,
        feeds: Mapping[str, NDArray[Any]],
        model: str | Path | Model,
        *,
        names: Sequence[str] | None = None,
        most_bytes: int | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Outputs:
        """Run any model on ready arrays (input name → array) and return what it gives.

        Parameters
        ----------
        names : outputs that are wanted, in this order; None for all
        most_bytes : that they may have together; None for no limit

        Raises
        ------
        ConfigError : an output that the model does not have
        OutputUnsupportedError : more bytes than that; nothing has been sent between processes yet
        """
        job = self._job(model, None, timeout_s, stop)
        if names is not None:
            known = [port.name for port in job.model.outputs]
            if not names or not set(names) <= set(known):
                raise ConfigError("names", names, f"some of {choices(known, last='and')}, or None")
            job = replace(job, outputs=tuple(names))
        return self._executor.outputs(feeds, replace(job, most_bytes=most_bytes))

    def classify(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        model: str | Path | Model | list[Any] | tuple[Any, ...],
        preprocessing: Recipe | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Any:
        """Classify one picture, many, or a folder, with one model or with several.

        Parameters
        ----------
        images : a path, bytes, PIL image, (H, W, 3) uint8 array, file-like object, data URI, or
            an https address, which is fetched; an iterable of those; or a folder, whose pictures
            are taken in the order of names
        model : id, Model, or path to an .onnx file; or a list of those, each asked in turn
        preprocessing : what is done to the pictures in place of the model's own: a Pipeline
            (``model.preprocessing.replace(color_format="BGR")``), the name of a preset, which is
            fitted to the model's input, or a recipe as ``Pipeline.recipe()`` gives it. The answer
            says which it was, and what differs; None for the model's own
        top_k : classes in the answer; None for the runner's
        timeout_s : limit of one run in seconds
        stop : ends the work; of many, what was finished is kept

        Returns
        -------
        :class:`Result` for one picture; :class:`Results` for many, with a :class:`Failure` in
        the place of each that could not be answered. From a list of models: :class:`Opinions`
        for one picture, :class:`OpinionGrid` for many; a model that fails is a
        :class:`Failure` in its own place, and what fails with all of them alike is raised

        Raises
        ------
        UnsupportedInputsError : the model takes no single picture
        InputMismatchError : ``preprocessing`` gives what the model does not take
        ImageError and its children, InferenceTimeoutError, OutputNotFiniteError, … : one picture
        """
        if isinstance(model, (list, tuple)):
            return self._several(images, list(model), preprocessing, top_k, timeout_s, stop)
        job = self._job(model, top_k, timeout_s, stop, preprocessing)
        if is_one(images):
            return self._executor.one(images, job)
        started = clock()
        items: list[Result | Failure] = []
        stopped = False
        try:
            for item in self._executor.many(listed(images), job):
                items.append(item if len(items) < SHOWN else item.lighter())
        except (CancelledError, InferenceTimeoutError):  # of the stop: a run's own is a Failure
            stopped = True
        return Results(items, model=job.model.id, wall_s=clock() - started, stopped=stopped)

    def classify_tensor(
        self,
        batch: NDArray[Any],
        *,
        model: str | Path | Model,
        top_k: int | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Result | Results:
        """Classify what preprocessing has already made.

        ``batch`` : (N, C, H, W) or (N, H, W, C) in the model's own layout and dtype. One item
        gives a :class:`Result`, several give :class:`Results`.
        """
        job = self._job(model, top_k, timeout_s, stop)
        started = clock()
        results = self._executor.tensor(batch, job)
        if len(results) != 1:
            return Results(results, model=job.model.id, wall_s=clock() - started)
        return results[0]  # type: ignore[return-value]

    def stream(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        model: str | Path | Model,
        preprocessing: Recipe | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Iterator[Result | Failure]:
        """Classify many pictures one after another, in bounded memory, in their order.

        Pictures are decoded ahead in :attr:`workers` threads while the engine runs; at most a
        few batches are in memory. The iterable may be endless. ``preprocessing`` is as of
        :meth:`classify`.
        """
        job = self._job(model, top_k, timeout_s, stop, preprocessing)
        return self._executor.many(listed(images), job)

    # ── several models ────────────────────────────────────────────────────────────────────────

    def _several(
        self,
        images: Any,
        models: list[str | Path | Model],
        preprocessing: Recipe | None,
        top_k: int | None,
        timeout_s: float | None,
        stop: Stop | None,
    ) -> Opinions | OpinionGrid:
        require_count("top_k", self.top_k if top_k is None else top_k)
        asked: list[_Asked] = []
        for model in models:
            try:
                job = self._job(model, top_k, timeout_s, stop, preprocessing)
                asked.append(_Asked(job.model.id, job))
            except ConfigError:
                raise  # an argument that cannot be, rather than a model that fails
            except WorkbenchError as error:
                asked.append(_Asked(str(getattr(model, "id", model)), error))
        names = _names(asked)
        same = same_classes(one.job.model.labels for one in asked if isinstance(one.job, Job))
        call = self._opinions if is_one(images) else self._opinion_grid
        return call(images, asked, names, same)

    def _opinions(self, source: Any, asked: list[_Asked], names: list[str], same: bool) -> Opinions:
        """Ask each model about one picture; what fails with all of them alike is raised."""
        started = clock()
        source, name = _kept_whole(source, _stop_of(asked))
        items: list[Result | Failure] = []
        for one in asked:
            if isinstance(one.job, WorkbenchError):
                items.append(Failure(source=name, error=one.job, model=one.name))
                continue
            try:
                items.append(replace(self._executor.one(source, one.job), source=name))
            except WorkbenchError as error:
                if one.job.stop is not None and one.job.stop.over:
                    raise
                items.append(Failure(source=name, error=error, model=one.name))
        failed = [item.error for item in items if isinstance(item, Failure)]
        if len(failed) == len(items) and len({str(error) for error in failed}) == 1:
            raise failed[0]
        return Opinions(items, models=names, wall_s=clock() - started, same_classes=same)

    def _opinion_grid(
        self, images: Any, asked: list[_Asked], names: list[str], same: bool
    ) -> OpinionGrid:
        """Ask all models about some pictures, then about the next: a stop leaves whole rows."""
        started = clock()
        columns: list[list[Result | Failure]] = [[] for _ in asked]
        wall_s = [0.0] * len(asked)
        stopped = False
        sources = listed(images)
        while not stopped and (some := list(islice(sources, _ROWS_AT_ONCE))):
            told = [_kept_whole(source, _stop_of(asked)) for source in some]
            for number, one in enumerate(asked):
                begun = clock()
                try:
                    for item in self._column(told, one):
                        shown = len(columns[number]) < SHOWN
                        columns[number].append(item if shown else item.lighter())
                except (CancelledError, InferenceTimeoutError):  # of the stop
                    stopped = True
                    break
                finally:
                    wall_s[number] += clock() - begun
        rows = min(map(len, columns))
        results = [
            Results(column[:rows], model=one.name, wall_s=s, stopped=stopped)
            for column, one, s in zip(columns, asked, wall_s, strict=True)
        ]
        return OpinionGrid(
            results, models=names, wall_s=clock() - started, stopped=stopped, same_classes=same
        )

    def _column(self, told: list[tuple[Any, str]], one: _Asked) -> Iterator[Result | Failure]:
        """Ask one model about some pictures; if it cannot be asked at all, say so in each place."""
        problem = one.job
        if isinstance(problem, Job):
            try:
                answers = self._executor.many(iter([source for source, _ in told]), problem)
                for (_, name), answer in zip(told, answers, strict=True):
                    yield answer if answer.source == name else replace(answer, source=name)
                return
            except (CancelledError, InferenceTimeoutError):
                raise
            except UnsupportedInputsError as error:  # refused before any work
                problem = error
        yield from (Failure(source=n, error=problem.fresh(), model=one.name) for _, n in told)

    # ── one and many ──────────────────────────────────────────────────────────────────────────

    def _job(
        self,
        model: str | Path | Model,
        top_k: int | None,
        timeout_s: float | None,
        stop: Stop | None,
        preprocessing: Recipe | None = None,
    ) -> Job:
        if top_k is None:
            top_k = self.top_k
        else:
            require_count("top_k", top_k)
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        handle = self.hub.handle(model)
        return Job(handle, top_k, limit_s, stop, turned(handle, preprocessing))


def _names(asked: Sequence[_Asked]) -> list[str]:
    """Name each of several models: its id, with a number where another handle has the same."""
    if not asked:
        raise ConfigError("model", [], "at least one model")
    names: list[str] = []
    handles: list[Model] = []
    for one in asked:
        if isinstance(one.job, Job):
            if any(one.job.model is other for other in handles):
                raise ConfigError("model", f"a list with {one.name} twice", "each model once")
            handles.append(one.job.model)
        again = sum(other.name == one.name for other in asked[: len(names)])
        names.append(f"{one.name} ({again + 1})" if again else one.name)
    return names


def _stop_of(asked: list[_Asked]) -> Stop | None:
    return next((one.job.stop for one in asked if isinstance(one.job, Job)), None)


def _kept_whole(source: Any, stop: Stop | None) -> tuple[Any, str]:
    """Return a source that can be read by one model after another, and its name.

    An address that cannot be had stays one: each model tells why, in its place.
    """
    name = name_of(source)
    if hasattr(source, "read") and not hasattr(source, "getexif"):
        return read_bytes(source)[0], name  # a file-like object can be read once only
    if is_address(source):
        with suppress(WorkbenchError):
            return fetched(source, stop), name
    return source, name


def _refuse(preprocessing: Recipe | None, what: str) -> None:
    """Refuse a preprocessing beside what is ready."""
    if preprocessing is not None:
        raise ConfigError("preprocessing", f"given beside {what}", "None: it is for pictures")
