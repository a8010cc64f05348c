"""The HTTP face of the workbench: a REST API and the Open Inference Protocol over one hub.

A door: the command line and :func:`workbench.serve` come in here, and nothing inside knows of it.
It needs the extra ``serve``, which is looked for when the service is asked for and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from workbench.errors import MissingExtraError

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.service.session import Service

__all__ = ["require_extra", "require_extra_jobs", "serve"]

#: What the extra ``serve`` brings.
_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "limits", "python_multipart")


def require_extra() -> None:
    """Raise unless the extra ``serve`` is installed.

    Raises
    ------
    MissingExtraError : with the line that installs it
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("serve", "the service")


def require_extra_jobs() -> None:
    """Raise unless the extra ``jobs`` is installed.

    Raises
    ------
    MissingExtraError : with the line that installs it
    """
    if any(find_spec(name) is None for name in ("rq", "redis")):
        raise MissingExtraError("jobs", "jobs through Redis")


def serve(
    hub: ModelHub | None = None,
    *,
    port: int = 0,
    models: Sequence[str] | None = None,
    workers: int | None = None,
) -> Service:
    """Serve a hub's models over HTTP from this process, and return once requests are taken.

    Parameters
    ----------
    hub : whose models; None for the process's hub
    port : of 127.0.0.1; 0 takes a free one
    models : warmed up before it is ready; None for those that are live in the hub
    workers : runs at a time; None for what was measured to be best

    Returns
    -------
    the running service: ``.url``, ``.headers`` (with its token), ``.stop()``

    Raises
    ------
    MissingExtraError : the extra ``serve`` is not installed
    ConfigError : the port cannot be had

    Notes
    -----
    It runs in a thread with a loop of its own and listens on this machine only. Models run in
    this process, so a notebook and its service share sessions; a model that brings the process
    down takes the kernel with it.
    """
    require_extra()
    from workbench.models.hub import default_hub
    from workbench.service.session import start

    return start(default_hub() if hub is None else hub, port=port, models=models, workers=workers)
