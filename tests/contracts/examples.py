"""One of everything that can be displayed. Add a function; its name becomes the test's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from workbench.cards import (
    Bar,
    BarGrid,
    Bars,
    Card,
    Displayable,
    Facts,
    Fold,
    Notes,
    Picture,
    Pictures,
    Stack,
    Table,
)
from workbench.errors import UnknownModelError
from workbench.host import host
from workbench.inference.evaluate import evaluate
from workbench.inference.metrics import Metrics
from workbench.inference.results import Failure, Outside
from workbench.inference.runner import Runner
from workbench.models.cache import Unloaded
from workbench.models.hub import ModelHub
from workbench.models.optimised import GraphCache
from workbench.models.store import example
from workbench.models.warmup import WarmUp
from workbench.preprocessing import presets
from workbench.settings import Settings
from workbench.stopping import Stop
from workbench.timing import Samples, Stages

#: A name that tries everything: markup, quotes, a terminal's escape, a line break, width.
HOSTILE = "<script>alert(1)</script>'\"&amp;\x1b[31m\n猫"


class Everything(Displayable):
    """A card with every kind of block, and a stranger's text in every place that takes one."""

    def _card(self) -> Card:
        small = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
        grey = np.linspace(0, 255, 300 * 200).astype(np.uint8).reshape(300, 200)
        return Card(
            HOSTILE,
            (
                Facts(((HOSTILE, HOSTILE), ("opset", "17"))),
                Facts((("providers", "CPU"),), title=HOSTILE),
                Table(
                    (HOSTILE, "size"), ((HOSTILE, "1.00 kB"), ("b", "2.00 kB")), HOSTILE, ("size",)
                ),
                Table(("only", "columns"), ()),
                Bars((Bar(HOSTILE, 0.931, "93.1 %"), Bar("dog", float("nan"), "n/a")), HOSTILE),
                Bars(()),
                BarGrid(
                    (HOSTILE, "b"),
                    ((HOSTILE, (Bar(HOSTILE, 0.7, HOSTILE), None)), ("c", (None, None))),
                    HOSTILE,
                ),
                BarGrid((), ()),
                Fold(HOSTILE, (Facts(((HOSTILE, HOSTILE),)), Bars(()))),
                Stack((("decode", 0.002), (HOSTILE, 0.006)), HOSTILE),
                Stack((("nothing", 0.0),)),
                Pictures(
                    (Picture(small, HOSTILE, (HOSTILE, "8 × 8")), Picture(grey, "grey")), HOSTILE
                ),
                Notes((HOSTILE, "A plain note.")),
                Stack(tuple((f"stage {n}", 0.001) for n in range(12)), "More than the colours"),
                Notes((HOSTILE,), urgent=True),
            ),
        )


def everything() -> Displayable:
    return Everything()


def stages() -> Displayable:
    return Stages({"decode": 0.002, "inference": 0.006}, total_s=0.009)


def stages_with_a_hostile_name() -> Displayable:
    return Stages({HOSTILE: 0.002})


def samples() -> Displayable:
    return Samples(tuple(0.010 + 0.001 * (i % 5) for i in range(40)), "cifar10")


def samples_without_any() -> Displayable:
    return Samples((), HOSTILE)


@cache
def _runner() -> Runner:
    return Runner(ModelHub(model_dir=Path(mkdtemp())))


def hub() -> Displayable:
    return _runner().hub


def cache_info() -> Displayable:
    return _runner().hub.cache_info()


def unloaded() -> Displayable:
    return Unloaded((HOSTILE, "b"), (HOSTILE,), 123_456)


def model() -> Displayable:
    return _runner().hub.load("cifar10-small")


def spec() -> Displayable:
    return _runner().hub.load("cifar10-small").spec


def pipeline() -> Displayable:
    return presets.imagenet()


@cache
def trace() -> Displayable:
    return presets.cifar10().trace(example("cat"))


def warm_up() -> Displayable:
    load = Stages({"read": 0.001, "optimise": 0.02})
    times = Samples((0.004, *[0.002] * 12), HOSTILE)
    return WarmUp(model=HOSTILE, load=load, first_run_s=0.01, samples=times, settled_at=1)


@cache
def memory() -> Displayable:
    hub = ModelHub(max_models=1)
    for name in ("cifar10-small", "cifar10"):
        hub.preload(name, warmup=True)
    return hub.memory()


@cache
def kept_graphs() -> Displayable:
    hub = _runner().hub
    hub.load("cifar10-small")
    return GraphCache().look()


@cache
def result() -> Displayable:
    return _runner().classify(example("cat"), model="cifar10-small")


@cache
def result_outside() -> Displayable:
    found = _runner().classify(example("coffee"), model="cifar10-small")
    return replace(found, source=HOSTILE, outside=Outside(0.1, 0.5, "max_softmax", HOSTILE))


@cache
def results() -> Displayable:
    return _runner().classify([example("cat"), b"junk"], model="cifar10-small")


def failure() -> Displayable:
    return Failure(source=HOSTILE, error=UnknownModelError(HOSTILE, ["a"]), model=HOSTILE)


@cache
def results_sorted() -> Displayable:
    return results().least_sure_first()


@cache
def opinions() -> Displayable:
    return _runner().classify(example("cat"), model=["cifar10", "cifar10-small", HOSTILE])


@cache
def opinion_grid() -> Displayable:
    sources = [example("cat"), b"junk", example("coffee")]
    return _runner().classify(sources, model=["cifar10", "cifar10-small", HOSTILE])


@cache
def histograms() -> Displayable:
    return presets.cifar10().unfused().trace(example("cat")).histograms()


def channel() -> Displayable:
    return histograms()[0]


def trace_step() -> Displayable:
    return trace()[0]


def runner() -> Displayable:
    return Runner(_runner().hub)


def settings() -> Displayable:
    return Settings(api_keys="first,second", log_level="info")


def stop() -> Displayable:
    return Stop(timeout_s=3600)


@cache
def outputs() -> Displayable:
    feeds = _runner().hub.load("cifar10-small").sample_feeds()
    return _runner().run(feeds, "cifar10-small")


def metrics() -> Displayable:
    counted = Metrics()
    counted.add(HOSTILE, {"inference": 0.002}, 0.003)
    counted.add_error(HOSTILE)
    return counted


@cache
def evaluation() -> Displayable:
    return evaluate("cifar10-small", [example("cat")] * 2, ["cat", "dog"], runner=_runner())


@cache
def host_facts() -> Displayable:
    return host()


EXAMPLES: tuple[Callable[[], Displayable], ...] = (
    everything,
    stages,
    stages_with_a_hostile_name,
    samples,
    samples_without_any,
    hub,
    cache_info,
    unloaded,
    model,
    spec,
    pipeline,
    trace,
    warm_up,
    result,
    result_outside,
    results,
    results_sorted,
    opinions,
    opinion_grid,
    histograms,
    channel,
    trace_step,
    runner,
    settings,
    stop,
    failure,
    outputs,
    metrics,
    evaluation,
    host_facts,
)
