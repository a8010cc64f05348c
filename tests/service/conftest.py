"""Really started services: in a thread of the test, or as the command in a process of its own."""

from __future__ import annotations

import base64
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_tools import environment, png_of, write_certificate

import workbench as wb
from tests.graphs import PLAIN, endless, means
from workbench.service.application import create_app
from workbench.service.policy import Policy
from workbench.service.server import Server, address, listen

#: Longest that a service may take to come up, on a slow and busy machine.
START_S = 240.0


class Running:
    """A service in a thread of this process, and a client for it."""

    def __init__(
        self,
        hub: wb.ModelHub,
        *,
        workers: int = 2,
        models: tuple[str, ...] = (),
        head_s: float | None = None,
        redis_url: str = "",
        isolated: bool = False,
        tls: tuple[str, str] | None = None,
        wait: bool = True,
        **rules: Any,
    ) -> None:
        policy = replace(Policy(), **rules)
        runner = wb.Runner(hub, isolated=isolated, processes=workers if isolated else None)
        self.app = create_app(
            runner, policy=policy, workers=workers, models=models, redis_url=redis_url
        )
        self.desk = self.app.state.desk
        sock = listen("127.0.0.1", 0)
        self.url = address(sock, tls=tls is not None)
        self.port = sock.getsockname()[1]
        self.ready = threading.Event()
        self.server = Server(
            self.app, sock, drain_s=policy.drain_s, on_ready=self.ready.set, tls=tls
        )
        if head_s is not None:
            kind = self.server.config.http
            self.server.config.http = type("Hasty", (kind,), {"head_s": head_s})
            self.server.handshake_s = head_s
        self.thread = threading.Thread(target=self.server.run_until_told, daemon=True)
        self.thread.start()
        assert not wait or self.ready.wait(START_S), "the service did not come up"
        self.client = httpx.Client(base_url=self.url, timeout=180)

    def execute(self, picture: str, **more: Any) -> httpx.Response:
        body = {"model_id": "colours", "input": {"type": "image", "data": picture}} | more
        return self.client.post("/api/inference/execute", json=body)

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(START_S)
        assert not self.thread.is_alive(), "the service did not end"


@pytest.fixture(scope="session")
def running_kind() -> type[Running]:
    """Return what a service in a thread of this process is made with."""
    return Running


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """Return a MODEL_DIR with a model whose answers can be worked out, and one that never ends."""
    import json

    folder = tmp_path_factory.mktemp("shelf") / "models"
    (folder / "metadata").mkdir(parents=True)
    for name, make in (("colours", means), ("endless", endless)):
        make(folder / f"{name}.onnx")
        (folder / "metadata" / f"{name}.json").write_text(json.dumps(PLAIN))
    return folder


@pytest.fixture(scope="session")
def start(shelf) -> Iterator[Callable[..., Running]]:
    """Return what starts a service in this process; all are ended with the session."""
    begun: list[Running] = []

    def begin(folder: Path = shelf, **rules: Any) -> Running:
        running = Running(wb.ModelHub(model_dir=folder, graph_cache=False), **rules)
        begun.append(running)
        return running

    yield begin
    for running in begun:
        running.server.should_exit = True  # all at once
    for running in begun:
        running.close()


@pytest.fixture(scope="session")
def service(start) -> Running:
    """Return a service with the default rules, shared by tests that change none of them."""
    return start()


@pytest.fixture(scope="session")
def red() -> str:
    """Return a red picture as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png_of(255, 0, 0)).decode()}"


@pytest.fixture(scope="session")
def png() -> bytes:
    """Return a red picture as the bytes of its file."""
    return png_of(255, 0, 0)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """Return the files (PEM) of a certificate for 127.0.0.1 and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("platform: no openssl to make a certificate with")
    return write_certificate(tmp_path_factory.mktemp("tls"))


class Command:
    """``workbench serve`` in a process of its own."""

    def __init__(self, *arguments: str, cwd: Path, **variables: str) -> None:
        self.log = (cwd / "stderr.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=cwd,
            env=environment(**variables),
        )  # fmt: skip
        assert self.process.stdout is not None
        timer = threading.Timer(START_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        found = re.search(r"https?://\S+", line)
        assert found, f"it did not start: {line}{self.said()}"
        self.url = found[0]

    def said(self) -> str:
        """Return what stands in its stderr so far."""
        self.log.flush()
        return Path(self.log.name).read_text("utf-8")

    def end(self, number: int = signal.SIGTERM, within_s: float = START_S) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(within_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


@pytest.fixture
def command(tmp_path) -> Iterator[Callable[..., Command]]:
    """Return what starts the command; what is still running at the end is killed."""
    begun: list[Command] = []

    def begin(*arguments: str, cwd: Path = tmp_path, **variables: str) -> Command:
        begun.append(Command(*arguments, cwd=cwd, **variables))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()
