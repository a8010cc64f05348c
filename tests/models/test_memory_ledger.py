"""The memory around what a hub does, and who holds it."""

from __future__ import annotations

import gc
import threading

import pytest

from workbench.errors import InputMismatchError, NotOnnxError
from workbench.host import resident_bytes
from workbench.models import ledger
from workbench.models.hub import ModelHub
from workbench.models.ledger import Ledger

NAMES = ("cifar10-small", "cifar10")


def events(hub: ModelHub) -> list[tuple[str, str]]:
    return [(e.event, e.model) for e in hub.memory().entries]


def test_loads_warm_ups_runs_evictions_and_unloads_are_noted_in_order():
    hub = ModelHub(max_models=1)
    small = hub.load("cifar10-small")
    small.run(small.sample_feeds())
    hub.load("cifar10").warm_up(runs=3)
    hub.unload()
    told = events(hub)
    assert told[:2] == [("load", "cifar10-small"), ("run", "cifar10-small")]
    assert told[2:4] == [("load", "cifar10"), ("evict", "cifar10-small")]
    assert ("warm-up", "cifar10") in told
    assert told[-1] == ("unload", "cifar10")
    for entry in hub.memory().entries:
        assert entry.before_bytes > 0
        assert entry.after_bytes - entry.before_bytes == entry.change_bytes
    times = [e.at_s for e in hub.memory().entries]
    assert times == sorted(times)


def test_who_holds_what_is_told_while_it_is_held():
    hub = ModelHub(max_models=2)
    for name in NAMES:
        model = hub.load(name)
        model.run(model.sample_feeds())
    with hub.load("cifar10").lease():
        held = {h.model: h for h in hub.memory().holders}
    assert list(held) == list(NAMES)
    assert (held["cifar10"].busy, held["cifar10-small"].busy) == (True, False)
    assert held["cifar10"].runs == 1
    assert held["cifar10"].held_bytes >= hub.handle("cifar10").graph.size_bytes
    frame = hub.memory().holders_frame()
    assert list(frame.holder) == [*NAMES, "the rest"]
    seen = hub.memory()
    assert seen.held_bytes + seen.rest_bytes == seen.now_bytes
    hub.unload("cifar10")
    assert [h.model for h in hub.memory().holders] == ["cifar10-small"]


def test_a_busy_session_is_told_until_it_has_closed():
    hub = ModelHub()
    model = hub.load("cifar10-small")
    with model.lease():
        hub.unload()
        assert [h.model for h in hub.memory().holders] == ["cifar10-small"]
        assert events(hub) == [("load", "cifar10-small")]
    assert hub.memory().holders == ()
    assert events(hub)[-1] == ("unload", "cifar10-small")


def test_runs_are_noted_ever_more_rarely():
    hub = ModelHub()
    model = hub.load("cifar10-small", threads=1)
    feeds = model.sample_feeds()
    for _ in range(2050):
        model.run(feeds)
    noted = [e.note for e in hub.memory().entries if e.event == "run"]
    assert noted == [f"run {n}" for n in (*(2**k for k in range(12)),)]
    for _ in range(3072 - 2050):
        model.run(feeds)
    assert hub.memory().entries[-1].note == "run 3072"


def test_a_failed_load_and_a_failed_run_are_not_noted(tmp_path):
    hub = ModelHub()
    (tmp_path / "bad.onnx").write_bytes(b"junk")
    with pytest.raises(NotOnnxError):
        hub.load(tmp_path / "bad.onnx")
    model = hub.load("cifar10-small")
    with pytest.raises(InputMismatchError):
        model.run({"nonsense": next(iter(model.sample_feeds().values()))})
    assert events(hub) == [("load", "cifar10-small")]


def test_the_oldest_go_first_and_that_is_said(monkeypatch):
    book = Ledger()
    for n in range(ledger._KEPT + 5):
        book.note("run", "m", 1, f"run {n}")
    seen = book.look(())
    assert len(seen.entries) == ledger._KEPT
    assert seen.forgotten == 5
    assert "5 older events" in str(seen)
    assert f"The last {ledger._SHOWN} of {ledger._KEPT:,} events" in str(seen)


def test_events_that_are_all_shown_are_not_called_the_last():
    book = Ledger()
    book.note("load", "m", 1)
    assert "The last" not in str(book.look(()))
    assert "Events" in str(book.look(()))


def test_where_memory_cannot_be_read_it_is_unknown(monkeypatch):
    monkeypatch.setattr(ledger, "resident_bytes", lambda: None)
    book = Ledger()
    book.note("load", "m", None)
    seen = book.look(())
    assert seen.entries[0].change_bytes is None
    assert seen.rest_bytes is None
    assert "unknown" in str(seen)
    assert seen.to_frame().change_bytes.isna().all()
    assert seen.plot().axes


def test_the_frame_and_the_figure_tell_the_same():
    hub = ModelHub(max_models=1)
    for name in NAMES:
        hub.load(name)
    seen = hub.memory()
    frame = seen.to_frame()
    assert list(frame.event) == ["load", "load", "evict"]
    assert (frame.after_bytes - frame.before_bytes == frame.change_bytes).all()
    axes = seen.plot().axes[0]
    assert {line.get_label() for line in axes.get_lines()} >= {"load", "evict"}


def test_many_threads_may_note_at_once():
    book = Ledger()
    threads = [
        threading.Thread(target=lambda: [book.note("run", "m", 1) for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(book.look(()).entries) == 400


@pytest.mark.skipif(resident_bytes() is None, reason="platform: no resident memory to read")
@pytest.mark.parametrize(("graph_cache", "cycles"), [(True, 100), (False, 40)])
def test_a_hundred_loads_and_evictions_leave_no_memory_behind(graph_cache, cycles):
    hub = ModelHub(max_models=1, graph_cache=graph_cache)
    feeds = {name: hub.load(name).sample_feeds() for name in NAMES}
    after = []
    for cycle in range(cycles):
        name = NAMES[cycle % 2]
        hub.load(name).run(feeds[name])
        gc.collect()
        after.append(resident_bytes())
    assert hub.cache_info().evictions >= cycles
    # the same model is live after the 10th and after the last
    assert after[-1] <= 1.15 * after[9]
