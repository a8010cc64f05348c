"""The container's health check: exit with 0 if the service takes requests, else with a sentence.

Asks GET /health, which needs no key, on this machine, at the port and in the way (TLS) that the
service's own variables say. Needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

#: Seconds for the answer: less than the 5 s that the Dockerfile gives this script.
LIMIT_S = 4


def setting(name: str, default: str = "") -> str:
    """Return a variable as the service reads it: with WORKBENCH_ before its name, or without."""
    return os.environ.get(f"WORKBENCH_{name}") or os.environ.get(name) or default


def main() -> str:
    """Return what is wrong; an empty text for nothing."""
    scheme = "https" if setting("TLS_CERT") else "http"
    nobody = ssl.create_default_context()
    nobody.check_hostname = False  # its certificate is for its name, not for 127.0.0.1
    nobody.verify_mode = ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=nobody))
    try:
        with opener.open(
            f"{scheme}://127.0.0.1:{setting('PORT', '3000')}/health", timeout=LIMIT_S
        ) as answer:
            told = json.load(answer)
    except (OSError, ValueError) as error:
        return f"no answer: {error}"
    return "" if told.get("ready") is True else f"not ready: {told.get('status')}"


if __name__ == "__main__":
    sys.exit(main() or 0)
