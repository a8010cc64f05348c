"""What tests of the service wait with."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


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
