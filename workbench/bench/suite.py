"""Benchmarks: every configuration in turn, in random order, with nothing else going on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from workbench.bench.asked import check_asked, check_batch_count
from workbench.bench.comparison import hub_of
from workbench.bench.measurement import Entry, measure
from workbench.bench.scenario import BOUND_S, SCENARIOS, Scenario, Scenarios, play
from workbench.bench.shot import TIMED, Timed, encoded, fixed_batch, gather
from workbench.bench.subject import Configuration
from workbench.errors import ConfigError, choices, require_count
from workbench.models.model import Model
from workbench.models.session import Options

if TYPE_CHECKING:
    from workbench.bench.outcome import Benchmark
    from workbench.models.hub import ModelHub
    from workbench.preprocessing.images import ImageSource
    from workbench.stopping import Stop


@overload
def benchmark(
    models: str | Path | Model | Sequence[str | Path | Model],
    *,
    images: ImageSource | Iterable[ImageSource] | None = ...,
    batch_sizes: int | Sequence[int] | None = ...,
    threads: int | Sequence[int | None] | None = ...,
    providers: Any = ...,
    spinning: bool | Literal["auto"] = ...,
    timed: Timed = ...,
    scenario: None = ...,
    bound_s: float = ...,
    min_time_s: float = ...,
    max_time_s: float = ...,
    memory: bool = ...,
    hub: ModelHub | None = ...,
    seed: int = ...,
    stop: Stop | None = ...,
    progress: bool = ...,
) -> Benchmark: ...
@overload
def benchmark(
    models: str | Path | Model | Sequence[str | Path | Model],
    *,
    images: ImageSource | Iterable[ImageSource] | None = ...,
    batch_sizes: int | Sequence[int] | None = ...,
    threads: int | Sequence[int | None] | None = ...,
    providers: Any = ...,
    spinning: bool | Literal["auto"] = ...,
    timed: Timed = ...,
    scenario: Scenario,
    bound_s: float = ...,
    min_time_s: float = ...,
    max_time_s: float = ...,
    memory: bool = ...,
    hub: ModelHub | None = ...,
    seed: int = ...,
    stop: Stop | None = ...,
    progress: bool = ...,
) -> Scenarios: ...
def benchmark(
    models: str | Path | Model | Sequence[str | Path | Model],
    *,
    images: ImageSource | Iterable[ImageSource] | None = None,
    batch_sizes: int | Sequence[int] | None = None,
    threads: int | Sequence[int | None] | None = None,
    providers: Any = "auto",
    spinning: bool | Literal["auto"] = "auto",
    timed: Timed = "inference",
    scenario: Scenario | None = None,
    bound_s: float = BOUND_S,
    min_time_s: float = 1.0,
    max_time_s: float = 60.0,
    memory: bool = True,
    hub: ModelHub | None = None,
    seed: int = 0,
    stop: Stop | None = None,
    progress: bool = True,
) -> Benchmark | Scenarios:
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
    scenario : None, or ``"single_stream"``, ``"multi_stream"``, ``"server"`` or ``"offline"`` in
        MLPerf's words (see :mod:`workbench.bench.scenario`): how queries come is then given, so
        ``batch_sizes``, ``timed`` and ``memory`` have no meaning, and times are of one model
    bound_s : of ``server``: seconds within which p99 of the latency must stay
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
    that fails has a record that says so; the others go on. With ``scenario`` a
    :class:`workbench.bench.scenario.Scenarios`

    Raises
    ------
    UnknownModelError, MissingFileError, InvalidModelError, … : a model that there is not
    ConfigError : no models, no pictures, counts or times that cannot be
    """
    if timed not in TIMED:
        raise ConfigError("timed", timed, choices(TIMED))
    check_asked(seed=seed, stop=stop, hub=hub)
    check_times(min_time_s=min_time_s, max_time_s=max_time_s, bound_s=bound_s)
    if scenario is not None and scenario not in SCENARIOS:
        raise ConfigError("scenario", scenario, choices(SCENARIOS) + ", or None")
    asked = _listed("models", models, (str, Path, Model))
    batches = _listed("batch_sizes", batch_sizes, (int, type(None)))
    for batch in batches:
        require_count("batch_sizes", batch, optional=True)
        check_batch_count("batch_sizes", batch)
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
    if scenario is not None:
        if timed != "inference" or batch_sizes is not None or len(options) > 1:
            expected = "no batch_sizes, no timed and one way to run beside it"
            raise ConfigError("scenario", scenario, expected)
        return play(
            home, handles, shots, scenario=scenario, options=options[0], min_time_s=min_time_s,
            max_time_s=max_time_s, bound_s=bound_s, seed=seed, stop=stop, progress=progress,
        )  # fmt: skip
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
    check_asked(seed=before.seed, stop=stop, hub=hub)
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


# ── what was asked for ────────────────────────────────────────────────────────────────────────


def check_times(**times_s: float) -> None:
    """Raise ConfigError unless all are times, and min_time_s is no longer than max_time_s."""
    for name, value in times_s.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
            raise ConfigError(name, value, "a positive number of seconds")
    shortest, longest = times_s["min_time_s"], times_s["max_time_s"]
    if shortest > longest:
        raise ConfigError("min_time_s", shortest, f"at most max_time_s, which is {longest}")


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
