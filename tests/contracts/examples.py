"""One of everything that can be displayed. Add a function; its name becomes the test's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import numpy as np

from workbench.bench.agreement import Agreement, OutputMatch
from workbench.bench.canary import Canary
from workbench.bench.cold import ColdStart, Start
from workbench.bench.comparison import compare
from workbench.bench.conformance import Conformance, Variant
from workbench.bench.limits import FitLimits
from workbench.bench.quantization import QuantizeOptions
from workbench.bench.suite import benchmark
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
from workbench.inference.diagnose import diagnose
from workbench.inference.evaluate import evaluate
from workbench.inference.metrics import Metrics
from workbench.inference.results import Failure, Outside
from workbench.inference.runner import Runner
from workbench.models import catalog
from workbench.models.cache import Unloaded
from workbench.models.hub import ModelHub
from workbench.models.lock import Finding
from workbench.models.news import News, Update
from workbench.models.optimised import GraphCache
from workbench.models.profile import Node, Profile
from workbench.models.session import Ran
from workbench.models.store import example
from workbench.models.upkeep import Restored, Verification
from workbench.models.warmup import WarmUp
from workbench.preprocessing import presets
from workbench.service import serve
from workbench.settings import Settings
from workbench.stopping import Stop
from workbench.timing import Samples, Stages

if TYPE_CHECKING:
    from workbench.bench.outcome import Benchmark
    from workbench.bench.verdict import Verdict

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


def passport() -> Displayable:
    return _runner().hub.passport("cifar10-small")


@cache
def diagnosis() -> Displayable:
    return diagnose("cifar10-small", [example("cat")], ["cat"], hub=_runner().hub)


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


@cache
def result_of_another_recipe() -> Displayable:
    return _runner().classify(example("cat"), model="cifar10", preprocessing="raw")


@cache
def reading() -> Displayable:
    own = _runner().hub.load("cifar10").preprocessing
    found = own.replace(color_format="BGR").trace(example("cat")).reading
    assert found is not None
    return found


@cache
def trace_of_another_recipe() -> Displayable:
    own = _runner().hub.load("cifar10").preprocessing
    return own.replace(color_format="BGR").trace(example("cat"))


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


@cache
def service() -> Displayable:
    running = serve(_runner().hub, models=["cifar10-small"])
    running.stop()
    return running


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


def catalogue_entry() -> Displayable:
    return replace(catalog.entries()["resnet18-v2-7"], title=HOSTILE, notes=(HOSTILE,))


def _finding(state: str, role: str = "model") -> Finding:
    return Finding(HOSTILE, role, state, "" if state == "missing" else "b" * 64, "a" * 64)


def verification() -> Displayable:
    found = [("net", _finding(state)) for state in ("right", "changed", "missing")]
    found.append((HOSTILE, _finding("changed", "metadata")))
    return Verification(Path("models"), tuple(found), (HOSTILE,))


def restored() -> Displayable:
    return Restored(Path(HOSTILE), (HOSTILE,), ("a.onnx",), (HOSTILE,))


def update() -> Displayable:
    news = (
        News("net", "https://a.example/net.onnx", "same", "a" * 64, "a" * 64),
        News(HOSTILE, HOSTILE, "changed", "a" * 64, "", HOSTILE),
    )
    return Update(news, ("net",), dry_run=False)


@cache
def host_facts() -> Displayable:
    return host()


def profile() -> Displayable:
    row = Node(
        name=HOSTILE, op=HOSTILE, provider="CPUExecutionProvider", inputs=HOSTILE, outputs=HOSTILE,
        parameter_bytes=1234, first_s=0.003, times_s=(0.002,) * 12, memory_bytes=99,
    )  # fmt: skip
    nodes = (row, replace(row, within=HOSTILE), replace(row, provider=HOSTILE, name="b"))
    times = Samples((0.005,) * 12, HOSTILE)
    return Profile(
        model=HOSTILE, nodes=nodes, wall=times, quiet=Samples((0.004,) * 12), engine_s=0.0045,
        execute_s=0.0042, first_s=0.01, shapes=((HOSTILE, "float32 (1, 3, 8, 8)"),),
        ran=(Ran(HOSTILE, 9, 10),), provider="CPU", peak_bytes=10_000, settled=False, stopped=True,
    )  # fmt: skip


def cold_start() -> Displayable:
    start = Start(
        fed=HOSTILE, number=0, stages={"launch": 0.01, "import": 0.3, "first run": 0.02},
        runs=Samples((0.003, *(0.002,) * 12)), settled_at=1, provider="CPU", grown_bytes=5_000_000,
    )  # fmt: skip
    failed = replace(start, stages={}, runs=Samples(()), error=UnknownModelError(HOSTILE, ["a"]))
    return ColdStart(model=HOSTILE, starts=(start, failed), wanted=3, stopped=True)


def quantize_options() -> Displayable:
    return QuantizeOptions(keep=(HOSTILE,))


@cache
def conformance() -> Displayable:
    match = OutputMatch(
        name=HOSTILE, cosine=0.999, least_cosine=0.9, max_difference=0.1, scale=9.0, not_finite=0
    )
    told = Agreement(
        n=100, agreed=99, outputs=(match,), labelled=100, right=90, reference_right=91, lost=1
    )
    fit = Variant(name=HOSTILE, agreement=told, size_bytes=1000, memory_bytes=5000,
                  latency=verdict(), unmeasured=(HOSTILE,))  # fmt: skip
    broken = replace(fit, agreement=replace(told, agreed=10), latency=None)
    failed = replace(broken, error=UnknownModelError(HOSTILE, ["a"]), memory_bytes=None)
    return Conformance(
        reference=HOSTILE, variants=(fit, broken, failed), size_bytes=4000, memory_bytes=9000,
        reference_accuracy=0.91, n=100, skipped={HOSTILE: 1}, limits=FitLimits(), stopped=True,
    )  # fmt: skip


def profile_difference() -> Displayable:
    other = replace(profile(), nodes=profile().nodes[2:], threads=2)
    return profile().diff(other)


@cache
def benchmark_of_two() -> Benchmark:
    models = ["cifar10-small", "cifar10-int8"]
    hub = _runner().hub
    return benchmark(models, hub=hub, min_time_s=0.02, memory=False, threads=1, progress=False)


@cache
def benchmark_with_hostile_names() -> Displayable:
    found = benchmark_of_two()
    first = replace(found[0], name=HOSTILE, problem=HOSTILE, code="internal")
    second = replace(found[1].configuration, model=HOSTILE)
    records = (first, replace(found[1], name=HOSTILE, configuration=second, peak_bytes=12_345))
    return replace(found, records=records, fed=HOSTILE, warned=(HOSTILE,), stopped=True)


@cache
def scenarios() -> Displayable:
    models, hub = ["cifar10-small"], _runner().hub
    return benchmark(models, scenario="offline", hub=hub, min_time_s=0.05, progress=False)


@cache
def scenarios_with_hostile_names() -> Displayable:
    found = scenarios()
    first = replace(found[0], model=HOSTILE)
    broken = replace(found[0], model=HOSTILE, problem=HOSTILE, trial=None, session=None)
    return replace(found, played=(first, broken), warned=(HOSTILE,), stopped=True)


@cache
def difference() -> Displayable:
    return benchmark_of_two().diff(benchmark_with_hostile_names())


def host_fingerprint() -> Displayable:
    return benchmark_of_two().fingerprint


@cache
def verdict() -> Verdict:
    names = ("cifar10-small", "cifar10-small")
    return compare(*names, hub=_runner().hub, max_time_s=0.4, threads=1, progress=False)


@cache
def verdict_with_hostile_names() -> Displayable:
    found = verdict()
    sides = [replace(side, name=HOSTILE) for side in (found.a, found.b)]
    drifted, problem = Canary(1.0, 2.0), UnknownModelError(HOSTILE, ["a"])
    return replace(
        found, a=sides[0], b=sides[1], fed=HOSTILE, canary=drifted, problem=problem, stopped=True
    )


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
    passport,
    diagnosis,
    pipeline,
    trace,
    warm_up,
    result,
    result_outside,
    result_of_another_recipe,
    reading,
    trace_of_another_recipe,
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
    service,
    failure,
    outputs,
    metrics,
    evaluation,
    catalogue_entry,
    verification,
    restored,
    update,
    host_facts,
    benchmark_of_two,
    benchmark_with_hostile_names,
    difference,
    scenarios,
    scenarios_with_hostile_names,
    host_fingerprint,
    profile,
    profile_difference,
    cold_start,
    quantize_options,
    conformance,
    verdict,
    verdict_with_hostile_names,
)
