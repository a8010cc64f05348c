"""How a service begins and ends: what it says while models warm up, and what signals do then."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from service_tools import environment, until

from workbench.errors import OutputNotFiniteError
from workbench.service.engine import Engine

#: A limit in milliseconds that no test waits for.
NEVER = "3600000"


def health(url: str) -> dict:
    """Return what /health says; nothing where nobody listens."""
    try:
        return httpx.get(f"{url}/health").json()
    except httpx.TransportError:
        return {}


@pytest.fixture
def gate(monkeypatch) -> Iterator[threading.Event]:
    """Return what every preload waits for."""
    opened, real = threading.Event(), Engine.preload

    def slow(self, *given, **named):
        opened.wait()
        return real(self, *given, **named)

    monkeypatch.setattr(Engine, "preload", slow)
    yield opened
    opened.set()


def test_it_says_that_it_starts_until_its_models_are_warm(start, gate, red):
    running = start(models=("colours",), wait=False)
    get = running.client.get
    told = get("/health")
    assert told.status_code == 200
    assert (told.json()["status"], told.json()["live"], told.json()["ready"]) == (
        "starting", True, False,
    )  # fmt: skip
    assert get("/v2/health/ready").status_code == 503
    assert get("/v2/health/live").status_code == 200
    assert not running.ready.is_set()
    assert running.execute(red).status_code == 200  # whoever does not ask is answered
    gate.set()
    assert running.ready.wait(60)
    assert get("/health").json()["status"] == "ok"
    assert get("/v2/health/ready").status_code == 200


def test_it_ends_in_the_middle_of_a_warm_up(start):
    running = start(models=("endless",), timeout_s=3600, wait=False)
    assert until(lambda: running.desk.admission.running == 1)
    running.close()
    assert not running.ready.is_set()
    assert running.app.state.failed is None


def test_a_warm_up_that_fails_ends_it(start, monkeypatch):
    def bad(self, *given, **named):
        raise OutputNotFiniteError("colours", "logits", 1, 3)

    monkeypatch.setattr(Engine, "preload", bad)
    running = start(models=("colours",), wait=False)
    running.thread.join(60)
    assert not running.thread.is_alive()
    assert isinstance(running.app.state.failed, OutputNotFiniteError)
    assert not running.ready.is_set()


def test_one_that_cannot_tell_that_it_is_ready_ends_with_the_reason(start, gate):
    running = start(models=("colours",), wait=False)

    def nobody_reads() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    running.server._on_ready = nobody_reads
    gate.set()
    running.thread.join(60)
    assert not running.thread.is_alive()
    assert isinstance(running.app.state.failed, BrokenPipeError)


# ── signals ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command without waiting until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "serve", "--port", str(port), "--workers", "1"],
        cwd=folder, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def test_a_signal_in_the_middle_of_a_warm_up_ends_the_command_with_0(shelf, tmp_path):
    with serving(
        tmp_path, MODEL_DIR=str(shelf), PRELOAD_MODELS="endless", INFERENCE_TIMEOUT=NEVER
    ) as (process, url):
        assert until(lambda: health(url).get("status") == "starting")
        process.send_signal(signal.SIGTERM)
        said, complained = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")
    assert "Traceback" not in complained


def test_a_second_signal_ends_it_at_once_whatever_runs(shelf, tmp_path, red):
    with serving(tmp_path, MODEL_DIR=str(shelf), INFERENCE_TIMEOUT=NEVER, DRAIN_TIMEOUT=NEVER) as (
        process,
        url,
    ):
        assert until(lambda: health(url).get("status") == "ok")
        body = {"model_id": "endless", "input": {"data": red}}
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(httpx.post(f"{url}/api/inference/execute", json=body, timeout=300))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        status = f"{url}/api/inference/status"
        assert until(lambda: httpx.get(status).json()["queue"]["running"] == 1)
        process.send_signal(signal.SIGTERM)
        assert until(lambda: not health(url))  # it takes no new connection
        assert process.poll() is None  # and answers the one that it has
        process.send_signal(signal.SIGTERM)
        _, complained = process.communicate(timeout=120)
        asking.join(60)
    assert process.returncode == 0
    assert "Traceback" not in complained
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "cancelled"
