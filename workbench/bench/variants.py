"""Holding candidates against a reference: the same pictures through all of them, then the clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.bench.agreement import Agreement, Tally, scores_of
from workbench.bench.comparison import compare, configuration_of, hub_of
from workbench.bench.conformance import Conformance, Variant
from workbench.bench.limits import FitLimits
from workbench.bench.peak import peak_bytes
from workbench.bench.progress import progress as bar
from workbench.errors import (
    CancelledError,
    ConfigError,
    ImageError,
    InferenceTimeoutError,
    LabelsError,
    MissingFileError,
    UnknownModelError,
    WorkbenchError,
)
from workbench.inference.evaluate import pairs
from workbench.inference.source import is_one, listed
from workbench.models.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.bench.progress import Progress
    from workbench.models.hub import ModelHub
    from workbench.stopping import Stop

#: Pictures that one model answers before the next does: a hub with room for fewer models need
#: not load them for every picture.
AT_ONCE = 64
#: Pictures that the clock is run on.
_TIMED_ON = 8


@dataclass(slots=True)
class _Asked:
    """A candidate under way: its handle, its tally, and why it gave up."""

    name: str
    model: Model | None
    tally: Tally | None
    error: WorkbenchError | None = None
    unmeasured: list[str] = field(default_factory=list)


def conformance(
    reference: str | Path | Model,
    candidates: str | Path | Model | Iterable[str | Path | Model],
    images: Any,
    labels: Iterable[str | int] | str | None = None,
    *,
    hub: ModelHub | None = None,
    latency_s: float = 10.0,
    memory: bool = True,
    limits: FitLimits | None = None,
    progress: bool = True,
    stop: Stop | None = None,
) -> Conformance:
    """Say of each candidate whether it may stand in for the reference, and what that gains.

    Parameters
    ----------
    reference : id, path or handle of the model that is right by definition
    candidates : one, or several: quantised variants, other formats, other versions
    images : pictures, a folder of them, or feeds (input name → array) for models that take none;
        each model prepares the pictures with its own preprocessing
    labels : the truth of each picture, as a label or an index; ``"folders"`` where the pictures
        lie in a folder with one folder a class; None where nobody knows
    hub : where the models come from; None for that of the handles, or the process's
    latency_s : most seconds that :func:`workbench.compare` may take for each candidate; 0 leaves
        the clock alone
    memory : measure what a fresh process grows by with each model
    limits : from where on a candidate is fit, and up to where broken
    progress : show bars with the time left
    stop : ends it and keeps what was counted; the keyboard interrupt does the same

    Returns
    -------
    a row a candidate with its verdict; one that fails, also in the middle, has a row that says so

    Raises
    ------
    UnknownModelError, ConfigError, LabelsError : what cannot be, before anything runs
    WorkbenchError : whatever the reference itself fails with, but for pictures that are none
    """
    limits = FitLimits() if limits is None else limits
    if not isinstance(limits, FitLimits):
        raise ConfigError("limits", limits, "a FitLimits")
    if type(latency_s) not in (int, float) or not 0 <= latency_s < 86_400:
        raise ConfigError("latency_s", latency_s, "seconds, at least 0 (0: do not measure)")
    if isinstance(candidates, (str, Path, Model)):
        candidates = [candidates]
    given = list(candidates)
    if not given:
        raise ConfigError("candidates", given, "at least one model")
    home = hub_of((reference, *given), hub)
    right = home.handle(reference)
    asked = _apart([_asked(home, right, candidate) for candidate in given], right.id)
    pictures = _pictures(right, images, labels)
    run = _Run(right, asked, len(pictures), stop)
    stopped = not run.answer(pictures, progress)
    sources = [source for source, _ in pictures[:_TIMED_ON]]
    verdicts: list[Variant] = []
    grown = None
    try:
        if memory and not stopped:
            grown = _grown(right, [], stop)
        for one in asked:
            verdicts.append(_variant(one, right, sources, latency_s, memory, stopped, progress,
                                     stop))  # fmt: skip
            verdict = verdicts[-1].latency  # an interrupt is kept by the comparison: it is over
            stopped = stopped or (stop is not None and stop.over)
            stopped = stopped or (verdict is not None and verdict.stopped)
    except (CancelledError, KeyboardInterrupt):
        stopped = True
        verdicts += [_bare(one) for one in asked[len(verdicts) :]]
    return Conformance(
        reference=right.id,
        variants=tuple(verdicts),
        size_bytes=right.graph.size_bytes,
        memory_bytes=grown,
        reference_accuracy=run.accuracy,
        n=run.answered,
        skipped=dict(run.skipped),
        limits=limits,
        stopped=stopped,
    )


def _asked(hub: ModelHub, reference: Model, candidate: str | Path | Model) -> _Asked:
    """Find a candidate; one whose file is damaged has a row that says so."""
    try:
        model = hub.handle(candidate)
    except (UnknownModelError, ConfigError, MissingFileError):
        raise
    except WorkbenchError as error:
        name = candidate.id if isinstance(candidate, Model) else Path(candidate).stem
        return _Asked(name, None, None, error)
    return _Asked(model.id, model, Tally(reference, model))


def _apart(asked: list[_Asked], reference: str) -> list[_Asked]:
    """Give each a name of its own: one model may be asked twice, or be the reference itself."""
    taken = {reference}
    for one in asked:
        name, turn = one.name, 1
        while one.name in taken:
            turn += 1
            one.name = f"{name} ({turn})"
        taken.add(one.name)
    return asked


def _pictures(model: Model, images: Any, labels: Any) -> list[tuple[Any, int | None]]:
    """List what is fed, each with the index of its class where that is known."""
    if images is None:
        raise ConfigError("images", None, "pictures, a folder of them, or feeds")
    if labels is not None:
        names = model.labels
        if names is None:
            raise LabelsError(f"model {model.id!r}", "it has none to compare with")
        told = None if labels == "folders" else labels
        found: list[tuple[Any, int | None]] = list(pairs(images, told, names))
    elif isinstance(images, Mapping):
        found = [(images, None)]
    else:
        found = [(source, None) for source in ([images] if _alone(images) else listed(images))]
    if not found:
        raise ConfigError("images", [], "at least one picture")
    if not isinstance(found[0][0], Mapping):
        model.picture_port  # noqa: B018  (refuses a model that takes no picture)
    return found


def _alone(images: Any) -> bool:
    return is_one(images) and not isinstance(images, (str, Path))


class _Run:
    """Sends pictures through the reference and all candidates, some at a time."""

    def __init__(
        self, reference: Model, asked: Sequence[_Asked], total: int, stop: Stop | None
    ) -> None:
        self.reference, self.asked, self.total, self.stop = reference, asked, total, stop
        self.answered = self.labelled = self.right = 0
        self.skipped: Counter[str] = Counter()

    @property
    def accuracy(self) -> float:
        """Share of labelled pictures that the reference answers rightly."""
        return self.right / self.labelled if self.labelled else float("nan")

    def answer(self, pictures: Sequence[tuple[Any, int | None]], progress: bool) -> bool:
        """Send all pictures through; say whether none was left out by a stop or interrupt."""
        done = 0
        rest = iter(pictures)
        with bar("Conformance", progress) as told:
            try:
                while part := list(islice(rest, AT_ONCE)):
                    self._part(part, done, told)
                    done += len(part)
            except KeyboardInterrupt:
                return False
            except (CancelledError, InferenceTimeoutError):
                if self.stop is None or not self.stop.over:
                    raise
                return False
        return True

    def _part(self, part: list[tuple[Any, int | None]], done: int, told: Progress) -> None:
        steps = len(part) * (1 + len(self.asked))
        taken = 0

        def step(word: str) -> None:
            nonlocal taken
            taken += 1
            told.told((done + len(part) * taken / steps) / self.total, word)

        wanted: list[tuple[Any, int | None, dict[str, Any]]] = []
        for source, truth in part:
            step(self.reference.id)
            try:
                answer = answer_of(self.reference, source, self.stop)
            except ImageError as error:
                self.skipped[error.code] += 1
                continue
            wanted.append((source, truth, answer))
            self._count(answer, truth)
        for one in self.asked:
            for source, truth, answer in wanted:
                step(one.name)
                if one.model is None or one.tally is None or one.error is not None:
                    continue
                try:
                    one.tally.add(answer, answer_of(one.model, source, self.stop), truth)
                except WorkbenchError as error:
                    if self.stop is not None and self.stop.over:
                        raise
                    one.error = error

    def _count(self, answer: Mapping[str, Any], truth: int | None) -> None:
        self.answered += 1
        scores = scores_of(self.reference)
        if truth is not None and scores is not None:
            self.labelled += 1
            self.right += int(np.asarray(answer[scores]).ravel().argmax()) == truth


def answer_of(model: Model, source: Any, stop: Stop | None) -> dict[str, Any]:
    """Return a model's raw outputs on one picture (or feeds), of a fixed batch the first row."""
    if isinstance(source, Mapping):
        return model.run(source, stop=stop)
    batch: NDArray[Any] = model.preprocessing(source)
    name, fixed = model.picture_port.name, model.picture_batch or 1
    if fixed == 1:
        return model.run({name: batch}, stop=stop)
    outputs = model.run({name: np.repeat(batch, fixed, axis=0)}, stop=stop)
    return {
        name: value[:1] if np.ndim(value) and len(value) == fixed else value
        for name, value in outputs.items()
    }


def _bare(one: _Asked) -> Variant:
    """Make a row of what was counted, without anything that is measured afterwards."""
    model = one.model
    counted = Agreement(n=0, agreed=None, outputs=())
    if one.tally is not None:
        counted = one.tally.agreement()
    return Variant(
        name=one.name,
        agreement=counted,
        size_bytes=0 if model is None else model.graph.size_bytes,
        precision="" if model is None or model.session is None else model.session.precision,
        error=one.error,
        unmeasured=tuple(one.unmeasured),
    )


def _variant(
    one: _Asked,
    reference: Model,
    sources: list[Any],
    latency_s: float,
    memory: bool,
    stopped: bool,
    progress: bool,
    stop: Stop | None,
) -> Variant:
    """Measure what is measured once all pictures are answered: memory, and the time of a run."""
    if one.model is None or one.error is not None or stopped:
        return _bare(one)
    grown = _grown(one.model, one.unmeasured, stop) if memory else None
    verdict = None
    if latency_s > 0:
        made_up = isinstance(sources[0], Mapping) or scores_of(reference) is None
        fed = None if made_up else _readable(reference, sources)
        try:
            verdict = compare(
                reference, one.model, images=fed, hub=reference.hub, max_time_s=latency_s,
                stop=stop, progress=progress,
            )  # fmt: skip
        except CancelledError:
            raise
        except WorkbenchError as error:
            one.unmeasured.append(f"its speed was not measured: {error.message}")
    return replace(_bare(one), latency=verdict, memory_bytes=grown)


def _readable(model: Model, sources: list[Any]) -> list[Any] | None:
    """Return those pictures that can be read; None for none: arrays are made to fit then."""
    found = []
    for source in sources:
        with suppress(WorkbenchError):
            model.preprocessing(source)
            found.append(source)
    return found or None


def _grown(model: Model, unmeasured: list[str], stop: Stop | None) -> int | None:
    """Return what a fresh process grows by with a model; None where that cannot be told."""
    try:
        grown = peak_bytes(model, configuration_of(model, None, "inference"), stop)
        reason = "the system does not tell, or the process failed"
    except CancelledError:
        raise
    except (WorkbenchError, OSError) as error:
        grown, reason = None, error.message if isinstance(error, WorkbenchError) else str(error)
    if grown is None:
        unmeasured.append(f"its memory was not measured: {reason}")
    return grown
