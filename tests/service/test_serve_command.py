"""``workbench serve``: its options, its port, its certificate, and what it says when it cannot."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from service_tools import until

from workbench import settings
from workbench.errors import ConfigError
from workbench.service import traffic
from workbench.service.policy import Policy
from workbench.settings import Settings


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "serve", *arguments], cwd=cwd, capture_output=True,
        text=True, timeout=180, check=False, env=os.environ | variables,
    )  # fmt: skip


def status(url: str) -> dict:
    return httpx.get(f"{url}/api/inference/status").json()


def test_named_models_are_warm_and_options_hold(command):
    served = command("--models", "cifar10,cifar10-small", "--workers", "3", QUEUE_LIMIT="7")
    told = status(served.url)
    assert sorted(m["model_id"] for m in told["models"]) == ["cifar10", "cifar10-small"]
    assert (told["queue"]["workers"], told["queue"]["limit"]) == (3, 7)
    assert served.end() == 0


def test_reload_starts_anew_when_the_package_changes_and_keeps_the_options(command):
    served = command("--reload", "--models", "cifar10-small", "--workers", "3")

    def began_s() -> float:
        try:
            told = status(served.url)
        except httpx.HTTPError:  # it is just being started
            return 0.0
        if not told["ready"]:
            return 0.0
        assert (told["queue"]["workers"], len(told["models"])) == (3, 1)
        return time.monotonic() - told["uptime_s"]

    assert until(lambda: began_s() > 0, within_s=60)
    time.sleep(1)
    before_s = began_s()
    os.utime(traffic.__file__)
    assert until(lambda: began_s() > before_s + 0.5, within_s=60)
    assert served.end() == 0


def test_settings_are_passed_on_to_processes(monkeypatch):
    names = ("WORKBENCH_HOST", "WORKBENCH_PRELOAD_MODELS", "WORKBENCH_WORKERS")
    for name in names:
        monkeypatch.setenv(name, "1")  # so that it is taken back
    given = Settings(host="::1", preload_models=("a", "b"), workers=None)
    settings.pass_on(given, "host", "preload_models", "workers")
    assert [os.environ[name] for name in names] == ["::1", "a,b", "1"]


def test_it_speaks_https_with_a_certificate(command, certificate):
    trusted, key = certificate
    served = command(TLS_CERT=trusted, TLS_KEY=key)
    assert served.url.startswith("https://")
    context = ssl.create_default_context(cafile=trusted)
    assert httpx.get(f"{served.url}/health", verify=context).json()["ready"] is True
    assert served.end() == 0


def test_a_key_that_is_anothers_is_told_with_both_settings(certificate):
    trusted, _ = certificate
    with pytest.raises(ConfigError) as caught:
        Policy.of(Settings(tls_cert=trusted, tls_key=trusted))
    assert str(caught.value).startswith("TLS_CERT and TLS_KEY is '")
    assert "a certificate and its own key in PEM that need no pass phrase" in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TLS_CERT": "cert.pem"}, "expected both, or neither"),
        ({"TLS_CERT": "cert.pem", "TLS_KEY": "key.pem"}, "expected files that are there"),
        ({"TLS_CERT": __file__, "TLS_KEY": __file__}, "TLS_CERT and TLS_KEY is"),
        ({"INFERENCE_TIMEOUT": "inf"}, "INFERENCE_TIMEOUT is 'inf'; expected a finite number"),
        ({"API_KEYS": "short"}, "expected keys of at least 16 characters"),
        ({"RATE_LIMIT": "fast"}, "a rate such as 600/minute"),
        ({"CORS_ORIGINS": "lab"}, "pages such as https://lab.example"),
        ({"PULL_SOURCES": "everything"}, "PULL_SOURCES"),
        ({"PRELOAD_MODELS": "nowhere"}, "No model named 'nowhere'"),
        ({"WORKBENCH_HOST": "192.0.2.77", "API_KEYS": "x" * 16}, "that can be listened on"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(tmp_path, variables, words):
    done = run("--port", "0", cwd=tmp_path, **variables)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "x" * 16 not in done.stderr


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port), cwd=tmp_path)
    assert done.returncode == 1
    assert f"port is {port}" in done.stderr
    assert "Port 0 takes a free one." in done.stderr


def test_help_names_the_options(tmp_path):
    said = run("--help", cwd=tmp_path).stdout
    for option in ("--host", "--port", "--workers", "--models", "--reload"):
        assert option in said
