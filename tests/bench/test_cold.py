"""Cold starts: fresh processes, taken apart; what goes wrong in one is a marked row."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
import time
from math import inf, isclose, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from presses import BACK_S

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.bench import launch, rehearsal, starting
from workbench.bench.cold import STAGES, ColdStart, Start, spread
from workbench.models.hub import ModelHub
from workbench.stopping import Stop
from workbench.timing import Samples

pytestmark = pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning")


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf")


def at_the_first_run(temporary: Path) -> bool:
    """Say whether a child has told that its first run has begun."""
    found = [json.loads(one.read_text("utf-8")) for one in temporary.glob(f"*/{rehearsal.FOUND}")]
    return any(told["stage"] == "first run" for told in found)


def a_start(number: int, ms: float, **facts: Any) -> Start:
    stages = {"launch": 1e-2, "import": 0.3, "check": 2e-3, "read": 1e-3, "optimise": 2e-2,
              "first run": 1e-3 * ms}  # fmt: skip
    values = {
        "fed": "(1, 3)", "number": number, "stages": stages, "settled_at": 1,
        "runs": Samples((3e-3, *[1e-3] * 10)), "peak_bytes": 9_000, "grown_bytes": 5_000, **facts,
    }  # fmt: skip
    return Start(**values)


def test_a_cold_start_is_taken_apart_in_fresh_processes(hub: ModelHub, temporary: Path):
    found = wb.cold_start("cifar10-small", repeats=2, runs=12, hub=hub, threads=1, providers="cpu",
                          progress=False)  # fmt: skip
    assert len(found.starts) == 2
    assert not found.failed
    frame = found.samples()
    for stage in ("launch", "import", "check", "read", "optimise", "first_run", "steady"):
        assert (frame[f"{stage}_ms"] > 0).all(), stage
    assert frame["import_ms"].max() > frame["read_ms"].min()
    assert set(frame["threads"]) == {1}
    assert set(frame["provider"]) == {"CPU"}
    if Path("/proc/self/status").exists():
        assert (frame["grown_bytes"] > 0).all()
        assert (frame["peak_bytes"] > frame["grown_bytes"]).all()
    table = found.to_frame()
    assert list(table["stage"]) == [*STAGES, "steady"]
    assert list(temporary.iterdir()) == []
    assert "cold start of cifar10-small" in str(found)


def test_each_shape_has_its_own_processes_in_an_order_that_the_seed_fixes(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
):
    def order(seed: int) -> list[tuple[str, int]]:
        taken: list[tuple[str, int]] = []

        def told(model: Any, fed: Any, number: int, *_: Any) -> Start:
            taken.append((starting.words(fed), number))
            return a_start(number, 5, fed=starting.words(fed))

        monkeypatch.setattr(starting, "_start", told)
        wb.cold_start("cifar10-small", shapes=[1, (4, 3, 32, 32), {"images": (2, 3, 32, 32)}],
                      repeats=6, seed=seed, hub=hub, progress=False)  # fmt: skip
        return taken

    first = order(0)
    assert len(first) == 18
    assert {fed for fed, _ in first} == {f"({n}, 3, 32, 32)" for n in (1, 2, 4)}
    assert order(0) == first
    assert order(1) != first
    rounds = [[fed for fed, number in first if number == n] for n in range(6)]
    assert all(len(set(one)) == 3 for one in rounds), "each round has each shape"
    assert len({tuple(one) for one in rounds}) > 1, "in an order that changes"


def test_the_child_feeds_the_shape_that_was_asked_for(hub: ModelHub):
    model = hub.handle("cifar10-small")
    found, error = launch.rehearse(model, starting._shapes(model, 2), runs=1, timeout_s=60)
    assert error is None
    assert found["stage"] == ""
    assert len(found["runs_s"]) == 1
    # a shape that the graph refuses is refused by the child in the engine's words
    bad = {"images": ("float32", (1, 3, 7, 7))}
    found, error = launch.rehearse(model, bad, runs=1, timeout_s=60)
    assert isinstance(error, errors.InputMismatchError)
    assert found["stage"] == "first run"
    assert found["stages"]["optimise"] > 0


def test_a_process_that_dies_is_a_marked_row_and_the_rest_goes_on(hub: ModelHub, tmp_path: Path):
    path = graphs.deadly(tmp_path / "deadly.onnx")
    found = wb.cold_start(path, repeats=2, hub=hub, threads=1, progress=False)
    assert [type(s.error) for s in found.starts] == [errors.WorkerCrashedError] * 2
    frame = found.samples()
    assert set(frame["error"]) == {"worker_crashed"}
    assert frame["why"].str.contains("SIGFPE during 'first run'").all()
    assert (frame["optimise_ms"] > 0).all(), "what was measured before is kept"
    assert not found.stopped
    text = str(found)
    assert "2 of 2 processes did not get through" in text
    assert found.plot().axes


def test_a_process_that_hangs_is_killed_at_the_limit(
    hub: ModelHub, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its clock stands still until the child has said that it is at its first run."""

    def clock() -> float:
        return inf if at_the_first_run(temporary) else time.perf_counter()

    path = graphs.endless(tmp_path / "endless.onnx")
    monkeypatch.setattr(launch, "clock", clock)
    found = wb.cold_start(path, repeats=1, hub=hub, timeout_s=90.0, progress=False)
    (start,) = found.starts
    assert isinstance(start.error, errors.InferenceTimeoutError)
    assert "it was at 'first run'" in str(start.error)
    assert "90.0 s" in str(start.error)
    assert list(temporary.iterdir()) == []


def test_a_stop_ends_the_child_and_keeps_what_was_measured(
    hub: ModelHub, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    path = graphs.endless(tmp_path / "endless.onnx")
    stop = Stop()
    cancelled: list[float] = []
    children: list[Any] = []
    popen, real, taken = launch.subprocess.Popen, starting.rehearse, []

    def counted(*args: Any, **how: Any) -> Any:
        children.append(popen(*args, **how))
        return children[-1]

    def clock() -> float:
        """Stop once the child has said that it is at its first run, which does not end."""
        if not cancelled and at_the_first_run(temporary):
            cancelled.append(time.perf_counter())
            stop.cancel()
        return time.perf_counter()

    def first_is_quick(model: Any, fed: Any, **how: Any) -> Any:
        taken.append(1)
        if len(taken) == 1:
            return {
                "launch_s": 0.01,
                "stages": {"import": 0.3, "first run": 0.1},
                "stage": "",
            }, None
        return real(model, fed, **how)

    monkeypatch.setattr(starting, "rehearse", first_is_quick)
    monkeypatch.setattr(launch, "clock", clock)
    monkeypatch.setattr(launch.subprocess, "Popen", counted)
    found = wb.cold_start(path, repeats=3, hub=hub, stop=stop, timeout_s=100, progress=False)
    assert time.perf_counter() - cancelled[0] < BACK_S
    assert [child.returncode for child in children] == [-signal.SIGKILL]
    assert found.stopped
    assert len(found.starts) == 1
    assert "1 of 3 processes" in str(found)
    assert hub.handle(path).state == "cold", "and the hub is not held any more"
    with hub.lease(hub.handle("cifar10-small")) as session:
        assert not session.closed


def test_the_keyboard_interrupt_keeps_what_was_measured(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
):
    taken: list[int] = []

    def interrupted(model: Any, fed: Any, number: int, *_: Any) -> Start:
        taken.append(number)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return a_start(number, 5)

    monkeypatch.setattr(starting, "_start", interrupted)
    found = wb.cold_start("cifar10-small", repeats=5, hub=hub, progress=False)
    assert len(found.starts) == 2
    assert found.stopped


def test_a_full_disk_is_a_marked_row(hub: ModelHub, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    found = wb.cold_start("cifar10-small", repeats=1, hub=hub, progress=False)
    assert isinstance(found.starts[0].error, errors.WriteError)
    assert "no space left" in str(found.starts[0].error)


def test_a_program_that_is_no_python_says_so(hub: ModelHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.executable", "")
    found = wb.cold_start("cifar10-small", repeats=1, hub=hub, progress=False)
    assert isinstance(found.starts[0].error, errors.SwitchedOffError)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"repeats": 0}, errors.ConfigError),
        ({"repeats": -1}, errors.ConfigError),
        ({"runs": 0}, errors.ConfigError),
        ({"timeout_s": 0}, errors.ConfigError),
        ({"timeout_s": nan}, errors.ConfigError),
        ({"shapes": []}, errors.ConfigError),
        ({"shapes": [0]}, errors.ConfigError),
        ({"shapes": 3}, errors.ConfigError),
        ({"shapes": ["1"]}, errors.ConfigError),
        ({"shapes": [{"nobody": (1, 3)}]}, errors.ConfigError),
        ({"shapes": [(1, 3, 32, 33)]}, errors.InputMismatchError),
        ({"shapes": [(1, 3)]}, errors.InputMismatchError),
        ({"shapes": [(1, 3, 32, -1)]}, errors.ConfigError),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_starts(
    hub: ModelHub, wrong: dict[str, Any], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    started: list[int] = []
    monkeypatch.setattr(starting, "rehearse", lambda *_, **__: started.append(1))
    with pytest.raises(kind):
        wb.cold_start("cifar10-small", hub=hub, progress=False, **wrong)
    assert started == []


def test_an_unknown_model_is_refused(hub: ModelHub):
    with pytest.raises(errors.UnknownModelError, match="cifar11"):
        wb.cold_start("cifar11", hub=hub)


def test_statistics_are_those_of_the_processes_that_got_through():
    starts = (a_start(0, 5), a_start(1, 7), a_start(2, 9),
              Start(fed="(1, 3)", number=3, stages={"launch": 0.01}, runs=Samples(()),
                    error=errors.WorkerCrashedError("m", "SIGFPE")))  # fmt: skip
    found = ColdStart(model="m", starts=starts, wanted=4)
    frame = found.to_frame().set_index("stage")
    assert isclose(frame.loc["first run", "median_ms"], 7)
    assert frame.loc["first run", ["low_ms", "high_ms"]].tolist() == pytest.approx([5, 9])
    assert frame.loc["first run", "n"] == 3
    assert frame.loc["launch", "n"] == 4
    assert isclose(frame.loc["settling", "median_ms"], 3)
    assert isclose(frame.loc["steady", "median_ms"], 1)
    assert isclose(found.first_answer("(1, 3)").median_s, 0.01 + 0.3 + 0.002 + 0.001 + 0.02 + 0.007)
    assert spread((1.0, 2.0, 3.0, 4.0, 5.0)) == (2.0, 4.0)
    assert all(isnan(end) for end in spread(()))


def test_a_launch_whose_clocks_cannot_be_compared_is_left_out():
    found = {"launch_s": -5.0, "stages": {"import": 0.2, "first run": 0.1}, "runs_s": []}
    start = starting.read(found, "(1, 3)", 0, 60.0, None)
    assert "launch" not in start.stages
    assert isclose(start.first_answer_s, 0.3)


def test_times_that_did_not_settle_are_said():
    found = ColdStart(model="m", starts=(a_start(0, 5, settled_at=None),), wanted=1)
    assert "did not settle in 1 of 1 process" in str(found)


def test_memory_is_told_in_bytes_of_this_program_alone():
    told = rehearsal.memory()
    peak = rehearsal.memory(peak=True)
    if Path("/proc/self/status").exists():
        assert 10_000_000 < told <= peak
    else:
        assert told is None


def test_nothing_measured_can_be_shown():
    empty = ColdStart(model="m", starts=(), wanted=3, stopped=True)
    assert repr(empty) == "<cold start of m: nothing measured>"
    assert "0 of 3 processes" in str(empty)
    assert len(empty.to_frame()) == 0
    assert len(empty.samples()) == 0
    assert empty.plot().axes
