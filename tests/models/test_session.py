"""Sessions: options resolved, runs that can be ended, errors of ours, and what really ran."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

from tests import graphs
from workbench import errors, stopping
from workbench.models import gate, provider, session
from workbench.models.provider import CPU, Offered, Wanted
from workbench.models.session import Options, check_feeds, open_session
from workbench.stopping import Stop

X = {"images": np.ones((1, 3, 8, 8), np.float32)}


@pytest.fixture
def nobody_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide sessions that other tests have left alive."""
    monkeypatch.setattr(session, "_spinning", weakref.WeakSet())


def opened(path: Path, **options: object) -> session.Session:
    return open_session(path, Options.of(**options), gate.examine(path), name=path.stem)


def test_a_run_answers_what_can_be_worked_out_by_hand(tmp_path: Path) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"))
    images = np.zeros((2, 3, 8, 8), np.float32)
    images[0, 1] = 5.0
    images[1, 2] = 7.0
    assert live.run({"images": images})[0].tolist() == [[0, 5, 0], [0, 0, 7]]
    assert live.facts.provider == "CPU"
    assert live.facts.precision == "float32"
    assert live.facts.stoppable


@pytest.mark.parametrize(
    ("threads", "asked", "spins", "why"),
    [
        (1, True, False, "one thread has nobody to wait for"),
        (2, True, True, "as asked"),
        (2, False, False, "as asked"),
    ],
)
def test_spinning_is_resolved_and_explained(
    tmp_path: Path, threads: int, asked: bool, spins: bool, why: str
) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"), threads=threads, spinning=asked)
    assert (live.facts.spinning, live.facts.why_spinning) == (spins, why)
    live.close()


@pytest.mark.usefixtures("nobody_spins")
def test_auto_spinning_is_quiet_where_cores_are_shared_and_beside_another_spinner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine:
        shared = ""
        threads = 2
        flags = ()

    monkeypatch.setattr(session, "host", lambda: Machine)
    path = graphs.means(tmp_path / "m.onnx")
    first = opened(path)
    assert first.facts.spinning
    second = opened(path)
    assert not second.facts.spinning
    assert "1 other live session spinning" in second.facts.why_spinning
    first.close()
    Machine.shared = "a quota of 1.5 processors on 4"
    third = opened(path)
    assert third.facts.spinning_text == "off (auto: a quota of 1.5 processors on 4)"
    for live in (second, third):
        live.close()


@pytest.mark.usefixtures("nobody_spins")
def test_a_session_that_is_dropped_without_closing_spins_no_longer(tmp_path: Path) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"), threads=2, spinning=True)
    assert live in session._spinning
    del live
    assert len(session._spinning) == 0


@pytest.mark.parametrize("timeout_s", ["5", 0, -1.0, 10**400])
def test_a_limit_that_is_none_is_refused(tmp_path: Path, timeout_s: object) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"))
    with pytest.raises(errors.ConfigError, match="a positive number of seconds, or None"):
        live.run(X, timeout_s=timeout_s)


def test_a_time_limit_ends_a_run_and_leaves_the_session_usable(tmp_path: Path) -> None:
    live = opened(graphs.endless(tmp_path / "endless.onnx"))
    for _ in range(2):
        started = time.perf_counter()
        with pytest.raises(errors.InferenceTimeoutError, match=r"within 100 ms") as caught:
            live.run(X, timeout_s=0.1)
        assert 0.1 <= time.perf_counter() - started < 60
        assert caught.value.limit_s == 0.1
    assert not live.closed


def test_a_stop_ends_a_run_from_another_thread(tmp_path: Path) -> None:
    live = opened(graphs.endless(tmp_path / "endless.onnx"))
    stop = Stop()
    threading.Timer(0.1, stop.cancel).start()
    with pytest.raises(errors.CancelledError, match="stopped on request"):
        live.run(X, stop=stop)
    with pytest.raises(errors.CancelledError):
        live.run(X, stop=stop)  # before it starts: it is cancelled already
    with pytest.raises(errors.InferenceTimeoutError):
        live.run(X, stop=Stop(timeout_s=0.05))


def test_many_threads_have_their_own_limits(tmp_path: Path) -> None:
    live = opened(graphs.endless(tmp_path / "endless.onnx"), threads=1)
    ends: dict[float, float] = {}

    def run(limit_s: float) -> None:
        started = time.perf_counter()
        with pytest.raises(errors.InferenceTimeoutError):
            live.run(X, timeout_s=limit_s)
        ends[limit_s] = time.perf_counter() - started

    threads = [threading.Thread(target=run, args=(s,)) for s in (0.6, 0.05, 0.3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ends) == [0.05, 0.3, 0.6]
    assert all(took >= limit for limit, took in ends.items())


@pytest.mark.skipif(os.name != "posix", reason="platform: signals are sent with os.kill")
def test_the_keyboard_interrupt_ends_a_run_in_the_main_thread(tmp_path: Path) -> None:
    path = graphs.endless(tmp_path / "endless.onnx")
    program = f"""
        import os, signal, sys, threading, time
        import numpy as np
        from pathlib import Path
        from workbench.models import gate
        from workbench.models.session import Options, open_session
        from workbench.stopping import watchdog
        path = Path({str(path)!r})
        live = open_session(path, Options.of(), gate.examine(path), name="endless")
        x = {{"images": np.ones((1, 3, 8, 8), np.float32)}}
        def press():
            while not watchdog.guards():
                time.sleep(0.01)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press).start()
        try:
            live.run(x, timeout_s=100)
        except KeyboardInterrupt:
            print("interrupted", live.closed)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=300, check=False, cwd=Path.cwd(),
    )  # fmt: skip
    assert done.stdout.strip() == "interrupted False", done.stderr


def test_the_wakeup_descriptor_of_an_event_loop_is_put_back(tmp_path: Path) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        live.run(X)
        assert signal.set_wakeup_fd(before) == writer
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"images": np.ones((1, 3, 9, 8), np.float32)}, "got float32 (1, 3, 9, 8)"),
        ({"images": np.ones((1, 3, 8, 8), np.float64)}, "got float64 (1, 3, 8, 8)"),
        ({"images": np.ones((3, 8, 8), np.float32)}, "expected images: float32 (batch, 3, 8, 8)"),
        ({"image": np.ones((1, 3, 8, 8), np.float32)}, "expected one of 'images'"),
        ({}, "Input 'images' got nothing"),
        ({"images": [[1.0]]}, "got a list"),
    ],
)
def test_a_feed_that_does_not_fit_is_described(tmp_path: Path, feeds: dict, words: str) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"))
    with pytest.raises(errors.InputMismatchError) as caught:
        live.run(feeds)
    assert words in str(caught.value)
    assert live.run(X)[0].shape == (1, 3), "the session must stay usable"


def test_feeds_that_fit_are_no_mismatch(tmp_path: Path) -> None:
    assert check_feeds(gate.examine(graphs.means(tmp_path / "m.onnx")).inputs, X) is None


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"))
    live.close()
    live.close()
    with pytest.raises(errors.WorkbenchError, match="is closed"):
        live.run(X)


def test_a_load_has_a_time_limit(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    if not hasattr(ort.SessionOptions(), "set_load_cancellation_flag"):
        pytest.skip("platform: this onnxruntime cannot cancel a load")
    path = graphs.means(tmp_path / "m.onnx")
    facts = gate.examine(path)

    def load_often() -> None:  # the limit is so small that the watchdog may miss a load or two
        for _ in range(2000):
            open_session(path, Options.of(), facts, name="m", timeout_s=1e-6)

    with pytest.raises(errors.LoadTimeoutError):
        load_often()


def test_what_the_engine_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    path = graphs.means(tmp_path / "m.onnx")
    facts = gate.examine(path)
    path.write_bytes(b"\x08\x0a\x12\x01x")
    with pytest.raises(errors.ModelFileError):
        open_session(path, Options.of(), facts, name="m")


# ── providers ─────────────────────────────────────────────────────────────────────────────────


def test_a_provider_that_cannot_be_had_warns_and_runs_on_the_cpu(tmp_path: Path) -> None:
    path = graphs.means(tmp_path / "m.onnx")
    with pytest.warns(errors.ProviderFallbackWarning, match="asked to run on CUDA and runs on CPU"):
        live = opened(path, providers="cuda")
    assert live.facts.provider == "CPU"
    assert any("CUDA cannot be used here" in note for note in live.facts.notes)


def test_strict_makes_a_fall_back_an_error(tmp_path: Path) -> None:
    path = graphs.means(tmp_path / "m.onnx")
    with pytest.raises(errors.ConfigError, match="a provider that can run here"):
        opened(path, providers=["cuda", "cpu"], strict=True)


def test_auto_and_cpu_never_warn(tmp_path: Path) -> None:
    path = graphs.means(tmp_path / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        live = opened(path, providers="cpu", strict=True)
        again = opened(path)
    assert live.facts.ran == () or live.facts.ran[0].provider == CPU
    assert again.facts.provider_text == "CPU"


def test_a_plugin_provider_is_opened_through_its_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own CPU device stands in for a plugin's: the path through it is the same."""
    import onnxruntime as ort

    if not hasattr(ort, "get_ep_devices"):
        pytest.skip("platform: this onnxruntime has no plugin devices")
    devices = tuple(d for d in ort.get_ep_devices() if d.ep_name == CPU)
    plugin = Offered(CPU, "onnxruntime_ep_stand_in", "1.0", ("CPU",), "", devices)
    monkeypatch.setattr(provider, "_offered", lambda: (plugin,))
    live = opened(graphs.means(tmp_path / "m.onnx"), providers=[("cpu", {"device": "CPU"})])
    assert live.run(X)[0].tolist() == [[1, 1, 1]]
    assert live.facts.provider == "CPU"


def test_a_fused_run_that_cannot_be_stopped_still_breaks_no_promise_silently(
    tmp_path: Path,
) -> None:
    live = opened(graphs.means(tmp_path / "m.onnx"))

    class Slow:
        def run(self, *_: object) -> list:
            end_s = time.monotonic() + 60  # as a fused graph: deaf to the terminate flag
            while not any(g.fired for g in stopping.watchdog.guards()) and time.monotonic() < end_s:
                time.sleep(0.005)
            return [np.zeros((1, 3), np.float32)]

    live._raw = Slow()
    with pytest.raises(errors.InferenceTimeoutError):
        live.run(X, timeout_s=0.05)


@pytest.mark.parametrize(
    ("facts", "lead", "options", "expected"),
    [
        ({"quantized": "QDQ"}, CPU, (), "int8 (QDQ)"),
        ({"dtypes": (("float16", 10), ("int64", 2)), "operators": ()}, CPU, (), "float16"),
        ({"dtypes": (("float16", 10),), "operators": (("Cast", 3),)}, CPU, (),
         "float32 (weights stored in float16)"),
        # OpenVINO's own profile names kernels such as brgconv_avx512_amx_bf16 for such a graph
        ({"dtypes": (("float16", 10),), "operators": (("Cast", 3),)}, "OpenVINOExecutionProvider",
         (), "bfloat16 (OpenVINO's default here)"),
        ({}, CPU, (), "float32"),
        ({}, "OpenVINOExecutionProvider", (), "bfloat16 (OpenVINO's default here)"),
        ({}, "OpenVINOExecutionProvider",
         (("load_config", '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'),), "float32"),
    ],
)  # fmt: skip
def test_the_precision_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    facts: dict, lead: str, options: tuple, expected: str,
) -> None:  # fmt: skip
    import dataclasses

    class Machine:
        flags = ("avx512_bf16",)

    monkeypatch.setattr(session, "host", lambda: Machine)
    known = dataclasses.replace(gate.examine(graphs.means(tmp_path / "m.onnx")), **facts)
    assert session.precision(lead, (Wanted(lead, options),), known) == expected
