"""Isolated runners: the same answers, and nothing that a model does takes this process down.

The models are real, and really hostile: they divide by what the processor refuses, multiply for
minutes within one node, or fill gigabytes. Upper bounds of times are generous, since machines
are busy, and far below what the same would take where it is not ended.
"""

from __future__ import annotations

import base64
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.inference.errand import classified
from workbench.inference.results import Failure, Results
from workbench.inference.runner import Runner
from workbench.models.hub import ModelHub
from workbench.stopping import Stop

if TYPE_CHECKING:
    from workbench.inference.process import Process

#: What a reply may take beyond its limit on a busy machine: the promise is 1 s on a quiet one,
#: and the node itself goes on for minutes.
LATE_S = 30.0
#: Of a worker, in bytes: it holds about 75 MB when it is started.
LIMIT_BYTES = 700_000_000

LIGHT = np.full((8, 8, 3), 200, np.uint8)
DARK = np.zeros((8, 8, 3), np.uint8)

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="platform: signals and /proc are looked at"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def hub(folder: Path) -> ModelHub:
    return ModelHub(model_dir=folder / "shelf")


@pytest.fixture(scope="module")
def runner(hub: ModelHub, folder: Path) -> Iterator[Runner]:
    makers: dict[str, Callable[[Path], Path]] = {
        "mean": graphs.means,
        "dark": graphs.deadly_when_dark,
        "born-dead": graphs.deadly_to_load,
        "endless": graphs.endless_node,
        "never-up": lambda path: graphs.endless_node(path, at_load=True),
        "loop": graphs.endless,
        "hungry": graphs.hungry,
    }
    for name, make in makers.items():
        with hub.naming(name, make(folder / f"{name}.onnx"), graphs.PLAIN):
            hub.handle(name)
    with Runner(hub, isolated=True, memory_bytes=LIMIT_BYTES) as made:
        yield made


@pytest.fixture
def calm(runner: Runner) -> Iterator[Runner]:
    """A runner whose worker is up and has one model; it must still answer afterwards."""
    assert runner.classify(LIGHT, model="mean").label == "red"
    yield runner
    assert runner.classify(LIGHT, model="mean").label == "red"


def crew(runner: Runner) -> tuple[Process, ...]:
    return runner._executor.crew


def until(holds: Callable[[], object], limit_s: float = 120.0) -> bool:
    end_s = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def once_at_work(runner: Runner, action: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as a worker has been at work for a while, and never before."""

    def wait_and_act() -> None:
        if until(lambda: any(process.in_hand for process in crew(runner))):
            time.sleep(0.2)
            action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# ── the same answers ──────────────────────────────────────────────────────────────────────────


def _sources() -> dict[str, object]:
    path = wb.example("cat")
    data = Path(path).read_bytes()
    picture = Image.fromarray(wb.read_image(path))
    sink, jpeg = io.BytesIO(), io.BytesIO()
    picture.convert("RGBA").rotate(7).save(sink, "PNG")
    picture.resize((300, 200)).save(jpeg, "JPEG")
    return {
        "path": path,
        "bytes": data,
        "data URI": f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "transparent": sink.getvalue(),
        "jpeg": jpeg.getvalue(),
        "array": wb.read_image(path),
        "grey array": wb.read_image(path)[:, :, 1],
        "strided array": wb.read_image(path)[::2, ::-1],
        "PIL": picture,
        "lazy PIL": Image.open(io.BytesIO(jpeg.getvalue())),
    }


@pytest.mark.parametrize("kind", list(_sources()))
def test_an_answer_is_the_same_bit_by_bit_and_shows_the_same(calm: Runner, kind: str) -> None:
    here = Runner(calm.hub).classify(_sources()[kind], model="cifar10")
    there = calm.classify(_sources()[kind], model="cifar10")
    assert there.top == here.top
    assert np.array_equal(there.probabilities, here.probabilities)
    assert (there.source, there.activation, there.outside, there.classes, there.batch) == (
        (here.source, here.activation, here.outside, here.classes, here.batch)
    )
    assert np.array_equal(there.picture(), here.picture())
    named = [name for name in there.timings if name not in ("load", "waiting")]
    assert named == [*(name for name in here.timings if name != "load"), "hand-over"]
    assert there.timings.total_s >= sum(there.timings.values()) * 0.99
    blocks = [[type(block) for block in result._card().blocks] for result in (here, there)]
    assert blocks[0] == blocks[1]
    assert not there.probabilities.flags.writeable or here.probabilities.flags.writeable


def test_many_answers_are_the_same_and_in_order(calm: Runner, tmp_path: Path) -> None:
    sources = [*_sources().values(), b"no picture", str(tmp_path / "missing.png")] * 2
    here = Runner(calm.hub).classify(sources, model="cifar10")
    there = calm.classify([*_sources().values(), *sources[10:12]] * 2, model="cifar10")
    assert isinstance(there, Results)
    assert [type(item) for item in there] == [type(item) for item in here]
    for mine, theirs in zip(there, here, strict=True):
        assert mine.source == theirs.source
        if isinstance(mine, Failure):
            assert mine.error.to_dict() == theirs.error.to_dict()
        else:
            assert mine.top == theirs.top
            assert mine.batch == theirs.batch
            assert mine.timings.total_s == pytest.approx(sum(mine.timings.values()))


def test_another_preprocessing_is_used_and_told_there_as_here(calm: Runner) -> None:
    path = wb.example("cat")
    turned = calm.hub.handle("cifar10").preprocessing.replace(color_format="BGR")
    plain = Runner(calm.hub)
    here = plain.classify([path, path], model="cifar10", preprocessing=turned)
    there = calm.classify([path, path], model="cifar10", preprocessing=turned)
    one = calm.classify(path, model="cifar10", preprocessing=turned)
    assert [item.top for item in there] == [item.top for item in here]
    assert one.top == plain.classify(path, model="cifar10", preprocessing=turned).top
    assert {item.preprocessing for item in (*there, one)} == {turned}
    assert one.differs == here[0].differs != ()


def test_tensors_and_raw_outputs_are_the_same(calm: Runner) -> None:
    batch = np.random.default_rng(1).random((3, 3, 8, 8), np.float32)
    plain = Runner(calm.hub)
    for n in (1, 3):
        here = plain.classify_tensor(batch[:n], model="mean")
        there = calm.classify_tensor(batch[:n], model="mean")
        pairs = zip(here, there, strict=True) if n > 1 else [(here, there)]
        assert all(a.top == b.top and a.source == b.source for a, b in pairs)
    here = plain.run({"images": batch}, "mean")
    there = calm.run({"images": batch}, "mean")
    assert np.array_equal(here["logits"], there["logits"])
    assert list(there.timings) == ["inference", "hand-over"]


def test_several_models_are_asked_side_by_side(calm: Runner) -> None:
    told = calm.classify(wb.example("cat"), model=["cifar10", "cifar10-small", "dark"])
    assert [item.model for item in told] == ["cifar10", "cifar10-small", "dark"]


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (b"no picture at all", {}),
        ("nowhere/cat.png", {}),
        (np.zeros((8, 8, 3), np.float32), {}),
        (None, {}),
        (LIGHT, {"timeout_s": -1.0}),
        (LIGHT, {"top_k": 0}),
    ],
    ids=["no image", "no file", "floats", "none", "no limit", "no top"],
)
def test_an_error_is_the_same_word_for_word(calm: Runner, source: object, options: dict) -> None:
    told = []
    for runner in (Runner(calm.hub), calm):
        with pytest.raises(errors.WorkbenchError) as caught:
            runner.classify(source, model="mean", **options)
        told.append((type(caught.value), caught.value.to_dict()))
    assert told[0] == told[1]


def test_an_input_that_does_not_fit_is_the_same_error(calm: Runner) -> None:
    told = []
    for runner in (Runner(calm.hub), calm):
        with pytest.raises(errors.InputMismatchError) as caught:
            runner.run({"images": np.zeros((1, 3, 9, 8), np.float32)}, "mean")
        told.append(caught.value.to_dict())
    assert told[0] == told[1]


def test_what_cannot_cross_is_an_error_and_costs_no_worker(
    calm: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = types.ModuleType("notebook_of_somebody")  # as __main__ is: only here
    exec("class Unheard: pass", notebook.__dict__)
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    before = crew(calm)[0].pid
    for content in (threading.Lock(), notebook.Unheard()):
        with pytest.raises(errors.InputMismatchError, match="cannot cross"):
            calm.run({"images": content}, "mean")
    assert crew(calm)[0].pid == before


def test_every_answer_and_every_error_is_counted_once(calm: Runner) -> None:
    calm.metrics.reset()
    calm.classify(LIGHT, model="mean")
    calm.classify([LIGHT, b"x", LIGHT], model="mean")
    calm.classify_tensor(np.zeros((2, 3, 8, 8), np.float32), model="mean")
    with pytest.raises(errors.ImageError):
        calm.classify(b"x", model="mean")
    assert calm.metrics.count == 5
    assert dict(calm.metrics.errors) == {"not_an_image": 2}
    assert calm.metrics.samples("hand-over").n == 5


def test_a_fault_of_ours_and_a_want_of_memory_have_a_code_when_they_cross() -> None:
    fault = classified(ZeroDivisionError("division by zero"), "mean")
    assert (fault.code, "ZeroDivisionError: division by zero" in fault.message) == (
        ("inference_failed", True)
    )
    assert classified(MemoryError(), "mean").code == "out_of_memory"
    known = errors.CorruptImageError("cat.jpg", "cut off")
    assert classified(known, "mean") is known
    twin = pickle.loads(pickle.dumps(fault))
    assert twin.to_dict() == fault.to_dict()


# ── what a model may do ───────────────────────────────────────────────────────────────────────


def test_a_crash_by_input_values_costs_one_error(calm: Runner) -> None:
    assert calm.classify(LIGHT, model="dark").label == "red"
    before, replaced = crew(calm)[0].pid, calm.replaced
    with pytest.raises(errors.WorkerCrashedError, match=r"'dark' died \(SIGFPE: .* it ran") as told:
        calm.classify(DARK, model="dark")
    assert "brings the engine down" in told.value.hint
    assert calm.classify(LIGHT, model="dark").label == "red"
    assert crew(calm)[0].pid != before
    assert gone(before)
    assert calm.replaced == replaced + 1


def test_of_many_pictures_only_the_one_that_kills_fails(calm: Runner) -> None:
    results = calm.classify([LIGHT, DARK, LIGHT], model="dark")
    assert [getattr(item, "code", "") for item in results] == ["", "worker_crashed", ""]
    assert results[1]._input.picture().max() == 0


def test_a_model_that_crashes_while_it_is_loaded_can_be_tried(calm: Runner, folder: Path) -> None:
    with pytest.raises(errors.WorkerCrashedError, match=r"SIGFPE: .*while it loaded the model"):
        calm.load("tried", path=folder / "born-dead.onnx", metadata=graphs.PLAIN)
    assert "tried" not in calm.hub
    fine = graphs.means(folder / "fine.onnx")
    loaded = calm.load("fine", path=fine, metadata=graphs.PLAIN)
    assert loaded.session.provider == "CPU"
    assert calm.holds("fine")
    assert calm.hub.state_of(loaded) == "cold", "nothing is opened in this process"


def test_one_endless_node_does_not_outlive_its_limit(calm: Runner) -> None:
    started = time.monotonic()
    with pytest.raises(errors.InferenceTimeoutError, match=r"'endless' .* within 500 ms"):
        calm.classify(LIGHT, model="endless", timeout_s=0.5)
    assert time.monotonic() - started < 0.5 + LATE_S


def test_an_endless_load_does_not_outlive_its_limit(calm: Runner) -> None:
    started = time.monotonic()
    with pytest.raises(errors.LoadTimeoutError, match=r"'never-up' .* within 500 ms"):
        calm.load("never-up", timeout_s=0.5)
    assert time.monotonic() - started < 0.5 + LATE_S


@pytest.mark.parametrize("model", ["endless", "never-up"])
def test_a_stop_ends_one_endless_node_and_an_endless_load(calm: Runner, model: str) -> None:
    stop = Stop()
    started = time.monotonic()
    expected = pytest.raises(errors.CancelledError, match=f"run of model '{model}'")
    with once_at_work(calm, stop.cancel), expected:
        calm.classify(LIGHT, model=model, stop=stop)
    assert time.monotonic() - started < 0.4 + LATE_S


def test_a_stop_with_a_limit_of_its_own_holds_as_well(calm: Runner) -> None:
    with pytest.raises(errors.InferenceTimeoutError, match="within 400 ms"):
        calm.classify(LIGHT, model="endless", stop=Stop(timeout_s=0.4))


def test_what_ends_between_two_nodes_costs_no_worker(calm: Runner) -> None:
    calm.load("loop")
    before = crew(calm)[0].pid
    with pytest.raises(errors.InferenceTimeoutError):
        calm.classify(LIGHT, model="loop", timeout_s=0.3)
    stop = Stop()
    with once_at_work(calm, stop.cancel), pytest.raises(errors.CancelledError):
        calm.classify(LIGHT, model="loop", stop=stop)
    assert crew(calm)[0].pid == before


def test_the_interrupt_ends_one_endless_node_and_leaves_this_process(calm: Runner) -> None:
    calm.load("endless")
    started = time.monotonic()
    with once_at_work(calm, interrupt), pytest.raises(KeyboardInterrupt):
        calm.classify(LIGHT, model="endless")
    assert time.monotonic() - started < 0.3 + LATE_S


def test_the_interrupt_ends_many_and_leaves_no_thread(calm: Runner) -> None:
    calm.load("endless")
    with once_at_work(calm, interrupt), pytest.raises(KeyboardInterrupt):
        calm.classify([LIGHT] * 30, model="endless")
    assert not [t for t in threading.enumerate() if "hand-over" in t.name]


def test_a_model_that_wants_too_much_memory_is_an_error(calm: Runner) -> None:
    with pytest.raises(errors.EngineMemoryError, match="'hungry'") as told:
        calm.classify(LIGHT, model="hungry")
    assert "may hold 700 MB" in told.value.hint


def test_a_worker_that_holds_too_much_is_ended(calm: Runner) -> None:
    """What the system does not refuse is seen from outside."""
    calm.load("endless")
    (process,) = crew(calm)
    held = process.resident_bytes
    assert held is not None
    assert 20e6 < held < LIMIT_BYTES
    process.limit_bytes = held // 2
    started = time.monotonic()
    with pytest.raises(errors.EngineMemoryError, match=r"held \d.*, and may hold \d"):
        calm.classify(LIGHT, model="endless")
    assert time.monotonic() - started < LATE_S


# ── what may happen to a worker ───────────────────────────────────────────────────────────────


def test_a_worker_killed_while_it_has_nothing_to_do_costs_nothing(calm: Runner) -> None:
    calm.load("cifar10-small")
    pid = crew(calm)[0].pid
    os.kill(pid, signal.SIGKILL)
    assert calm.classify(LIGHT, model="mean").label == "red"
    assert until(lambda: gone(pid))
    # its successor has its models again, without being asked
    assert until(lambda: calm.holds("mean") and calm.holds("cifar10-small"))


def test_a_worker_killed_at_work_costs_that_request(calm: Runner) -> None:
    calm.load("endless")
    pid = crew(calm)[0].pid
    with (
        once_at_work(calm, lambda: os.kill(pid, signal.SIGKILL)),
        pytest.raises(errors.WorkerCrashedError, match="SIGKILL: killed from outside") as told,
    ):
        calm.classify(LIGHT, model="endless")
    assert "ask again" in told.value.hint


def test_a_crash_leaves_the_request_of_another_worker_alone(hub: ModelHub, runner: Runner) -> None:
    with Runner(hub, isolated=True, processes=2) as two:
        two.load("dark")
        assert [process.errands for process in crew(two)] == [1, 1], "each has loaded it"
        stop = Stop()
        ended: list[str] = []

        def long() -> None:
            try:
                two.classify(LIGHT, model="endless", stop=stop)
            except errors.WorkbenchError as error:
                ended.append(error.code)

        thread = threading.Thread(target=long)
        thread.start()
        assert until(lambda: any(p.in_hand for p in crew(two)))
        with pytest.raises(errors.WorkerCrashedError):
            two.classify(DARK, model="dark")
        assert two.classify(LIGHT, model="mean").label == "red"
        assert not ended
        stop.cancel()
        thread.join(LATE_S)
        assert ended == ["cancelled"]


def test_where_no_worker_can_be_started_requests_say_so(hub: ModelHub, runner: Runner) -> None:
    real = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable("/bin/false")
    try:
        with Runner(hub, isolated=True) as hopeless:
            with pytest.raises(errors.WorkerCrashedError, match=r"before it began|none can be"):
                hopeless.classify(LIGHT, model="mean")
            assert until(lambda: not crew(hopeless))
            with pytest.raises(errors.WorkerCrashedError):  # it is tried again, in vain
                hopeless.classify(LIGHT, model="mean")
            assert until(lambda: not crew(hopeless))
            multiprocessing.set_executable(real)
            assert hopeless.classify(LIGHT, model="mean").label == "red"
    finally:
        multiprocessing.set_executable(real)


def test_nothing_is_left_after_the_end(hub: ModelHub, runner: Runner) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with Runner(hub, isolated=True) as first:  # what is made once a process is made by this
        first.classify(LIGHT, model="mean")
    assert until(lambda: held() == held())
    before = held()
    pids = []
    for _ in range(2):
        with Runner(hub, isolated=True) as again:
            again.classify(LIGHT, model="mean")
            pids.append(crew(again)[0].pid)
            with pytest.raises(errors.WorkerCrashedError):
                again.classify(DARK, model="dark")
            again.classify(LIGHT, model="mean")
            pids.append(crew(again)[0].pid)
    assert until(lambda: held() <= before), (before, held())
    assert all(gone(pid) for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids), "a zombie is left"
    with pytest.raises(errors.SwitchedOffError, match="have been ended"):
        again.classify(LIGHT, model="mean")


def test_a_runner_that_is_forgotten_ends_its_worker(hub: ModelHub) -> None:
    forgotten = Runner(hub, isolated=True)
    pid = crew(forgotten)[0].pid
    assert not gone(pid)
    del forgotten
    assert until(lambda: gone(pid))


SCRIPT = """
import sys, threading, time
print("begun", __name__, flush=True)
import numpy as np, workbench as wb
from pathlib import Path
from tests import graphs
hub = wb.ModelHub(model_dir=sys.argv[1])
runner = wb.Runner(hub, isolated=True)
runner.load("endless", path=Path(sys.argv[1]) / "endless.onnx", metadata=graphs.PLAIN)
print("worker", runner._executor.crew[0].pid, flush=True)
if sys.argv[2] == "wait":
    runner.classify(np.zeros((8, 8, 3), np.uint8), model="endless")
"""


def _script(folder: Path, what: str) -> subprocess.Popen[str]:
    path = folder / "plain_script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    root = str(Path(wb.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, str(path), str(folder), what],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip


def test_a_script_without_a_guard_runs_once_and_leaves_no_orphan(
    folder: Path, runner: Runner
) -> None:
    with _script(folder, "end") as script:
        out, err = script.communicate(timeout=60)
    assert script.returncode == 0, err
    lines = out.split("\n")
    assert lines[0] == "begun __main__"
    assert out.count("begun") == 1, "the worker ran the script again"
    assert until(lambda: gone(int(lines[1].split()[1])))


def test_a_worker_ends_with_a_parent_that_was_killed_even_within_a_node(
    folder: Path, runner: Runner
) -> None:
    with _script(folder, "wait") as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "begun __main__\n"
        pid = int(script.stdout.readline().split()[1])
        ticks = Path(f"/proc/{pid}/stat")
        began = int(ticks.read_text().rpartition(")")[2].split()[11])
        # it is at work on its one node
        assert until(lambda: int(ticks.read_text().rpartition(")")[2].split()[11]) > began + 20)
        script.kill()
        script.communicate(timeout=20)
    assert until(lambda: gone(pid))


def test_the_arguments_of_isolation_need_isolation_and_are_counts(hub: ModelHub) -> None:
    with pytest.raises(errors.ConfigError, match="processes"):
        Runner(hub, processes=2)
    with pytest.raises(errors.ConfigError, match="memory_bytes"):
        Runner(hub, isolated=True, memory_bytes=0)


def test_its_card_tells_of_the_workers(calm: Runner) -> None:
    assert "1 worker process, at most 700 MB each" in str(calm)
    assert "live there" in str(calm)
    assert "mean" in calm.live
    plain = Runner(calm.hub)
    assert "runs in" not in str(plain)
    assert plain.replaced == 0
    plain.classify(wb.example("cat"), model="cifar10")
    assert "cifar10" in plain.live


def test_a_model_can_be_warmed_up_and_unloaded_there(calm: Runner) -> None:
    warm = calm.warm_up("mean", runs=5)
    assert warm.samples.n == 5
    assert calm.holds("mean")
    calm.unload("mean")
    assert not calm.holds("mean")


def test_a_model_is_unloaded_without_waiting_for_a_run(hub: ModelHub, runner: Runner) -> None:
    with Runner(hub, isolated=True, processes=2) as made:
        made.load("mean")
        stop = Stop()

        def run() -> None:
            with pytest.raises(errors.CancelledError):
                made.classify(LIGHT, model="loop", stop=stop, timeout_s=300)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert until(lambda: all(p.in_hand and p.in_hand.name == "loop" for p in crew(made)))
        made.unload("mean")
        assert all(p.in_hand and p.in_hand.name == "loop" for p in crew(made))
        assert not made.holds("mean")
        assert "mean" not in made.live
        stop.cancel()
        for thread in threads:
            thread.join()
        answers = [made.classify(LIGHT, model="mean") for _ in range(2)]
        assert "load" in answers[0].timings
        assert made.live == ("mean",)


def test_what_is_known_of_a_session_comes_with_the_answers(calm: Runner) -> None:
    calm.unload("mean")
    assert calm.sessions("mean") == ()
    calm.classify(LIGHT, model="mean")
    (first,) = calm.sessions("mean")
    assert first.provider == "CPU"
    calm.classify(LIGHT, model="mean")
    assert calm.sessions("mean") == (first,)
    (state,) = (state for state in calm.worker_states if not state.spare)
    assert "mean" in state.models
    assert not state.busy
    assert state.resident_bytes > 1e7
    plain = Runner(calm.hub)
    assert (plain.processes, plain.worker_states, plain.sessions("dark")) == (0, (), ())


def test_a_load_that_a_stop_ends_is_late_as_a_load(calm: Runner) -> None:
    with pytest.raises(errors.LoadTimeoutError, match="within 500 ms"):
        calm.load("never-up", stop=Stop(0.5))


def test_a_warm_up_of_an_endless_node_ends(hub: ModelHub, runner: Runner) -> None:
    with Runner(hub, isolated=True, timeout_s=0.5) as short:
        short.load("endless", timeout_s=120)
        started = time.monotonic()
        with pytest.raises(errors.InferenceTimeoutError):
            short.warm_up("endless")
        assert time.monotonic() - started < 0.5 + LATE_S


@pytest.mark.parametrize(
    ("pool", "expected"), [(None, (3, False, False)), (2, (2, True, True))], ids=["own", "pooled"]
)
def test_each_of_several_processes_has_threads_as_set_that_do_not_spin(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pool: int | None, expected: tuple[object, ...]
) -> None:
    monkeypatch.setenv("WORKER_THREADS", "3")
    hub = ModelHub(model_dir=folder / "shelf", shared_threads=pool)
    file = graphs.means(folder / "mean-of-several.onnx")
    with hub.naming("several", file, graphs.PLAIN), Runner(hub, isolated=True, processes=2) as two:
        told = two.classify(LIGHT, model="several").session
    assert (told.threads, told.spinning, told.shared_threads) == expected
