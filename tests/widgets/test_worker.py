"""One thread, one job after another; stopped, superseded, failed, finished."""

from __future__ import annotations

import threading

import pytest

from workbench.errors import BadRequestError, CancelledError
from workbench.widgets.worker import Worker


@pytest.fixture
def seen():
    """Return what a worker told: changes and failures."""
    return {"changes": 0, "failures": []}


@pytest.fixture
def worker(seen):
    def changed():
        seen["changes"] += 1

    made = Worker(changed, lambda error, about: seen["failures"].append((error, about)))
    yield made
    made.close()
    assert made.wait(60)


def held(gate):
    """Return work that lasts until ``gate`` is set, or until it is stopped."""

    def work(job):
        while not gate.wait(0.005):
            job.stop.check(job.what)

    return work


def test_submitting_returns_at_once_and_the_answer_comes_from_another_thread(worker):
    gate, threads = threading.Event(), []
    worker.submit("slow", held(gate), done=lambda _: threads.append(threading.current_thread()))
    assert worker.busy
    gate.set()
    assert worker.wait(60)
    assert threads != [threading.current_thread()]
    assert not worker.busy


def test_jobs_run_in_their_order_and_are_counted(worker):
    gate, order = threading.Event(), []
    worker.submit("first", held(gate), done=lambda _: order.append("first"))
    for name in ("second", "third"):
        worker.submit(name, lambda job: job.what, done=order.append)
    assert worker.total == 3
    gate.set()
    assert worker.wait(60)
    assert order == ["first", "second", "third"]
    assert worker.finished == 3


def test_of_many_jobs_with_one_key_only_the_last_is_carried_out(worker, seen):
    done, gate = [], threading.Event()
    worker.submit("before", held(gate))
    for number in range(50):
        worker.submit("slider", lambda _, n=number: n, done=done.append, key="slider")
    gate.set()
    assert worker.wait(60)
    assert done == [49]
    assert seen["failures"] == []


def test_a_running_job_that_is_superseded_is_stopped_and_says_nothing(worker, seen):
    done = []
    worker.submit("old", held(threading.Event()), done=done.append, key="k")
    worker.submit("new", lambda _: "new", done=done.append, key="k")
    assert worker.wait(60)
    assert done == ["new"]
    assert seen["failures"] == []


def test_cancelling_stops_what_runs_and_forgets_what_waits(worker, seen):
    done = []
    worker.submit("endless", held(threading.Event()), done=done.append)
    worker.submit("waits", lambda _: 1, done=done.append)
    worker.cancel()
    assert worker.wait(60)
    assert done == []
    assert [type(e) for e, _ in seen["failures"]] in ([CancelledError], [])


@pytest.mark.parametrize("error", [BadRequestError("a", 1, "b"), ZeroDivisionError("ours")])
def test_every_error_is_told_and_the_next_job_runs(worker, seen, error):
    done = []

    def fails(_):
        raise error

    worker.submit("fails", fails)
    worker.submit("runs", lambda _: 1, done=done.append)
    assert worker.wait(60)
    assert seen["failures"] == [(error, "fails")]
    assert done == [1]


def test_an_error_of_what_is_done_with_the_answer_is_told_too(worker, seen):
    worker.submit("job", lambda _: 0, done=lambda n: 1 / n)
    assert worker.wait(60)
    assert isinstance(seen["failures"][0][0], ZeroDivisionError)


def test_the_thread_ends_with_the_work_and_everything_was_told_before(worker, seen):
    worker.submit("job", lambda _: 1)
    assert worker.wait(60)
    assert seen["changes"] >= 2
    assert worker._thread is None


def test_a_closed_worker_takes_no_more():
    worker = Worker(lambda: None, lambda *_: None)
    worker.close()
    with pytest.raises(CancelledError):
        worker.submit("late", lambda _: 1)


def test_what_waited_is_given_back_and_can_be_done_after_all(worker, seen):
    done, begun = [], threading.Event()

    def endless(job):
        begun.set()
        held(threading.Event())(job)

    worker.submit("endless", endless)
    assert begun.wait(120)
    for name in ("a", "b"):
        worker.submit(name, lambda job: job.what, done=done.append)
    left = worker.cancel()
    assert [job.what for job in left] == ["a", "b"]
    assert worker.wait(120)
    for job in left:
        worker.resubmit(job)
    assert worker.wait(120)
    assert done == ["a", "b"]


def test_what_ends_after_it_was_stopped_is_not_taken_up_and_that_is_said(worker, seen):
    done, begun, go = [], threading.Event(), threading.Event()

    def deaf(_):
        begun.set()
        assert go.wait(120)

    worker.submit("deaf", deaf, done=done.append)
    assert begun.wait(120)
    assert not worker.stopping
    worker.cancel()
    assert worker.stopping
    go.set()
    assert worker.wait(120)
    assert not worker.stopping
    assert done == []
    assert [(type(e), about) for e, about in seen["failures"]] == [(CancelledError, "deaf")]


def test_what_is_dropped_says_nothing(worker, seen):
    begun, go, done = threading.Event(), threading.Event(), []

    def deaf(_):
        begun.set()
        assert go.wait(120)

    worker.submit("deaf", deaf, done=done.append)
    worker.submit("waits", lambda _: 1, done=done.append)
    assert begun.wait(120)
    worker.drop()
    go.set()
    assert worker.wait(120)
    assert (done, seen["failures"]) == ([], [])
