"""Scenarios with real models: what is told, what is refused, how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from graphs import means

import workbench as wb
from workbench import errors
from workbench.bench import scenario as scenario_
from workbench.host import host
from workbench.models.hub import ModelHub

SMALL = "cifar10-small"


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path)


def play(hub: ModelHub, scenario: str, models=SMALL, **asked) -> scenario_.Scenarios:
    quick = {"min_time_s": 0.2, "max_time_s": 20.0}
    return wb.benchmark(models, scenario=scenario, hub=hub, progress=False, **{**quick, **asked})


def test_single_stream_is_told_by_p90(hub):
    done = play(hub, "single_stream", [SMALL, "cifar10-int8"])
    frame = done.to_frame()
    assert frame["model"].tolist() == [SMALL, "cifar10-int8"]
    assert (frame["queries"] >= 30).all()
    assert (frame["p90_ms"] >= frame["median_ms"]).all()
    assert (frame["workers"] == 1).all()
    assert f"{SMALL}: p90 of the latency is" in str(done)


def test_multi_stream_sends_eight_pictures_and_waits_for_enough_queries(hub):
    done = play(hub, "multi_stream")
    row = done.to_frame().iloc[0]
    assert row["pictures"] == 8
    assert row["queries"] >= 300
    assert row["p99_ms"] > 0
    assert row["images_per_s"] == pytest.approx(8 * row["queries_per_s"])


def test_server_finds_a_rate_that_meets_its_bound(hub):
    done = play(hub, "server", bound_s=0.5)
    one = done[0]
    trials = done.trials()
    assert trials["rate"].nunique() == scenario_.TRIALS
    assert one.highest_rate in trials["rate"].tolist()
    assert one.workers == host().threads
    assert one.session.threads == 1
    assert one.highest_rate > 0
    assert one.trial.meets(0.5)
    assert (trials["queries"] >= 300).all()
    assert "queries a second keep p99 within 500 ms" in str(done)


def test_server_says_when_no_rate_meets_the_bound(hub):
    begun = time.perf_counter()
    done = play(hub, "server", bound_s=1e-6, max_time_s=3.0)
    assert time.perf_counter() - begun < 10
    assert done[0].highest_rate == 0
    assert "no rate that was tried keeps p99 within 1.00 µs. The time was up" in str(done)
    assert done[0].time_was_up
    assert 0 < done.trials()["rate"].nunique() < scenario_.TRIALS
    assert not done.trials()["met"].any()


def test_offline_uses_all_cores_and_is_told_by_its_throughput(hub):
    done = play(hub, "offline", images=wb.example("cat"))
    one = done[0]
    assert one.workers == host().threads
    assert one.session.threads == 1
    assert one.images_per_s == pytest.approx(one.trial.samples.n / one.trial.wall_s)
    assert "pictures a second" in str(done)
    assert done.plot().axes


def test_a_model_that_fails_says_so_and_the_rest_goes_on(hub, tmp_path):
    with pytest.warns(errors.InferredMetadataWarning):
        fixed = hub.load(means(tmp_path / "four.onnx", batch=4))
    done = play(hub, "single_stream", [fixed, SMALL])
    frame = done.to_frame()
    assert "four" in frame["model"][0]
    assert "batch" in frame["error"][0]
    assert frame["error"][1] == ""
    assert isnan(frame["p90_ms"][0])
    assert "given up" in str(done)


def test_the_interrupt_keeps_the_models_that_were_finished(hub, monkeypatch):
    real = scenario_._play_one

    def second_time(model, *args):
        if model.id == "cifar10":
            raise KeyboardInterrupt
        return real(model, *args)

    monkeypatch.setattr(scenario_, "_play_one", second_time)
    done = play(hub, "single_stream", [SMALL, "cifar10", "cifar10-int8"])
    assert done.stopped
    assert [one.model for one in done] == [SMALL]
    assert "Stopped on request" in str(done)


@pytest.mark.parametrize("scenario", ["single_stream", "server", "offline"])
def test_the_interrupt_comes_back_in_time_and_leaves_all_usable(hub, scenario):
    pressed: list[float] = []

    def press() -> None:
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.8, press)
    timer.start()
    done = play(hub, scenario, "cifar10", min_time_s=10.0, max_time_s=30.0)
    timer.join()
    assert time.perf_counter() - pressed[0] < 1.0
    assert done.stopped
    assert not [t for t in threading.enumerate() if t.name.startswith("workbench-bench")]
    model = hub.load(SMALL)
    assert model.run(model.sample_feeds())


def test_a_stop_ends_the_search(hub):
    stop = wb.Stop()
    threading.Timer(0.7, stop.cancel).start()
    begun = time.perf_counter()
    done = play(hub, "server", stop=stop, min_time_s=2.0)
    assert time.perf_counter() - begun < 3
    assert done.stopped


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scenario": "serving"}, "'single_stream', 'multi_stream', 'server' or 'offline'"),
        ({"batch_sizes": [1, 2]}, "no batch_sizes"),
        ({"timed": "end_to_end", "images": b""}, "."),
        ({"threads": [1, 2]}, "one way to run"),
        ({"bound_s": 0}, "bound_s is 0"),
        ({"bound_s": float("nan")}, "bound_s is nan"),
        ({"min_time_s": -1}, "min_time_s is -1"),
    ],
)
def test_what_cannot_be_is_refused(hub, asked, said):
    with pytest.raises((errors.ConfigError, errors.ImageError), match=said):
        play(hub, **{"scenario": "server", **asked})


def test_the_words_say_where_they_differ_from_loadgens():
    assert "Ours differ" in scenario_.__doc__
    assert set(scenario_._MEANS) == set(scenario_.SCENARIOS)
    assert all(word in scenario_.__doc__ for word in scenario_.SCENARIOS)
    assert np.isfinite(scenario_.BOUND_S)
