"""Metrics: counts, errors by kind, percentiles that n can carry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import isnan

from workbench.cards import Table
from workbench.inference.metrics import Metrics


def filled(n: int) -> Metrics:
    metrics = Metrics()
    for i in range(n):
        metrics.add("m", {"decode": 0.001 * i, "inference": 0.002}, 0.01)
    metrics.add_error("corrupt_image")
    return metrics


def test_counts_errors_and_percentiles_come_in_a_frame() -> None:
    frame = filled(100).to_frame()
    assert list(frame.index) == ["decode", "inference", "total", "error: corrupt_image"]
    assert frame.loc["decode", "n"] == 100
    assert abs(frame.loc["decode", "p50_ms"] - 49.5) < 1e-9
    assert abs(frame.loc["decode", "p95_ms"] - 94.05) < 1e-9
    assert isnan(frame.loc["decode", "p99_ms"]), "100 samples cannot carry a p99"


def test_nothing_is_lost_between_threads() -> None:
    metrics = Metrics()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: metrics.add("m", {"inference": 0.1}, 0.1), range(2000)))
        list(pool.map(lambda _: metrics.add_error("cancelled"), range(500)))
    assert metrics.count == 2000
    assert metrics.models["m"] == 2000
    assert metrics.errors["cancelled"] == 500
    assert metrics.samples("inference").n == 2000


def test_it_shows_itself_empty_and_full() -> None:
    assert "answered" in str(Metrics())
    assert Metrics().to_frame().empty
    only = Metrics()
    only.add_error("corrupt_image")
    assert only.to_frame().loc["error: corrupt_image", "n"] == 1
    assert list(filled(40).to_frame().index[-2:]) == ["total", "error: corrupt_image"]
    text = str(filled(40))
    assert "corrupt_image 1" in text
    assert "m 40" in text
    assert filled(40).plot().axes


def test_runs_are_counted_by_how_many_inputs_shared_them() -> None:
    metrics = filled(2)
    for _ in range(8):
        metrics.add("m", {"inference": 0.002}, 0.01, 4)
    assert dict(metrics.runs) == {1: 2, 4: 2}
    metrics.add("m", {"inference": 0.002}, 0.01, 4)  # the others of its run failed
    assert dict(metrics.runs) == {1: 2, 4: 3}


def test_a_reset_forgets_everything() -> None:
    metrics = filled(3)
    metrics.reset()
    assert metrics.count == 0
    assert dict(metrics.runs) == {}
    assert metrics.stages() == ()
    assert metrics.errors["corrupt_image"] == 0


def test_a_rare_stage_is_not_drawn_as_part_of_every_answer() -> None:
    metrics = filled(30)
    metrics.add("m", {"decode": 0.001, "load": 0.5, "inference": 0.002}, 0.503)
    rows = [label.get_text() for label in metrics.plot().axes[0].get_yticklabels()]
    assert rows == ["median of 31", "load, 1 time"]


def test_before_the_first_answer_there_is_no_empty_table() -> None:
    assert not [b for b in Metrics()._card().blocks if isinstance(b, Table)]
    assert [b for b in filled(2)._card().blocks if isinstance(b, Table)]


def test_the_most_recent_durations_are_kept_and_all_are_counted(monkeypatch) -> None:
    monkeypatch.setattr("workbench.inference.metrics.KEPT", 4)
    metrics = Metrics()
    for i in range(11):
        metrics.add("m", {"inference": float(i)}, 20.0)
    assert metrics.samples("inference").values_s == (7.0, 8.0, 9.0, 10.0)
    assert metrics.count == 11
    assert metrics.tallies()["m", "inference"].n == 11
