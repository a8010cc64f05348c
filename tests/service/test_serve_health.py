"""The container's health check, asked about really started services."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from service_tools import environment

import workbench as wb

CHECK = Path(wb.__file__).parent.parent / "deploy" / "healthcheck.py"


def check(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECK)], env=environment(http_proxy="http://127.0.0.1:9", **variables),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["PORT", "WORKBENCH_PORT"])
def test_a_service_that_is_ready_is_healthy(service, name):
    done = check(**{name: str(service.port)})
    assert (done.returncode, done.stderr) == (0, "")


def test_one_that_drains_is_not(start):
    served = start()
    served.desk.draining = True
    done = check(PORT=str(served.port))
    assert (done.returncode, done.stderr.strip()) == (1, "not ready: draining")


def test_none_at_all_is_not_either():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = check(PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith("no answer: ")


def test_it_speaks_https_where_the_service_does(command, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("platform: no openssl to make a certificate with")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
         "cert.pem", "-days", "2", "-subj", "/CN=models.example"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    served = command(TLS_CERT="cert.pem", TLS_KEY="key.pem")
    port = served.url.rpartition(":")[2]
    assert check(PORT=port, TLS_CERT="cert.pem").returncode == 0
    assert check(PORT=port).returncode == 1
