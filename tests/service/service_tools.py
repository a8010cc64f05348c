"""What tests of the service share: waiting, raw bytes, an environment, pictures, certificates."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image


def until(true: Callable[[], bool], within_s: float = 120.0) -> bool:
    """Wait for something to become true; return whether it did."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return true()


def raw(port: int, sent: bytes, *, within_s: float = 180.0) -> bytes:
    """Send bytes to a service on this machine; return all that comes until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as sock:
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of a process of its own: these tests' without settings, and more."""
    return {k: v for k, v in os.environ.items() if not k.startswith("WORKBENCH_")} | variables


def png_of(red: int, green: int, blue: int) -> bytes:
    """Return a picture of one colour, 8 × 8, as the bytes of its file."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (red, green, blue)).save(buffer, "PNG")
    return buffer.getvalue()


def write_certificate(folder: Path) -> tuple[str, str]:
    """Write a certificate of this machine and its key; return their files (PEM)."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
         "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    return str(folder / "cert.pem"), str(folder / "key.pem")
