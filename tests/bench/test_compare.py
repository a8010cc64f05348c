"""Comparing real models: what is asked for, what is held back meanwhile, how it ends."""

from __future__ import annotations

import gc
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from clocks import PatientClock
from graphs import endless, means, two_inputs
from presses import after_runs

import workbench as wb
from workbench import errors
from workbench.bench import comparison
from workbench.bench import subject as subject_
from workbench.models.hub import ModelHub

if TYPE_CHECKING:
    from workbench.models.session import Session


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """Let no pause of a busy machine use up the time of a comparison."""
    monkeypatch.setattr(comparison, "run", partial(comparison.run, clock=PatientClock()))


@pytest.fixture
def opened(monkeypatch) -> list[Session]:
    """Collect every session that is opened for a measurement."""
    found: list[Session] = []
    real = subject_.open_session

    def watched(*args, **kwargs):
        found.append(real(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(subject_, "open_session", watched)
    return found


def test_a_smaller_model_is_faster_and_a_larger_one_slower(hub):
    verdict = wb.compare("cifar10", "cifar10-small", hub=hub, threads=1, max_time_s=10)
    assert verdict.outcome == "faster"
    assert verdict.decided
    low, high = verdict.interval
    assert low < verdict.ratio < high < 1
    assert verdict.a.samples.median_s > verdict.b.samples.median_s
    assert "cifar10-small" in verdict.sentence()
    back = wb.compare("cifar10-small", "cifar10", hub=hub, threads=1, max_time_s=10)
    assert back.outcome == "slower"
    assert back.ratio > 1


def test_the_frames_hold_every_run(hub):
    verdict = wb.compare("cifar10-small", "cifar10-small", hub=hub, threads=1, max_time_s=1.0)
    samples = verdict.samples()
    assert len(samples) == verdict.order.size
    assert set(samples["model"]) == {"cifar10-small", "cifar10-small (again)"}
    assert (samples["ms"] > 0).all()
    by_round = samples.groupby("round")["place"].apply(list)
    assert all(places == [0, 1, 2, 3] for places in by_round)
    row = verdict.to_frame().iloc[0]
    assert row["outcome"] == verdict.outcome
    assert row["runs"] == len(samples)
    assert len(verdict.blocks()) == len(verdict.between)


def test_sessions_are_private_and_closed_afterwards(hub, opened):
    before = hub.cache_info()
    wb.compare("cifar10-small", "cifar10-small", hub=hub, threads=1, max_time_s=0.5)
    assert len(opened) == 4
    assert all(session.closed for session in opened)
    assert hub.cache_info().misses == before.misses
    assert hub.cache_info().live == before.live


def test_other_leases_wait_and_garbage_waits_and_both_go_on_after(hub, monkeypatch):
    model = hub.load("cifar10-small", threads=1)
    feeds = model.sample_feeds()
    order: list[str] = []
    real = comparison.run

    def other() -> None:
        model.run(feeds)
        order.append("other run")

    thread = threading.Thread(target=other)

    def watched(*args, **kwargs):
        assert not gc.isenabled()
        thread.start()
        time.sleep(0.1)  # time to go ahead, if it could
        course = real(*args, **kwargs)
        order.append("measured")
        return course

    monkeypatch.setattr(comparison, "run", watched)
    wb.compare("cifar10-small", "cifar10-small", hub=hub, threads=1, max_time_s=0.5)
    thread.join(timeout=60)
    assert order == ["measured", "other run"]
    assert gc.isenabled()


def test_everything_is_let_go_after_an_error_too(hub, opened, monkeypatch):
    def broken(*_args, **_kwargs):
        raise errors.InferenceError("cifar10-small", "a node broke", "")

    monkeypatch.setattr(comparison, "run", broken)
    with pytest.raises(errors.InferenceError, match="a node broke"):
        wb.compare("cifar10-small", "cifar10-small", hub=hub, threads=1)
    assert len(opened) == 4
    assert all(session.closed for session in opened)
    assert gc.isenabled()
    assert hub.load("cifar10-small").run(hub.load("cifar10-small").sample_feeds())


def test_garbage_collection_that_was_off_stays_off(hub):
    gc.disable()
    try:
        wb.compare("cifar10-small", "cifar10-small", hub=hub, threads=1, max_time_s=0.3)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_interrupt_ends_the_run_under_way_and_keeps_those_before(hub, monkeypatch):
    presser = after_runs(400, monkeypatch)  # four warm-ups take 240 runs at most
    verdict = wb.compare("cifar10", "cifar10", hub=hub, threads=1, max_time_s=200)
    presser.check_that_it_ended_there()
    assert verdict.stopped
    assert verdict.outcome == "cannot_tell"
    assert verdict.a.samples.n > 10
    assert "Stopped on request" in str(verdict)


def test_a_stop_ends_a_run_that_does_not_end(hub, tmp_path, monkeypatch):
    path = endless(tmp_path / "endless.onnx")
    stop = wb.Stop()
    presser = after_runs(0, monkeypatch, stop.cancel)
    with pytest.warns(errors.InferredMetadataWarning):
        verdict = wb.compare(path, path, hub=hub, stop=stop, max_time_s=100)
    presser.check_that_it_ended_there(most=0)
    assert verdict.stopped
    assert verdict.a.samples.n == 0
    assert verdict.outcome == "cannot_tell"
    assert str(verdict)
    assert verdict.plot()


def test_handles_keep_their_own_options_and_are_named_by_them(hub):
    one = hub.load("cifar10-small", threads=1)
    two = hub.load("cifar10-small", threads=2)
    verdict = wb.compare(one, two, max_time_s=0.5)
    assert (verdict.a.session.threads, verdict.b.session.threads) == (1, 2)
    assert verdict.a.name == "cifar10-small, 1 thread"
    assert verdict.b.name == "cifar10-small, 2 threads"
    assert not verdict.b.session.spinning


def test_end_to_end_takes_longer_than_the_inference_in_it(hub):
    image = wb.example("cat")
    names = ("cifar10-small", "cifar10-small")
    whole = wb.compare(*names, images=image, timed="end_to_end", hub=hub, threads=1, max_time_s=0.5)
    part = wb.compare(*names, images=image, hub=hub, threads=1, max_time_s=0.5)
    # the fastest of many runs, which is hardly disturbed by what else the machine does
    assert min(whole.a.samples.values_s) > min(part.a.samples.values_s)
    assert "from the encoded bytes" in str(whole)
    assert whole.fed == part.fed == "cat.png"


def test_models_that_are_no_classifiers_are_compared_on_arrays(hub, tmp_path):
    path = two_inputs(tmp_path / "sum.onnx")
    verdict = wb.compare(path, path, hub=hub, max_time_s=0.3)
    assert verdict.a.samples.n > 0
    with pytest.raises(errors.UnsupportedInputsError):
        wb.compare(path, path, images=wb.example("cat"), hub=hub, max_time_s=0.3)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"a": "nothing-like-it"}, errors.UnknownModelError, "No model named"),
        ({"images": []}, errors.ConfigError, "at least one picture"),
        ({"images": "/no/such.png"}, errors.MissingFileError, "such.png"),
        ({"images": [b"junk"]}, errors.ImageError, "is not an image"),
        ({"batch_size": 0}, errors.ConfigError, "batch_size is 0"),
        ({"batch_size": -1}, errors.ConfigError, "batch_size is -1"),
        ({"batch_size": 1.5}, errors.ConfigError, "batch_size is 1.5"),
        ({"threads": 0}, errors.ConfigError, "threads is 0"),
        ({"max_time_s": 0}, errors.ConfigError, "max_time_s is 0"),
        ({"max_time_s": -3}, errors.ConfigError, "max_time_s is -3"),
        ({"max_time_s": float("nan")}, errors.ConfigError, "max_time_s is nan"),
        ({"max_time_s": float("inf")}, errors.ConfigError, "max_time_s is inf"),
        ({"max_time_s": "1"}, errors.ConfigError, "max_time_s is '1'"),
        ({"timed": "all"}, errors.ConfigError, "'inference' or 'end_to_end'"),
        ({"timed": "end_to_end"}, errors.ConfigError, "begins with their bytes"),
        ({"timed": "end_to_end", "images": [np.zeros((8, 8, 3), np.uint8)]},
         errors.ConfigError, "encoded pictures"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said_before_anything_runs(hub, arguments, error, said):
    asked = {"a": "cifar10-small", "b": "cifar10-small", "hub": hub, "max_time_s": 1.0}
    with pytest.raises(error, match=said):
        wb.compare(**{**asked, **arguments})
    assert gc.isenabled()


def test_a_batch_that_the_graph_does_not_take_is_refused(hub, tmp_path):
    with pytest.warns(errors.InferredMetadataWarning):
        model = hub.load(means(tmp_path / "four.onnx", batch=4))
    with pytest.raises(errors.InputMismatchError, match="use batch_sizes=\\[4\\]"):
        wb.compare(model, model, batch_size=3)
    verdict = wb.compare(model, model, max_time_s=0.3)
    assert verdict.a.configuration.batch == 4


def test_handles_of_two_hubs_are_refused(hub, tmp_path):
    other = ModelHub(model_dir=tmp_path / "other")
    with pytest.raises(errors.ConfigError, match="models of one hub"):
        wb.compare(hub.load("cifar10-small"), other.load("cifar10-small"))


def test_what_comes_of_being_opened_first_or_last_is_shared(hub, opened):
    wb.compare("cifar10-small", "cifar10-int8", hub=hub, threads=1, max_time_s=0.3)
    names = [session.name for session in opened]
    assert names == ["cifar10-small", "cifar10-int8", "cifar10-int8", "cifar10-small"]
