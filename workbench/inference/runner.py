"""Running models on pictures: one, many, a folder; each answer with its timings.

The path from a ready tensor to a result is kept short on purpose: with a fast provider a whole
ResNet takes 2.5 ms, and what is added around it counts. Many inputs are decoded ahead in threads
while the engine runs; results come in the order of the inputs and do not depend on the threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import Card, Displayable, Facts
from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceError,
    InferenceTimeoutError,
    InputMismatchError,
    OutputNotFiniteError,
    OutputUnsupportedError,
    UnsupportedInputsError,
    WorkbenchError,
    require_count,
)
from workbench.host import host
from workbench.inference.metrics import Metrics
from workbench.inference.opinion import OpinionGrid, Opinions, same_classes
from workbench.inference.recipe import turned
from workbench.inference.results import SHOWN, Failure, Outputs, Outside, Result, Results
from workbench.inference.source import Kept, fetched, is_address, is_one, keep, listed, name_of
from workbench.models.hub import ModelHub, default_hub
from workbench.models.model import FEW_CLASSES, Model
from workbench.models.session import check_feeds
from workbench.preprocessing.images import read_bytes
from workbench.settings import Settings
from workbench.tasks.classification import (
    read,
    top_k,
)
from workbench.timing import Stages, clock
from workbench.units import count, seconds, shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inference.recipe import Recipe
    from workbench.preprocessing.images import ImageSource
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.stopping import Stop

#: Loading faster than this is finding the model live, and no stage of its own (seconds).
_LOAD_SHOWN_S = 1e-3
#: Pictures that one of several models is asked about before the next is: enough that a hub with
#: room for fewer models need not load them for every picture.
_ROWS_AT_ONCE = 64

#: What is kept of a source, the batch of one that it became, and the seconds of each stage.
Prepared = tuple[Kept, "NDArray[Any]", dict[str, float]]
#: What is told of one item of a batch: stages so far, name, what is kept of its source.
Told = tuple[dict[str, float], str, "Kept | None"]


@dataclass(slots=True)  # not frozen: that takes longer to make, and one is made a call
class _Job:
    """What was asked for, the same for all inputs of a call."""

    model: Model
    top_k: int
    timeout_s: float
    stop: Stop | None
    turned: Pipeline | None = None  # in place of the model's own preprocessing


@dataclass(frozen=True, slots=True)
class _Asked:
    """One of several models that were asked: its name, and the job or why there is none."""

    name: str
    job: _Job | WorkbenchError


class Runner(Displayable):
    """Runs models of a hub and keeps count.

    Parameters
    ----------
    hub : where models come from; None for the process's hub
    top_k : classes in an answer
    max_batch_size : inputs in one run; None for ``MAX_BATCH_SIZE`` (10)
    timeout_s : limit of one run in seconds; None for the hub's
    workers : threads that decode ahead; None for what affinity and quota allow

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
    ) -> None:
        require_count("top_k", top_k)
        for name, value in (("max_batch_size", max_batch_size), ("workers", workers)):
            if value is not None:
                require_count(name, value)
        self.hub = default_hub() if hub is None else hub
        self.top_k = top_k
        self.max_batch_size = max_batch_size or Settings().max_batch_size
        self.timeout_s = self.hub.timeout_s if timeout_s is None else timeout_s
        self.workers = workers or host().threads
        self.metrics = Metrics()

    def _card(self) -> Card:
        rows = (
            ("hub", self.hub._card().line),
            ("top_k", str(self.top_k)),
            ("max_batch_size", str(self.max_batch_size)),
            ("timeout", "none" if self.timeout_s is None else seconds(self.timeout_s)),
            ("workers", f"{count(self.workers, 'thread')} that decode ahead"),
        )
        blocks = (Facts(rows), *self.metrics._card().blocks)
        return Card("runner", blocks, line=f"{self.metrics.count} answered with {self.hub!r}")

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
            handle = self.hub.handle(model)
            return self._outputs(input, handle, timeout_s=timeout_s, stop=stop)
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
            return self._one(images, job)
        started = clock()
        items: list[Result | Failure] = []
        stopped = False
        try:
            for item in self._stream(images, job):
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
        fixed = job.model.batch_axis
        try:
            many = isinstance(batch, np.ndarray) and batch.ndim > 0
            n = len(batch) if many else 1
            told: list[Told] = [({}, "tensor", None)] * n
            if fixed is None or n == fixed or not many:
                results = self._answer(batch, told, job, started)
            else:  # the graph takes so many at a time: the last run is filled up
                parts = [batch[i : i + fixed] for i in range(0, n, fixed)]
                begun = started if n == 1 else None
                results = [
                    answer
                    for part in parts
                    for answer in self._answer(_filled(part, fixed), told[: len(part)], job, begun)
                ]
            if len(results) == 1 and isinstance(results[0], Failure):
                raise results[0].error
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
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
        return self._stream(images, self._job(model, top_k, timeout_s, stop, preprocessing))

    def _stream(self, images: Any, job: _Job) -> Iterator[Result | Failure]:
        job.model.image_input  # noqa: B018  (refuses what is no classifier before any work)
        sources = listed(images)
        size = job.model.batch_axis or self.max_batch_size
        ahead = size + 2 * self.workers
        with ThreadPoolExecutor(self.workers, "workbench-decode") as pool:
            waiting: deque[tuple[str, Future[Prepared]]] = deque()
            try:
                while True:
                    while len(waiting) < ahead and (source := next(sources, _END)) is not _END:
                        future = pool.submit(_prepared, job, source)
                        waiting.append((name_of(source), future))
                    if not waiting:
                        return
                    if job.stop is not None:
                        job.stop.check("Classifying")
                    chunk = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                    yield from self._chunk(chunk, job)
            finally:
                for _, future in waiting:
                    future.cancel()

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
        same = same_classes(one.job.model.labels for one in asked if isinstance(one.job, _Job))
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
                items.append(replace(self._one(source, one.job), source=name))
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
        if isinstance(problem, _Job):
            try:
                answers = self._stream([source for source, _ in told], problem)
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
    ) -> _Job:
        if top_k is None:
            top_k = self.top_k
        else:
            require_count("top_k", top_k)
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        handle = self.hub.handle(model)
        return _Job(handle, top_k, limit_s, stop, turned(handle, preprocessing))

    def _one(self, source: Any, job: _Job) -> Result:
        model = job.model
        started = clock()
        try:
            model.image_input  # noqa: B018  (refuses what is no classifier before any work)
            kept, batch, parts = _prepared(job, source)
            batch = _filled(batch, model.batch_axis)
            told = [(parts, name_of(source), kept)]
            result = self._answer(batch, told, job, started)[0]
            if isinstance(result, Failure):
                raise result.error
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        return result

    def _chunk(
        self,
        chunk: Sequence[tuple[str, Future[Prepared]]],
        job: _Job,
    ) -> Iterator[Result | Failure]:
        """Answer up to a batch of inputs: one bad input fails alone."""
        model = job.model
        answers: list[Result | Failure | None] = [None] * len(chunk)
        groups: dict[tuple[int, ...], list[int]] = {}
        ready: dict[int, Prepared] = {}
        for position, (name, future) in enumerate(chunk):
            try:
                ready[position] = future.result()
                groups.setdefault(ready[position][1].shape, []).append(position)
            except WorkbenchError as error:
                self.metrics.add_error(error.code)
                answers[position] = Failure(source=name, error=error, model=model.id)
        for members in groups.values():
            told: list[Told] = [(ready[i][2], chunk[i][0], ready[i][0]) for i in members]
            batch = np.concatenate([ready[i][1] for i in members])
            found = self._answer_all(batch, told, job)
            for position, answer in zip(members, found, strict=True):
                answers[position] = answer
        yield from (a for a in answers if a is not None)

    def _answer_all(
        self,
        batch: NDArray[Any],
        told: list[Told],
        job: _Job,
    ) -> list[Result | Failure]:
        """Answer a batch; where the run fails, try each input alone, so that one cannot spoil."""
        filled = _filled(batch, job.model.batch_axis)
        try:
            return self._answer(filled, told, job, None)
        except CancelledError:
            raise
        except WorkbenchError as error:
            if job.stop is not None and job.stop.over:
                raise
            if len(told) > 1 and isinstance(error, (InferenceError, InputMismatchError)):
                single = zip(batch, told, strict=True)
                return [self._answer_all(b[None], [t], job)[0] for b, t in single]
            failed: list[Result | Failure] = []
            for _, name, kept in told:
                self.metrics.add_error(error.code)
                failed.append(
                    Failure(source=name, error=error.fresh(), model=job.model.id, _input=kept)
                )
            return failed

    # ── from a ready tensor to results ────────────────────────────────────────────────────────

    def _answer(
        self,
        batch: NDArray[Any],
        told: Sequence[Told],
        job: _Job,
        started: float | None,
    ) -> list[Result | Failure]:
        """Run a ready batch and make an answer an input; ``batch`` may be filled up at its end.

        ``started`` is when a single input began; None for one of many, whose total is the sum
        of its stages.
        """
        model = job.model
        asked = clock()
        with self.hub.lease(model) as session:
            cold = session.first_run_s is None
            before = clock()
            values = session.run(
                {model.image_input: batch},
                [model.scores_output],
                timeout_s=job.timeout_s,
                stop=job.stop,
            )[0]
            after = clock()
        load_s = before - asked if cold and before - asked > _LOAD_SHOWN_S else 0.0
        n = len(told)
        rows = _rows(values, len(batch), model)
        if n < len(rows):  # the batch was filled up
            rows = rows[:n]
        spec = model.spec
        if not n:
            return []
        rule = spec.outside
        kind = None if rule is None else rule.score
        labels = _labels(model, rows.shape[-1])
        few = labels if labels is not None and len(labels) <= FEW_CLASSES else None
        keep = n == 1 and started is not None
        inference_s = (after - before) / n
        answers: list[Result | Failure] = []
        begun = after  # what is done for the whole batch at once is told of the first
        for row, (parts, name, kept) in zip(rows, told, strict=True):
            found = read(row, spec.activation, operator=model.output_operator, outside=kind)
            if not found.finite:
                bad = int((~np.isfinite(row)).sum())
                problem = OutputNotFiniteError(model.id, model.scores_output, bad, len(row))
                if started is None or n > 1:
                    self.metrics.add_error(problem.code)
                answers.append(Failure(source=name, error=problem, model=model.id, _input=kept))
                continue
            shares = found.probabilities if found.shares is None else found.shares
            top = top_k(shares, job.top_k, labels)
            stages = dict(parts)
            if load_s:
                stages["load"] = load_s / n
            stages["inference"] = inference_s
            now = clock()
            stages["postprocessing"] = now - begun
            begun = now
            total_s = now - started if started is not None else sum(stages.values())
            if n > 1:
                total_s = sum(stages.values())
            self.metrics.add(model.id, stages, total_s)
            answers.append(
                Result(
                    top=top,
                    timings=Stages(stages, total_s),
                    model=model.id,
                    session=session.facts,
                    source=name,
                    probabilities=found.probabilities if keep else None,
                    activation=found.activation,
                    outside=None
                    if rule is None or found.outside is None
                    else Outside.among(
                        rule.others, found.outside, rule.threshold, rule.score, rule.note
                    ),
                    classes=few,
                    preprocessing=job.turned,
                    batch=n,
                    _input=kept,
                )
            )
        return answers

    def _outputs(
        self,
        feeds: Mapping[str, NDArray[Any]],
        model: Model,
        *,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> Outputs:
        asked = clock()
        names = [port.name for port in model.outputs]
        try:
            with self.hub.lease(model) as session:
                cold = session.first_run_s is None
                before = clock()
                limit_s = self.timeout_s if timeout_s is None else timeout_s
                values = session.run(feeds, names, timeout_s=limit_s, stop=stop)
                stages = {"inference": clock() - before}
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        if cold and before - asked > _LOAD_SHOWN_S:
            stages = {"load": before - asked, **stages}
        timings = Stages(stages, clock() - asked)
        self.metrics.add(model.id, stages, timings.total_s)
        return Outputs(
            arrays=dict(zip(names, values, strict=True)),
            timings=timings,
            model=model.id,
            session=session.facts,
        )


_END = object()


def _names(asked: Sequence[_Asked]) -> list[str]:
    """Name each of several models: its id, with a number where another handle has the same."""
    if not asked:
        raise ConfigError("model", [], "at least one model")
    names: list[str] = []
    handles: list[Model] = []
    for one in asked:
        if isinstance(one.job, _Job):
            if any(one.job.model is other for other in handles):
                raise ConfigError("model", f"a list with {one.name} twice", "each model once")
            handles.append(one.job.model)
        again = sum(other.name == one.name for other in asked[: len(names)])
        names.append(f"{one.name} ({again + 1})" if again else one.name)
    return names


def _stop_of(asked: list[_Asked]) -> Stop | None:
    return next((one.job.stop for one in asked if isinstance(one.job, _Job)), None)


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


def _labels(model: Model, classes: int) -> tuple[str, ...] | None:
    labels = model.labels
    if labels is not None and len(labels) != classes:
        raise OutputUnsupportedError(
            model.id, f"{classes} scores", f"one for each of its {len(labels)} labels"
        )
    return labels


def _rows(values: Any, n: int, model: Model) -> NDArray[Any]:
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


def _filled(batch: NDArray[Any], fixed: int | None) -> NDArray[Any]:
    """Fill a batch up with zeros to the size that a graph has fixed."""
    if fixed is None or len(batch) >= fixed:
        return batch
    rest = np.zeros((fixed - len(batch), *batch.shape[1:]), batch.dtype)
    return np.concatenate([batch, rest])


def _prepared(job: _Job, source: Any) -> Prepared:
    """Preprocess a source, and keep of it what can be read a second time for its thumbnail."""
    steps = job.turned or job.model.preprocessing
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


def _refuse(preprocessing: Recipe | None, what: str) -> None:
    """Refuse a preprocessing beside what is ready."""
    if preprocessing is not None:
        raise ConfigError("preprocessing", f"given beside {what}", "None: it is for pictures")
