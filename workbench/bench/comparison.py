"""Which of two models is faster, on this host: pairs in random order until it is decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.bench.asked import check_asked, check_batch_count
from workbench.bench.course import OPENING, run
from workbench.bench.progress import progress as bar
from workbench.bench.quiet import neighbours, quiet
from workbench.bench.shot import INSIDE, TIMED, Timed, fixed_batch, gather
from workbench.bench.subject import Configuration, ModelSubject, open_subject
from workbench.bench.verdict import Side, Verdict
from workbench.errors import ConfigError, choices, require_count
from workbench.host import host, return_memory
from workbench.models.hub import ModelHub, default_hub
from workbench.models.model import Model
from workbench.models.session import Options
from workbench.models.watch import Watch

if TYPE_CHECKING:
    from workbench.models.session import SessionFacts
    from workbench.preprocessing.images import ImageSource
    from workbench.stopping import Stop


def compare(
    a: str | Path | Model,
    b: str | Path | Model,
    *,
    images: ImageSource | Iterable[ImageSource] | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    providers: object = "auto",
    timed: Timed = "inference",
    max_time_s: float = 30.0,
    hub: ModelHub | None = None,
    seed: int = 0,
    stop: Stop | None = None,
    progress: bool = True,
) -> Verdict:
    """Say whether ``b`` is faster or slower than ``a``, or that this cannot be told here.

    Each model runs in two private sessions, all four in random order, round after round: what
    the host does to one it does to all, and what a model differs by from itself is measured in
    the same run. It ends as soon as it is decided, and else when the time is up.

    Parameters
    ----------
    a, b : ids, paths or handles; a handle keeps its own options. They may be the same
    images : pictures to run on; None for arrays made to fit (``end_to_end`` needs pictures)
    batch_size : pictures in a run; None for 1, or what the graph fixes
    threads : threads of one operator; None for what affinity and quota allow
    providers : as of :meth:`ModelHub.load`
    timed : ``"inference"`` (the engine's call alone) or ``"end_to_end"`` (from encoded bytes
        to the best classes)
    max_time_s : seconds in all, warm-up included; opening the sessions comes on top. What can
        be found depends on the rounds there is time for, see Notes
    hub : where the models come from; None for that of the handles, or the process's
    seed : of the order of the runs and of the bootstrap
    stop : ends it and keeps what was measured, as the keyboard interrupt does
    progress : show a bar with the time left

    Returns
    -------
    the verdict: ``.outcome`` is ``"faster"``, ``"slower"`` or ``"cannot_tell"``, of b against a

    Raises
    ------
    UnknownModelError, MissingFileError, ConfigError, InputMismatchError, … : before anything is
        measured. A model that fails in the middle gives a verdict that says so

    Notes
    -----
    Threads do not spin: they would take the cores of the other sessions. Pass handles that were
    loaded with ``spinning=True`` to have it otherwise.

    The power is in the number of rounds (two runs of each model): the more there are, the longer
    the blocks, and the lower the noise floor that a difference must exceed. Runs of 10 ms and
    less have enough of them in 30 s. Runs of 100 ms and more do not: with noise of 2 to 3 % a
    run the floor was 5.5 % at 100 ms and 10 % at 300 ms, so 5 % were not found. At such a floor
    it takes about 100 s (100 ms) and a quarter of an hour (300 ms). Where the time was too short
    to tell, the verdict's notes propose a ``max_time_s``.
    """
    if timed not in TIMED:
        raise ConfigError("timed", timed, choices(TIMED))
    check_asked(seed=seed, stop=stop, hub=hub)
    number = isinstance(max_time_s, (int, float)) and not isinstance(max_time_s, bool)
    if not (number and 0 < max_time_s < inf):
        raise ConfigError("max_time_s", max_time_s, "a positive number of seconds")
    require_count("batch_size", batch_size, optional=True)
    check_batch_count("batch_size", batch_size)
    home = hub_of((a, b), hub)
    shots = gather(images)
    options = Options.of(threads, providers, "auto")
    models = [handle_of(home, model, options) for model in (a, b)]
    configurations = [configuration_of(m, batch_size, timed) for m in models]
    names = _names(configurations)
    machine, around = host(), neighbours(home)  # before the load is our own
    with ExitStack() as stack:
        stack.callback(return_memory)
        stack.enter_context(quiet(home))
        watch = stack.enter_context(Watch(home.timeout_s, stop))
        opened: dict[int, ModelSubject] = {}
        for which in OPENING:
            side = which // 2
            opened[which] = open_subject(
                models[side], configurations[side], shots, name=names[side], watch=watch
            )
            stack.callback(opened[which].close)
        subjects = [opened[which] for which in sorted(opened)]
        # an interrupt from here on ends the measurement and is no error
        with bar(f"{names[0]} / {names[1]}", progress) as told:
            course = run(subjects, max_time_s=max_time_s, seed=seed, stop=stop, told=told)
        sides = [
            Side(
                name=names[i],
                configuration=configurations[i],
                session=_quiet(subjects[2 * i].session.facts),
                runs_s=course.times_s[:, 2 * i : 2 * i + 2],
            )
            for i in range(2)
        ]
    return Verdict(
        a=sides[0],
        b=sides[1],
        look=course.look,
        looks=course.looks,
        between=course.between,
        within=course.within,
        pairs=course.pairs,
        order=course.order,
        canary=course.canary,
        fed=shots.text,
        inside=INSIDE[timed],
        seed=seed,
        wall_s=course.wall_s,
        stopped=course.stopped,
        problem=course.problem,
        warned=(*course.notes, *around),
        host=machine,
    )


# ── what was asked for ────────────────────────────────────────────────────────────────────────


def hub_of(models: Iterable[Any], hub: ModelHub | None) -> ModelHub:
    """Return the hub that was given, else that of the handles, else the process's.

    Raises
    ------
    ConfigError : handles of different hubs
    """
    homes = {id(m.hub): m.hub for m in models if isinstance(m, Model)}
    if hub is not None:
        homes[id(hub)] = hub
    if len(homes) > 1:
        raise ConfigError("models", "handles of different hubs", "models of one hub")
    return next(iter(homes.values())) if homes else default_hub()


def handle_of(hub: ModelHub, model: Any, options: Options) -> Model:
    """Return the handle of a model, as its options say; with none of its own, quiet."""
    if isinstance(model, Model):
        return hub.handle(model)
    return hub.handle(model, options)


def configuration_of(model: Model, batch: int | None, timed: Timed) -> Configuration:
    """Say how a handle is run: threads that were not asked to spin do not."""
    spinning: bool | Literal["auto"] = model.options.spinning
    return Configuration(
        model=model.id,
        asked=model.asked,
        options=replace(model.options, spinning=spinning is True),
        batch=batch or fixed_batch(model) or 1,
        timed=timed,
        sha256=model.graph.sha256,
    )


def _quiet(facts: SessionFacts) -> SessionFacts:
    """Say why the threads of a measured session do not spin, where nobody asked for that."""
    if facts.spinning or facts.threads == 1:
        return facts
    return replace(facts, why_spinning="sessions measured in turn must not take each other's cores")


def _names(configurations: Sequence[Configuration]) -> tuple[str, str]:
    """Name both sides by what tells them apart; a model against itself is told by its place."""
    first, second = configurations
    if first.model != second.model:
        return first.model, second.model
    apart = ("threads", "providers")
    names = first.describe(apart=apart), second.describe(apart=apart)
    if names[0] != names[1]:
        return names
    return first.model, f"{second.model} (again)"
