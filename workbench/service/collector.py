"""What Prometheus reads: the runner's counts and the service's, in its format.

Nothing is counted here: at each scrape the collector looks at what is counted anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from workbench.host import resident_bytes
from workbench.inference.metrics import BOUNDS_S, Tally

if TYPE_CHECKING:
    from workbench.service.desk import Desk

#: The type of what :func:`page` returns (Prometheus text format 0.0.4).
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper ends of the classes of runs, by their inputs.
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class DeskCollector(Collector):
    """Looks at a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        yield from self._requests()
        yield from self._runs()
        yield from self._models()

    def _requests(self) -> Iterator[Metric]:
        traffic, admission = self._desk.traffic, self._desk.admission
        requests = CounterMetricFamily(
            "workbench_requests", "Requests answered.",
            labels=("route", "method", "status", "code", "model"),
        )  # fmt: skip
        for served, number in traffic.served().items():
            facts = (served.route, served.method, str(served.status), served.code, served.model)
            requests.add_metric(facts, number)
        yield requests
        times = HistogramMetricFamily(
            "workbench_request_seconds", "Time of a whole request.", labels=("route",)
        )
        for route, tally in traffic.times().items():
            _add(times, (route,), tally)
        yield times
        batches, inputs = traffic.batches()
        yield CounterMetricFamily("workbench_batches", "Requests with inputs.", value=batches)
        yield CounterMetricFamily("workbench_batch_inputs", "Inputs of them all.", value=inputs)
        gauges = (
            ("requests_open", "Requests whose answer is not out yet.", traffic.open),
            ("queue_running", "Runs under way.", admission.running),
            ("queue_waiting", "Requests that wait for a worker.", admission.waiting),
            ("queue_limit", "Requests that may wait.", admission.limit),
            ("queue_workers", "Runs at a time.", admission.workers),
        )
        for name, what, value in gauges:
            yield GaugeMetricFamily(f"workbench_{name}", what, value=value)
        if self._desk.jobs is not None:
            yield GaugeMetricFamily(
                "workbench_jobs_unfinished", "Jobs that wait or run.", value=self._desk.jobs
            )
        yield CounterMetricFamily(
            "workbench_worker_restarts", "Workers that ended and were replaced.",
            value=self._desk.engine.restarts,
        )  # fmt: skip
        yield CounterMetricFamily(
            "workbench_queue_refused", "Requests turned away.", value=admission.refused
        )

    def _runs(self) -> Iterator[Metric]:
        metrics = self._desk.engine.metrics
        answered = CounterMetricFamily("workbench_answered", "Inputs answered.", labels=("model",))
        for model, number in metrics.models.items():
            answered.add_metric((model,), number)
        yield answered
        errors = CounterMetricFamily(
            "workbench_run_errors", "Inputs that ended in an error.", labels=("code",)
        )
        for code, number in metrics.errors.items():
            errors.add_metric((code,), number)
        yield errors
        yield _sizes(metrics.runs)
        stages = HistogramMetricFamily(
            "workbench_stage_seconds", "Time of a stage of a run.", labels=("model", "stage")
        )
        own = self._desk.stages.tallies().items()
        for (model, stage), tally in [*own, *metrics.tallies().items()]:
            _add(stages, (model, stage), tally)
        yield stages

    def _models(self) -> Iterator[Metric]:
        cache = self._desk.engine.cache_info()
        for name, what, value in (
            ("hits", "Uses that found a live session.", cache.hits),
            ("misses", "Uses that had to open one.", cache.misses),
            ("evictions", "Sessions closed to make room.", cache.evictions),
        ):
            yield CounterMetricFamily(f"workbench_cache_{name}", what, value=value)
        yield GaugeMetricFamily("workbench_models_live", "Models in memory.", value=cache.live)
        yield GaugeMetricFamily("workbench_models_bytes", "Size of their files.", value=cache.bytes)
        if (resident := resident_bytes()) is not None:
            yield GaugeMetricFamily(
                "workbench_resident_bytes", "Memory of this process.", value=resident
            )
        held = [worker.resident_bytes or 0 for worker in self._desk.engine.workers()]
        yield GaugeMetricFamily(
            "workbench_workers_resident_bytes", "Memory of the worker processes, where there are.",
            value=sum(held),
        )  # fmt: skip


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], tally: Tally) -> None:
    below, buckets = 0, []
    for bound, number in zip((*BOUNDS_S, float("inf")), tally.counts, strict=True):
        below += number
        buckets.append((f"{bound:g}" if bound != float("inf") else "+Inf", float(below)))
    family.add_metric(labels, buckets, sum_value=tally.sum_s)


def _sizes(runs: Mapping[int, int]) -> HistogramMetricFamily:
    """Return the histogram of how many inputs shared a run."""
    below = [(f"{most}", float(sum(n for size, n in runs.items() if size <= most)))
             for most in _SIZES]  # fmt: skip
    buckets = [*below, ("+Inf", float(sum(runs.values())))]
    inputs = sum(size * n for size, n in runs.items())
    return HistogramMetricFamily(
        "workbench_run_inputs", "Inputs that shared a run.", buckets=buckets, sum_value=inputs
    )


def registry(desk: Desk) -> CollectorRegistry:
    """Return a registry that has this desk alone."""
    made = CollectorRegistry()
    made.register(DeskCollector(desk))
    return made


def page(of: CollectorRegistry) -> bytes:
    """Return what a scrape gets."""
    return generate_latest(of)
