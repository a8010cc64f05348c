"""Scenarios with real models: what is told, what is refused, how it ends."""

from __future__ import annotations

import threading
from functools import partial
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from graphs import means
from presses import Presser, interrupt

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
    quick = {"min_time_s": 0.2, "max_time_s": 100.0}
    return wb.benchmark(models, scenario=scenario, hub=hub, progress=False, **{**quick, **asked})


def test_single_stream_is_told_by_p90(hub):
    done = play(hub, "single_stream", [SMALL, "cifar10-int8"])
    frame = done.to_frame()
    assert frame["model"].tolist() == [SMALL, "cifar10-int8"]
    assert (frame["queries"] >= 30).all()
    assert (frame["p90_ms"] >= frame["median_ms"]).all()
    assert (frame["workers"] == 1).all()
    assert f"{SMALL}: p90 of the latency is" in str(done)
    samples = done.samples()
    assert samples.groupby("model")["query"].count().to_dict() == dict(
        zip(frame["model"], frame["queries"], strict=True)
    )
    assert not done.stopped
    assert not frame["stopped"].any()


def test_multi_stream_sends_eight_pictures_and_waits_for_enough_queries(hub):
    done = play(hub, "multi_stream")
    row = done.to_frame().iloc[0]
    assert row["pictures"] == 8
    assert row["queries"] >= 300
    assert row["p99_ms"] > 0
    assert row["images_per_s"] == pytest.approx(8 * row["queries_per_s"])


def test_server_finds_a_rate_that_meets_its_bound(hub):
    """The bound is one that a busy machine meets as well: how the search goes is tested apart."""
    done = play(hub, "server", bound_s=30.0)
    one = done[0]
    trials = done.trials()
    assert trials["rate"].nunique() == scenario_.TRIALS
    assert one.highest_rate in trials["rate"].tolist()
    assert one.workers == host().threads
    assert one.session.threads == 1
    assert one.highest_rate > 0
    assert one.trial.meets(30.0)
    assert (trials["queries"] >= 300).all()
    assert "queries a second keep p99 within 30.0 s" in str(done)


def test_server_says_when_no_rate_meets_the_bound(hub, monkeypatch):
    """The clock of the search moves with its trials alone: a second each."""
    now = [0.0]
    real = scenario_.arriving

    def a_second_long(answer, due, **many):
        now[0] += 1.0
        return real(answer, due / 50, **many)

    monkeypatch.setattr(scenario_, "arriving", a_second_long)
    monkeypatch.setattr(scenario_, "clock", lambda: now[0])
    monkeypatch.setattr(scenario_, "needed", lambda _share: 1)
    done = play(hub, "server", bound_s=1e-6, max_time_s=5.1)
    assert now[0] == 5.0
    assert done[0].highest_rate == 0
    assert "no rate that was tried keeps p99 within 1.00 µs. The time was up" in str(done)
    assert done[0].time_was_up
    assert done.trials()["rate"].nunique() == 3  # each is tried twice, as long as there is time
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


def kept_until_then(done: scenario_.Scenarios, scenario: str) -> None:
    """Check that the model under way is there, with its queries, and says that it was stopped."""
    assert [one.model for one in done] == ["cifar10"]
    one = done[0]
    assert one.stopped
    assert one.trial.samples.n > 0
    samples = done.samples()
    assert len(samples) >= one.trial.samples.n
    assert (samples["ms"] > 0).all()
    assert set(samples["scenario"]) == {scenario}
    frame = done.to_frame()
    assert frame["stopped"].tolist() == [True]
    assert frame["median_ms"][0] > 0
    assert "Stopped on request after" in one.sentence()
    assert done.plot().axes
    assert not one.time_was_up


def after_answers(monkeypatch, act, answers=20) -> Presser:
    """Act soon after so many answers that count, while the next queries are under way."""
    presser = Presser(act)

    def watched(real, answer, *args, **kwargs):
        left = iter(range(answers, -10_000_000, -1))

        def counted(number):
            if next(left) == 0 and not presser.pressed:
                presser.soon()
            presser.run_begins()
            return answer(number)

        return real(counted, *args, **kwargs)

    for name in ("one_after_the_other", "all_at_once"):
        monkeypatch.setattr(scenario_, name, partial(watched, getattr(scenario_, name)))
    return presser


@pytest.mark.parametrize("scenario", scenario_.SCENARIOS)
def test_a_stop_keeps_the_queries_until_then(hub, scenario, monkeypatch):
    stop = wb.Stop()
    presser = after_answers(monkeypatch, stop.cancel)
    done = play(hub, scenario, "cifar10", stop=stop, min_time_s=100.0, max_time_s=200.0)
    presser.check_that_it_ended_there(most=2 * host().threads)
    assert done.stopped
    kept_until_then(done, scenario)


def test_a_stopped_search_keeps_the_rates_that_were_tried(hub, monkeypatch):
    stop = wb.Stop()
    real, tried = scenario_.arriving, []

    def third_in_its_middle(answer, due, **many):
        tried.append(len(due))
        if len(tried) < 3:
            return real(answer, due, **many)
        left = iter(range(3, -10_000_000, -1))

        def counted(number):
            answer(number)
            if next(left) == 0:
                stop.cancel()

        return real(counted, due + np.linspace(0, 100, len(due)), **many)

    monkeypatch.setattr(scenario_, "arriving", third_in_its_middle)
    done = play(hub, "server", bound_s=30.0, stop=stop)
    one = done[0]
    assert done.stopped
    assert [t.stopped for t in one.trials] == [False, False, True]
    assert done.trials()["stopped"].tolist() == [False, False, True]
    assert done.trials()["met"].tolist() == [True, True, False]
    assert one.highest_rate == one.trials[1].rate == one.trial.rate
    assert done.samples().groupby("trial")["query"].count().tolist()[:2] == tried[:2]


def test_frames_of_nothing_have_their_columns(hub):
    stop = wb.Stop()
    stop.cancel()
    for scenario in scenario_.SCENARIOS:
        nothing = play(hub, scenario, stop=stop)
        assert nothing.stopped
        assert len(nothing) == 0
        whole = scenario_.Scenarios(scenario=scenario, played=(), seed=0)
        for frame in (nothing, whole):
            assert {"model", "queries", "p99_ms", "stopped", "error"} <= set(frame.to_frame())
            assert list(frame.samples()) == ["model", "scenario", "trial", "rate", "query", "ms"]
            assert "met" in frame.trials()
        assert nothing.plot().axes


@pytest.mark.parametrize("scenario", ["single_stream", "server", "offline"])
def test_the_interrupt_comes_back_and_leaves_all_usable(hub, scenario, monkeypatch):
    presser = after_answers(monkeypatch, interrupt)
    done = play(hub, scenario, "cifar10", min_time_s=100.0, max_time_s=200.0)
    # the workers go on answering until the main thread has heard of it
    presser.check_that_it_ended_there(most=2 if scenario == "single_stream" else 100_000)
    assert done.stopped
    kept_until_then(done, scenario)
    assert not [t for t in threading.enumerate() if t.name.startswith("workbench-bench")]
    model = hub.load(SMALL)
    assert model.run(model.sample_feeds())


def test_a_stop_ends_the_search(hub, monkeypatch):
    stop = wb.Stop()
    real, begun = scenario_.arriving, []

    def stopped_in_its_middle(answer, due, **many):
        begun.append(len(due))

        def stopping(number):
            answer(number)
            stop.cancel()

        return real(stopping, due + np.linspace(0, 100, len(due)), **many)

    monkeypatch.setattr(scenario_, "arriving", stopped_in_its_middle)
    done = play(hub, "server", stop=stop)
    assert done.stopped
    assert len(begun) == 1
    assert 0 < done[0].trials[0].samples.n < begun[0]
    assert isnan(done[0].highest_rate)


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
