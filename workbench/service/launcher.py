"""The tile in JupyterLab's launcher, where jupyter-server-proxy is installed.

That package starts the service at the first click, on a free port of this machine, and hands on to
it what the browser asks below ``<jupyter>/workbench/``. Who may come in is Jupyter's business: it
puts a key, made here and known to nobody else, into every request that it hands on.
"""

from __future__ import annotations

import secrets
import sys
from functools import cache
from typing import Any

#: Seconds that the service gets to start: importing the engine takes one or two.
START_S = 60


@cache
def _key() -> str:
    return secrets.token_urlsafe(24)


def server() -> dict[str, Any]:
    """Describe the service to jupyter-server-proxy (its entry point ``workbench``).

    Source
    ------
    jupyter-server-proxy.readthedocs.io, "Server Process options"
    """
    return {
        "command": [sys.executable, "-m", "workbench", "serve", "--port", "{port}"],
        "environment": {
            "WORKBENCH_HOST": "127.0.0.1",
            "WORKBENCH_API_KEYS": f"jupyter:{_key()}",
            # asked for under the name of the Jupyter server, which has checked it
            "WORKBENCH_ALLOWED_HOSTS": "*",
        },
        "request_headers_override": {"X-API-Key": _key()},
        "timeout": START_S,
        "launcher_entry": {"title": "Workbench service", "path_info": "workbench/docs"},
        "new_browser_tab": True,
    }
