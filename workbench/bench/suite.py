"""Benchmarks: every configuration in turn, in random order, with nothing else going on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.bench.comparison import hub_of
from workbench.bench.fingerprint import fingerprint
from workbench.bench.outcome import Benchmark
from workbench.bench.peak import peak_bytes
from workbench.bench.progress import Progress
from workbench.bench.progress import progress as bar
from workbench.bench.quiet import coarse, neighbours, quiet
from workbench.bench.record import Record
from workbench.bench.rotation import Lane, Rotation, rotate
from workbench.bench.shot import TIMED, Shots, Timed, encoded, fixed_batch, gather
from workbench.bench.subject import STAGES, Configuration, ModelSubject, open_subject
from workbench.errors import CancelledError, ConfigError, WorkbenchError, choices, require_count
from workbench.host import return_memory
from workbench.models.model import Model
from workbench.models.session import Options
from workbench.models.watch import Watch

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.preprocessing.images import ImageSource
    from workbench.stopping import Stop

#: A model, and one way of running it.
Entry = tuple[Model, Configuration]


def benchmark(
    models: str | Path | Model | Sequence[str | Path | Model],
    *,
    images: ImageSource | Iterable[ImageSource] | None = None,
    batch_sizes: int | Sequence[int] | None = None,
    threads: int | Sequence[int | None] | None = None,
    providers: Any = "auto",
    spinning: bool | Literal["auto"] = "auto",
    timed: Timed = "inference",
    min_time_s: float = 1.0,
    max_time_s: float = 60.0,
    memory: bool = True,
    hub: ModelHub | None = None,
    seed: int = 0,
    stop: Stop | None = None,
    progress: bool = True,
) -> Benchmark:
    """Measure models in every combination of batch, threads and providers.

    Each configuration has a session of its own, outside the hub's cache, and is warmed up until
    its times settle. Then all of them run in turn, in random order, so that what the host does
    to one it does to all. Meanwhile other runs of the hub wait and garbage is not collected.

    Parameters
    ----------
    models : ids, paths or handles; a handle brings its own options where none are given here
    images : pictures to run on (a path, bytes, many of them, a folder); None for arrays made to
        fit. ``end_to_end`` needs encoded pictures
    batch_sizes : pictures in a run; None for 1, or what the graph fixes
    threads : threads of one operator; None for what affinity and quota allow
    providers : ``"auto"`` or a name; of a list each item is a way to run (an inner list is an
        order to fall back in)
    spinning : whether idle threads burn time; ``"auto"`` only where there is a single
        configuration and the cores are free
    timed : ``"inference"`` (the engine's call alone) or ``"end_to_end"`` (from encoded bytes
        to the best classes)
    min_time_s : the runs of each configuration add up to at least this, and are at least 30
    max_time_s : limit of the whole measuring in seconds, warm-up included
    memory : measure the peak of memory as well, apart: about a second a configuration
    hub : where the models come from; None for that of the handles, or the process's
    seed : of the order of the runs
    stop : ends it and keeps what was measured, as the keyboard interrupt does
    progress : show a bar with the time left

    Returns
    -------
    a record a configuration: ``.to_frame()``, ``.samples()``, ``.plot()``, ``.save()``. A model
    that fails has a record that says so; the others go on

    Raises
    ------
    UnknownModelError, MissingFileError, InvalidModelError, … : a model that there is not
    ConfigError : no models, no pictures, counts or times that cannot be
    """
    if timed not in TIMED:
        raise ConfigError("timed", timed, choices(TIMED))
    check_times(min_time_s, max_time_s)
    asked = _listed("models", models, (str, Path, Model))
    batches = _listed("batch_sizes", batch_sizes, (int, type(None)))
    for batch in batches:
        require_count("batch_sizes", batch, optional=True)
    ways = _ways(providers)
    options = [
        Options.of(count_, way, spinning)
        for count_, way in product(_listed("threads", threads, (int, type(None))), ways)
    ]
    home = hub_of(asked, hub)
    shots = gather(images)
    if timed == "end_to_end":
        encoded(shots)
    handles = [home.handle(model) for model in asked]
    given = threads is not None or providers != "auto" or spinning != "auto"
    entries: dict[Configuration, Entry] = {}
    for model in handles:
        own = [model.options] if isinstance(model, Model) and not given else options
        for batch, how in product(batches, own):
            configuration = Configuration(
                model=model.id,
                asked=model.asked,
                options=how,
                batch=batch or fixed_batch(model) or 1,
                timed=timed,
                sha256=model.graph.sha256,
            )
            entries.setdefault(configuration, (model, configuration))
    return measure(
        home, list(entries.values()), shots, timed=timed, min_time_s=min_time_s,
        max_time_s=max_time_s, memory=memory, seed=seed, stop=stop, progress=progress,
    )  # fmt: skip


def rerun(
    before: Benchmark,
    *,
    images: Any = None,
    hub: ModelHub | None = None,
    stop: Stop | None = None,
    progress: bool = True,
) -> Benchmark:
    """Measure again what a benchmark measured; see :meth:`workbench.Benchmark.rerun`.

    Raises
    ------
    ConfigError : it ran on pictures, and is not given them
    """
    home = hub or before._hub or hub_of((), None)
    shots = before._shots if images is None else gather(images)
    if shots is None:
        if before.images_sha256:
            raise ConfigError(
                "images", None, f"the pictures that it ran on ({before.fed})",
                "A file keeps their names and their checksum, not the pictures.",
            )  # fmt: skip
        shots = gather(None)
    entries: list[Entry] = []
    for record in before.records:
        model = home.handle(record.configuration.asked)
        entries.append((model, replace(record.configuration, sha256=model.graph.sha256)))
    return measure(
        home, entries, shots, timed=before.timed, min_time_s=before.min_time_s,
        max_time_s=before.max_time_s, seed=before.seed, stop=stop, progress=progress,
        memory=any(r.peak_bytes is not None for r in before.records),
    )  # fmt: skip


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
            records, stopped = _with_memory(records, entries, stop, told)
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
    stack.callback(subject.close)
    return Lane(name, subject)


def _record(lane: Lane, configuration: Configuration) -> Record:
    """Turn what a lane holds into a record, while its session is still there to be asked."""
    subject, problem = lane.subject, lane.problem
    width = 1 + len(STAGES) if configuration.timed == "end_to_end" else 1
    session, first_run_s = None, nan
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
) -> tuple[list[Record], bool]:
    """Measure the peak of each, in processes of their own; a stop leaves the rest out."""
    found = list(records)
    try:
        for number, (model, configuration) in enumerate(entries):
            told.told(number / len(entries))
            if not records[number].problem:
                peak = peak_bytes(model, configuration, stop)
                found[number] = replace(records[number], peak_bytes=peak)
    except (KeyboardInterrupt, CancelledError):
        return found, True
    return found, False


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


# ── what was asked for ────────────────────────────────────────────────────────────────────────


def check_times(min_time_s: float, max_time_s: float) -> None:
    """Raise ConfigError unless both can be times, the first no longer than the second."""
    for name, value in (("min_time_s", min_time_s), ("max_time_s", max_time_s)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
            raise ConfigError(name, value, "a positive number of seconds")
    if min_time_s > max_time_s:
        raise ConfigError("min_time_s", min_time_s, f"at most max_time_s, which is {max_time_s}")


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


def _listed(name: str, value: Any, kinds: tuple[type, ...]) -> list[Any]:
    """Return one or many as a list; raise ConfigError for none, or for something else."""
    items = [value] if isinstance(value, kinds) else value
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise ConfigError(name, value, "one, or a list of them")
    found = list(items)
    if not found:
        raise ConfigError(name, [], "at least one")
    for item in found:
        if not isinstance(item, kinds) or isinstance(item, bool):
            raise ConfigError(name, item, f"{kinds[0].__name__} items only")
    return found


def _ways(providers: Any) -> list[Any]:
    """Return the ways to run: of a list each item is one, an inner list an order."""
    if isinstance(providers, str) or not isinstance(providers, Sequence):
        return [providers]
    if not providers:
        raise ConfigError("providers", providers, "at least one")
    return [way if isinstance(way, (str, list)) else [way] for way in providers]
