"""Benchmarks of real models: what is asked for, what comes back, what is let go."""

from __future__ import annotations

import gc
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from graphs import endless, means
from presses import after_runs

import workbench as wb
from workbench import errors
from workbench.bench import measurement
from workbench.bench import subject as subject_
from workbench.bench.record import Record
from workbench.bench.subject import Configuration
from workbench.models.hub import ModelHub
from workbench.models.session import Options

SMALL = "cifar10-small"


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path)


def bench(hub: ModelHub, models=SMALL, **asked) -> wb.Benchmark:
    """Measure quickly: what is tested is not how long things take.

    The most time is generous: no run of a slow machine is left out.
    """
    quick = {"min_time_s": 0.05, "max_time_s": 100.0, "memory": False, "threads": 1}
    return wb.benchmark(models, hub=hub, progress=False, **{**quick, **asked})


@pytest.fixture
def opened(monkeypatch) -> list:
    found: list = []
    real = subject_.open_session

    def watched(*args, **kwargs):
        found.append(real(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(subject_, "open_session", watched)
    return found


def test_there_is_a_row_for_every_combination(hub):
    done = bench(hub, [SMALL, "cifar10-int8"], batch_sizes=[1, 2], threads=[1, 2])
    frame = done.to_frame()
    assert len(done) == len(frame) == 8
    assert set(zip(frame["model"], frame["batch"], frame["threads"], strict=True)) == {
        (m, b, t) for m in (SMALL, "cifar10-int8") for b in (1, 2) for t in (1, 2)
    }
    assert (frame["n"] >= 30).all()
    assert (frame["median_ms"] > 0).all()
    assert (frame["provider"] == "CPU").all()
    assert set(frame["precision"]) == {"float32 (weights stored in float16)", "int8 (QDQ)"}
    assert np.allclose(frame["images_per_s"], frame["batch"] * frame["runs_per_s"])
    assert (frame["error"] == "").all()
    assert not done[0].session.spinning


def test_the_samples_are_a_row_a_run_in_the_order_of_time(hub):
    done = bench(hub, [SMALL, "cifar10-int8"])
    samples = done.samples()
    assert len(samples) == done.to_frame()["n"].sum()
    assert samples["place"].tolist() == list(range(len(samples)))
    assert samples["at_s"].is_monotonic_increasing
    for _, mine in samples.groupby("model"):
        assert mine["run"].tolist() == list(range(len(mine)))


def test_end_to_end_has_its_stages_and_they_add_up_to_less_than_the_whole(hub):
    pictures = [wb.example("cat"), wb.example("flower")]
    done = bench(hub, timed="end_to_end", images=pictures, batch_sizes=2)
    row = done.to_frame().iloc[0]
    parts = [row[f"{stage}_ms"] for stage in ("preprocessing", "inference", "postprocessing")]
    assert all(part > 0 for part in parts)
    whole_s, *stages_s = done[0].laps_s.T
    assert (sum(stages_s) <= whole_s).all(), "of each run, however long it took"
    assert row["timed"] == "end_to_end"
    assert row["batch"] == 2


def test_percentiles_that_n_cannot_carry_are_not_given(hub):
    done = bench(hub, min_time_s=0.001)
    row = done.to_frame().iloc[0]
    assert 30 <= row["n"] < 60
    assert row["p90_ms"] >= row["median_ms"]
    assert np.isnan(row["p95_ms"])
    assert np.isnan(row["p99_ms"])
    assert f"p99 needs 300 runs, had {row['n']}" in str(done)
    assert "p99  " not in str(done)


def test_sessions_are_private_and_closed_and_the_hub_is_as_before(hub, opened):
    bench(hub, batch_sizes=[1, 2])
    assert len(opened) == 2
    assert all(session.closed for session in opened)
    assert hub.cache_info().misses == hub.cache_info().live == 0


def test_other_runs_wait_and_garbage_is_collected_again(hub, monkeypatch):
    model = hub.load(SMALL, threads=1)
    order: list[str] = []
    real = measurement.rotate

    def other() -> None:
        model.run(model.sample_feeds())
        order.append("other run")

    thread = threading.Thread(target=other)

    def watched(*args, **kwargs):
        assert not gc.isenabled()
        thread.start()
        time.sleep(0.1)  # time to go ahead, if it could
        rotation = real(*args, **kwargs)
        order.append("measured")
        return rotation

    monkeypatch.setattr(measurement, "rotate", watched)
    bench(hub)
    thread.join(timeout=60)
    assert order == ["measured", "other run"]
    assert gc.isenabled()


def test_all_is_let_go_after_an_error(hub, opened, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(measurement, "rotate", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        bench(hub)
    assert [session.closed for session in opened] == [True]
    assert gc.isenabled()
    model = hub.load(SMALL)
    assert model.run(model.sample_feeds())


def test_a_spinning_neighbour_is_told(hub):
    hub.load(SMALL, threads=2, spinning=True)
    done = bench(hub)
    assert any("1 live session of the hub may spin" in note for note in done.notes())


def test_a_model_that_fails_in_the_middle_says_so_and_the_rest_goes_on(hub, monkeypatch):
    real = subject_.ModelSubject.run

    def run(self):
        if self.model.id == "cifar10-int8" and self.session.first_run_s and next(left) < 0:
            raise errors.InferenceError("cifar10-int8", "a node broke", "")
        return real(self)

    left = iter(range(40, -10_000, -1))
    monkeypatch.setattr(subject_.ModelSubject, "run", run)
    done = bench(hub, ["cifar10-int8", SMALL])
    frame = done.to_frame()
    assert "a node broke" in frame["error"][0]
    assert frame["error"][1] == ""
    assert 0 < frame["n"][0] < 40
    assert frame["n"][1] >= 30
    assert done[0].code == "inference_failed"
    assert "! cifar10-int8: Given up after" in str(done)


def test_a_session_that_cannot_be_opened_is_a_row_that_says_so(hub, tmp_path):
    with pytest.warns(errors.InferredMetadataWarning):
        fixed = hub.load(means(tmp_path / "four.onnx", batch=4))
    done = bench(hub, [fixed, SMALL], batch_sizes=[3])
    frame = done.to_frame()
    assert "use batch_sizes=[4]" in frame["error"][0]
    assert frame["n"].tolist()[0] == 0
    assert frame["n"][1] >= 30
    for kind in ("auto", "spread", "ecdf", "throughput", "heat"):
        assert done.plot(kind).axes
    assert bench(hub, fixed)[0].configuration.batch == 4


def test_the_interrupt_keeps_the_runs_and_comes_back_in_time(hub, monkeypatch):
    presser = after_runs(100, monkeypatch)  # the warm-up takes 60 runs at most
    done = bench(hub, "cifar10", min_time_s=100, max_time_s=200, memory=True)
    presser.check_that_it_ended_there()
    assert done.stopped
    assert done[0].samples.n > 20
    assert done[0].peak_bytes is None
    assert "Stopped on request" in str(done)


def test_a_stop_ends_a_run_that_does_not_end(hub, tmp_path, monkeypatch):
    stop = wb.Stop()
    presser = after_runs(0, monkeypatch, stop.cancel)
    with pytest.warns(errors.InferredMetadataWarning):
        done = bench(hub, endless(tmp_path / "endless.onnx"), stop=stop)
    presser.check_that_it_ended_there(most=0)
    assert done.stopped
    assert done[0].samples.n == 0
    assert len(done.samples()) == 0
    assert str(done)


def test_memory_is_measured_in_a_fresh_process_a_configuration(hub):
    done = bench(hub, [SMALL, "cifar10"], memory=True)
    small, large = done.to_frame()["peak_memory_bytes"]
    assert 100_000 < small < large < 1e9
    assert "memory" in str(done)


def test_a_stop_while_memory_is_measured_keeps_the_runs(hub, monkeypatch):
    monkeypatch.setattr(
        measurement, "peak_or_why", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    done = bench(hub, memory=True)
    assert done.stopped
    assert done[0].samples.n >= 30


def test_a_handle_brings_its_own_options_where_none_are_given(hub):
    handle = hub.load(SMALL, threads=2, spinning=False)
    done = wb.benchmark(handle, min_time_s=0.02, memory=False, progress=False)
    assert done[0].session.threads == 2
    other = wb.benchmark(handle, threads=1, min_time_s=0.02, memory=False, progress=False)
    assert other[0].session.threads == 1


def test_providers_are_ways_to_run_and_what_ran_is_shown(hub):
    with pytest.warns(errors.ProviderFallbackWarning):
        done = bench(hub, providers=["cpu", ["cuda", "cpu"]])
    assert len(done) == 2
    assert [r.configuration.providers_text for r in done] == ["CPU", "CUDA → CPU"]
    assert set(done.to_frame()["provider"]) == {"CPU"}
    assert any("CUDA cannot be used here" in note for note in done.notes())


def test_what_is_asked_twice_is_measured_once(hub):
    assert len(bench(hub, [SMALL, SMALL], batch_sizes=[1, 1])) == 1


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"models": "nothing-like-it"}, errors.UnknownModelError, "No model named"),
        ({"models": []}, errors.ConfigError, "models is \\[\\]; expected at least one"),
        ({"models": [3]}, errors.ConfigError, "models is 3"),
        ({"models": None}, errors.ConfigError, "models is None"),
        ({"models": "/no/such.onnx"}, errors.MissingFileError, "such.onnx"),
        ({"images": []}, errors.ConfigError, "at least one picture"),
        ({"images": [b"junk"]}, errors.ImageError, "is not an image"),
        ({"batch_sizes": 0}, errors.ConfigError, "batch_sizes is 0"),
        ({"batch_sizes": [1, -2]}, errors.ConfigError, "batch_sizes is -2"),
        ({"batch_sizes": []}, errors.ConfigError, "at least one"),
        ({"batch_sizes": [True]}, errors.ConfigError, "batch_sizes is True"),
        ({"batch_sizes": "4"}, errors.ConfigError, "batch_sizes is '4'"),
        ({"threads": [1, 0]}, errors.ConfigError, "threads is 0"),
        ({"threads": -1}, errors.ConfigError, "threads is -1"),
        ({"threads": []}, errors.ConfigError, "at least one"),
        ({"providers": []}, errors.ConfigError, "at least one"),
        ({"providers": "warp"}, errors.ConfigError, "providers is 'warp'"),
        ({"spinning": "maybe"}, errors.ConfigError, "spinning is 'maybe'"),
        ({"timed": "all"}, errors.ConfigError, "'inference' or 'end_to_end'"),
        ({"timed": "end_to_end"}, errors.ConfigError, "begins with their bytes"),
        ({"min_time_s": 0}, errors.ConfigError, "min_time_s is 0"),
        ({"min_time_s": float("nan")}, errors.ConfigError, "min_time_s is nan"),
        ({"max_time_s": -1}, errors.ConfigError, "max_time_s is -1"),
        ({"max_time_s": None}, errors.ConfigError, "max_time_s is None"),
        ({"min_time_s": 3, "max_time_s": 2}, errors.ConfigError, "at most max_time_s"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_runs(hub, opened, asked, error, said):
    with pytest.raises(error, match=said):
        bench(hub, **asked)
    assert opened == []
    assert gc.isenabled()


def test_an_unknown_kind_of_figure_names_the_kinds(hub):
    with pytest.raises(errors.ConfigError, match="'spread', 'ecdf', 'throughput' or 'heat'"):
        bench(hub).plot("pie")


def record(values_s, *, settled_at: int | None = 0, **more) -> Record:
    laps = np.array(values_s, float).reshape(-1, 1)
    configuration = Configuration(model="m", asked="m", options=Options())
    places = np.arange(len(laps))
    return Record(name="m", configuration=configuration, session=None, laps_s=laps, places=places,
                  at_s=places * 1.0, settled_at=settled_at, **more)  # fmt: skip


def test_a_record_says_what_its_runs_cannot_carry():
    wide = record([0.010, 0.013] * 40)
    assert wide.notes() == (
        "IQR is 26.1 % of the median: unstable.",
        "p99 needs 300 runs, had 80.",
    )
    gone = record([0.01, float("nan"), 0.01] * 110)
    assert gone.samples.n == 220
    assert "110 runs had no usable time" in gone.notes()[0]
    restless = record([0.01] * 300, settled_at=None, warm_up_s=(0.1,) * 60)
    assert restless.notes() == ("The times did not settle within 60 runs of warm-up.",)
    assert record([0.01] * 5).notes()[0] == "5 runs: too few to judge the spread."
    assert np.isnan(record([]).runs_per_s)


def test_a_batch_that_no_memory_holds_is_a_row_and_the_others_are_kept(hub):
    done = bench(hub, batch_sizes=[1, 10**8])
    assert done[0].samples.n >= 30
    assert done[1].code == "out_of_memory"
    assert "a batch of 100000000" in done[1].problem
    assert not len(done[1].laps_s)


@pytest.mark.parametrize("raised", [MemoryError("no room"), OSError(24, "too many files")])
def test_what_the_system_refuses_in_a_run_is_a_row_of_its_own(hub, monkeypatch, raised):
    real = subject_.ModelSubject.run

    def failing(self):
        if self.configuration.batch == 2:
            raise raised
        return real(self)

    monkeypatch.setattr(subject_.ModelSubject, "run", failing)
    done = bench(hub, batch_sizes=[1, 2])
    assert done[0].samples.n >= 30
    assert done[1].problem
    assert "Given up" in done.failures[0]


@pytest.mark.parametrize("python", ["/nope/python", "", None])
def test_memory_that_no_process_can_measure_is_unknown_and_the_samples_are_kept(
    hub, monkeypatch, python
):
    monkeypatch.setattr(sys, "executable", python)
    done = bench(hub, memory=True)
    assert done[0].samples.n >= 30
    assert done[0].peak_bytes is None
    assert "Peak memory of cifar10-small unknown: no process could be started" in str(done)


@pytest.mark.parametrize(
    "asked",
    [
        {"seed": -1}, {"seed": "a"}, {"seed": True}, {"seed": 2**64}, {"stop": "x"}, {"hub": "x"},
        {"batch_sizes": 2**70},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_asked_is_said_in_words(hub, asked):
    with pytest.raises(errors.ConfigError, match=next(iter(asked))):
        wb.benchmark(SMALL, progress=False, **{"hub": hub, **asked})


@pytest.mark.parametrize(
    "asked",
    [
        {"seed": -1}, {"seed": "a"}, {"stop": "x"}, {"hub": "x"}, {"max_time_s": True},
        {"batch_size": 2**70},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_compared_with_is_said_in_words(hub, asked):
    with pytest.raises(errors.ConfigError, match=next(iter(asked))):
        wb.compare(SMALL, SMALL, progress=False, **{"hub": hub, **asked})


def test_a_benchmark_within_a_lease_is_refused_at_once(hub):
    with hub.load(SMALL).lease(), pytest.raises(errors.ConfigError, match="lease is 'cifar10-sm"):
        bench(hub)
