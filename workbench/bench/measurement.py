"""Measuring configurations: sessions of their own, quiet around them, memory apart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.bench.fingerprint import fingerprint
from workbench.bench.outcome import Benchmark
from workbench.bench.peak import peak_or_why
from workbench.bench.progress import Progress
from workbench.bench.progress import progress as bar
from workbench.bench.quiet import coarse, neighbours, quiet
from workbench.bench.record import Record
from workbench.bench.rotation import Lane, Rotation, rotate
from workbench.bench.subject import STAGES, Configuration, ModelSubject, open_subject
from workbench.errors import CancelledError, EngineMemoryError, InferenceError, WorkbenchError
from workbench.host import return_memory
from workbench.models.model import Model
from workbench.models.watch import Watch

if TYPE_CHECKING:
    from workbench.bench.shot import Shots, Timed
    from workbench.models.hub import ModelHub
    from workbench.stopping import Stop

#: A model, and one way of running it.
Entry = tuple[Model, Configuration]


def measure(
    hub: ModelHub,
    entries: Sequence[Entry],
    shots: Shots,
    *,
    timed: Timed,
    min_time_s: float,
    max_time_s: float,
    memory: bool,
    seed: int,
    stop: Stop | None,
    progress: bool,
) -> Benchmark:
    """Measure some configurations; see :func:`benchmark`."""
    traces, around = fingerprint(), neighbours(hub)  # before the load is our own
    names = names_of([configuration for _, configuration in entries])
    title = f"benchmark of {len(entries)}"
    with ExitStack() as stack, bar(title, progress) as told:
        stack.callback(return_memory)
        stack.enter_context(quiet(hub))
        watch = stack.enter_context(Watch(hub.timeout_s, stop))
        lanes = [
            _opened(stack, *entry, shots, name, watch, alone=len(entries) == 1)
            for entry, name in zip(entries, names, strict=True)
        ]
        rotation = rotate(
            lanes, min_time_s=min_time_s, max_time_s=max_time_s, seed=seed, stop=stop, told=told
        )
        records = [
            _record(lane, configuration)
            for lane, (_, configuration) in zip(lanes, entries, strict=True)
        ]
    stopped = rotation.stopped
    if memory and not stopped:
        with bar("memory", progress) as told:
            records, stopped, unknown = _with_memory(records, entries, stop, told)
        around += unknown
    return _closed(records, rotation, stopped, around, Benchmark(
        records=(), timed=timed, fed=shots.text, images_sha256=shots.sha256,
        recipes=_recipes(entries, shots), seed=seed, min_time_s=float(min_time_s),
        max_time_s=float(max_time_s), canary=rotation.canary, step_s=rotation.step_s,
        fingerprint=traces, wall_s=rotation.wall_s, _shots=shots, _hub=hub,
    ))  # fmt: skip


def _closed(
    records: list[Record],
    rotation: Rotation,
    stopped: bool,
    around: tuple[str, ...],
    blank: Benchmark,
) -> Benchmark:
    shortest = min((r.samples.median_s for r in records if r.samples.n), default=nan)
    return replace(
        blank,
        records=tuple(records),
        stopped=stopped,
        time_was_up=rotation.time_was_up,
        warned=(*coarse(rotation.step_s, shortest), *around),
    )


def _opened(
    stack: ExitStack,
    model: Model,
    configuration: Configuration,
    shots: Shots,
    name: str,
    watch: Watch,
    *,
    alone: bool,
) -> Lane:
    """Open a configuration's session; where that fails, its lane says so."""
    options = configuration.options
    if options.spinning == "auto" and not alone:
        options = replace(options, spinning=False)
    try:
        subject = open_subject(
            model, replace(configuration, options=options), shots, name=name, watch=watch
        )
    except WorkbenchError as error:
        return Lane(name, None, error)
    except (MemoryError, OSError, ValueError, OverflowError) as error:
        return Lane(name, None, _in_words(error, model.id, configuration.batch))
    stack.callback(subject.close)
    return Lane(name, _Guarded(subject))


def _in_words(error: Exception, model: str, batch: int) -> WorkbenchError:
    """Turn what numpy or the system said about one configuration into an error of ours."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        return EngineMemoryError(model, f"making a batch of {batch} for", reason)
    return InferenceError(model, reason)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A subject whose failures are all in words: one that runs out of memory is given up alone."""

    subject: ModelSubject

    @property
    def name(self) -> str:
        """The subject's."""
        return self.subject.name

    def run(self) -> tuple[float, ...]:
        """Run the subject once; its clock runs inside, so this adds nothing to the time."""
        try:
            return self.subject.run()
        except WorkbenchError:
            raise
        except (MemoryError, OSError, ValueError, OverflowError) as error:
            of = self.subject
            raise _in_words(error, of.model.id, of.configuration.batch) from error


def _record(lane: Lane, configuration: Configuration) -> Record:
    """Turn what a lane holds into a record, while its session is still there to be asked."""
    subject, problem = lane.subject, lane.problem
    width = 1 + len(STAGES) if configuration.timed == "end_to_end" else 1
    session, first_run_s = None, nan
    if isinstance(subject, _Guarded):
        subject = subject.subject
    if isinstance(subject, ModelSubject):
        session = subject.session.facts
        first_run_s = subject.session.first_run_s or nan
        if configuration.options.spinning == "auto" and not session.spinning:
            why = session.why_spinning
            if why == "as asked":
                why = "sessions measured in turn must not take each other's cores"
            session = replace(session, why_spinning=why)
    return Record(
        name=lane.name,
        configuration=configuration,
        session=session,
        laps_s=np.array(lane.laps, np.float64).reshape(-1, width),
        places=np.array(lane.places, np.int64),
        at_s=np.array(lane.at_s, np.float64),
        warm_up_s=lane.warm.values_s,
        settled_at=lane.settled_at,
        first_run_s=first_run_s,
        problem="" if problem is None else str(problem),
        code="" if problem is None else problem.code,
    )


def _with_memory(
    records: list[Record], entries: Sequence[Entry], stop: Stop | None, told: Progress
) -> tuple[list[Record], bool, tuple[str, ...]]:
    """Measure the peak of each, in processes of their own; a stop leaves the rest out.

    Returns
    -------
    the records, whether it was stopped, and a note for each peak that stays unknown
    """
    found = list(records)
    unknown: dict[str, list[str]] = {}
    try:
        for number, (model, configuration) in enumerate(entries):
            told.told(number / len(entries))
            if not records[number].problem:
                peak, why = peak_or_why(model, configuration, stop)
                found[number] = replace(records[number], peak_bytes=peak)
                if why:
                    unknown.setdefault(why, []).append(records[number].name)
    except (KeyboardInterrupt, CancelledError):
        return found, True, _unknown(unknown)
    return found, False, _unknown(unknown)


def _unknown(found: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(
        f"Peak memory of {', '.join(names)} unknown: {why}." for why, names in found.items()
    )


def _recipes(entries: Sequence[Entry], shots: Shots) -> dict[str, Any]:
    """Return the preprocessing of each model that was fed with pictures."""
    if not shots.sources:
        return {}
    found: dict[str, Any] = {}
    for model, _ in entries:
        try:
            found[model.id] = model.preprocessing.recipe()
        except WorkbenchError:  # it takes no pictures: its record says so
            continue
    return found


def names_of(configurations: Sequence[Configuration]) -> list[str]:
    """Name each configuration by its model and by what differs among them all."""
    apart = tuple(
        name
        for name, values in (
            ("batch", {c.batch for c in configurations}),
            ("threads", {c.options.threads for c in configurations}),
            ("providers", {c.options.providers for c in configurations}),
        )
        if len(values) > 1
    )
    return [c.describe(apart=apart) for c in configurations]
