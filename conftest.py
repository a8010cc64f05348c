"""What holds for every test and doctest: no network, a clean environment, no silent skips."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

#: Not searched for doctests: scripts that make golden values with libraries that are not needed to
#: compare with them, and files of fixtures, which all have one module's name.
collect_ignore_glob = ["tests/golden/*.py", "tests/*conftest.py"]
#: Set by .ci/run: a skip that is not listed below is a failure there.
CI = bool(os.environ.get("WORKBENCH_CI"))
#: A test marked ``acceptance`` may skip (it needs models that are not part of the project), and
#: so may one whose reason begins like this.
MAY_SKIP = re.compile(r"^(acceptance|platform|not installable): ")
#: Variables that settings.py reads: a developer's own values must not change a test.
_VARIABLES = (  # noqa: SIM905  (a column of strings reads worse)
    "MODEL_DIR DATA_DIR MAX_MODELS_IN_MEMORY MAX_MODEL_BYTES INFERENCE_TIMEOUT MAX_BATCH_SIZE "
    "MAX_IMAGE_BYTES LOG_LEVEL HOST PORT API_KEYS NO_COLOR OFFLINE MIRRORS HF_ENDPOINT HF_TOKEN "
    "IPFS_GATEWAYS MAX_DOWNLOAD_BYTES DOWNLOAD_TIMEOUT ALLOW_HTTP ALLOW_PRIVATE CA_FILE "
    "GRAPH_CACHE MAX_GRAPH_CACHE_BYTES SHARED_THREADS"
).split()


class NetworkTouchedError(RuntimeError):
    """A test reached for the network. Not an OSError: nobody translates it by mistake."""


def _refuse_strangers(address: Any) -> None:
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not isinstance(address, tuple) or host in {None, "", "localhost", "::1", "0.0.0.0", "::"}:
        return  # a socket of this machine
    if not re.match(r"127\.\d+\.\d+\.\d+$", str(host)):
        raise NetworkTouchedError(f"a test wants to reach {address!r}: serve it from 127.0.0.1")


def pytest_configure(config: pytest.Config) -> None:
    """Close the network for the whole run, collection included; hear the keyboard interrupt.

    Whoever is started in a shell's background ignores the interrupt, and what it starts as well.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    connect, connect_ex, resolve = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse_strangers(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_strangers(address)
        return connect_ex(self, address)

    def guarded_resolve(host: Any, *args: Any, **options: Any) -> Any:
        _refuse_strangers((host, 0))
        return resolve(host, *args, **options)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    config.add_cleanup(patch.undo)


@pytest.fixture(scope="module", autouse=True)
def set_aside() -> None:
    """Set aside what was there before a module, so that no collection of garbage looks at it again.

    Every unload collects garbage, and there are thousands of them beside thousands of tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Hide the developer's settings, and keep caches and data out of their home."""
    from workbench import settings

    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"WORKBENCH_{name}", raising=False)
    home = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    settings.settings.cache_clear()
    yield
    settings.settings.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """In CI, turn a skip that nobody listed into a failure."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        _judge(report, allowed=item.get_closest_marker("acceptance") is not None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """The same for modules that skip as a whole."""
    report = yield
    if CI and report.skipped:
        _judge(report, allowed=False)
    return report


def _judge(report: Any, *, allowed: bool) -> None:
    where = report.longrepr
    reason = str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")
    if not (allowed or MAY_SKIP.match(reason)):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI without a listed reason: {reason}"
