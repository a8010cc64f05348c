"""The service in a thread of a notebook: the same hub, on this machine only, with a token."""

from __future__ import annotations

import atexit
import secrets
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.cards import Card, Displayable, Facts, Notes
from workbench.errors import ConfigError, LoadTimeoutError
from workbench.inference.runner import Runner
from workbench.service.application import create_app, default_workers
from workbench.service.policy import Policy
from workbench.service.server import Server, address, listen
from workbench.settings import Settings
from workbench.units import count

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.service.desk import Desk

#: Seconds that the service gets to warm its models up before that is given up.
START_S = 300.0
#: Seconds that the last requests get when a notebook's service ends.
DRAIN_S = 5.0
_PROMISE = (
    "It listens on this machine only, runs models in this process, and ends with it; "
    "service.stop() ends it now."
)


class Service(Displayable):
    """A running service. Made by :func:`workbench.serve`.

    Attributes
    ----------
    url : where it is
    token : what a request must carry; it stands in no display
    hub : whose models it serves
    models : those that were warmed up before it began
    """

    def __init__(self, hub: ModelHub, *, port: int, models: Sequence[str], workers: int) -> None:
        self.hub, self.models, self.workers = hub, tuple(models), workers
        self.token = secrets.token_urlsafe(24)
        given = Settings(host="127.0.0.1", port=port)
        policy = Policy.of(given, keys=[f"notebook:{self.token}"])
        runner = Runner(hub)
        self._app = create_app(
            runner, policy=policy, workers=workers, models=self.models, redis_url=""
        )
        sock = listen(given.host, port)
        self.url = address(sock, tls=False)
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._server = Server(self._app, sock, drain_s=DRAIN_S, on_ready=self._ready.set)
        self._thread = threading.Thread(target=self._serve, name="workbench-service", daemon=True)
        self._thread.start()
        try:
            self._ready.wait(START_S)
        except BaseException:  # the keyboard interrupt: nothing is left behind
            self.stop(1.0)
            raise
        problem = self._app.state.failed or self._problem
        if problem is not None or not self.desk.ready:
            self.stop()
            if isinstance(problem, Exception):
                raise problem
            raise LoadTimeoutError(", ".join(self.models) or "service", START_S)
        _RUNNING.add(self)

    def _serve(self) -> None:
        try:
            self._server.run_until_told()
        except BaseException as error:  # noqa: BLE001  (raised in the thread that waits)
            self._problem = error
        finally:
            self._ready.set()

    @property
    def desk(self) -> Desk:
        """Where its requests become runs."""
        desk: Desk = self._app.state.desk
        return desk

    @property
    def headers(self) -> dict[str, str]:
        """The headers that a request must carry."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def running(self) -> bool:
        """Whether it takes requests."""
        return self._thread.is_alive() and self.desk.ready and not self._server.should_exit

    def stop(self, timeout_s: float = 10.0) -> None:
        """Answer what is under way, and end; harmless when it has ended already."""
        self._server.should_exit = True
        self._thread.join(timeout_s)
        _RUNNING.discard(self)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _card(self) -> Card:
        state = "running" if self.running else "stopped"
        rows = (
            ("address", self.url),
            ("state", state),
            ("key", "service.headers (made for this session; it is shown nowhere)"),
            ("warm", ", ".join(self.models) or "none: a model is loaded by its first request"),
            ("runs at a time", str(self.workers)),
            ("models", count(len(self.hub), "model")),
        )
        notes = (
            f"Documentation: {self.url}/docs (any user name, the token as password).",
            f"Open Inference Protocol: {self.url}/v2. Metrics: {self.url}/metrics.",
            _PROMISE,
        )
        return Card("service", (Facts(rows), Notes(notes)), line=f"{state} at {self.url}")


_RUNNING: weakref.WeakSet[Service] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for service in tuple(_RUNNING):
        service.stop(2.0)


def start(
    hub: ModelHub,
    *,
    port: int = 0,
    models: Sequence[str] | None = None,
    workers: int | None = None,
) -> Service:
    """Start a service over a hub; see :func:`workbench.serve`."""
    if not (type(port) is int and 0 <= port <= 65535):
        raise ConfigError("port", port, "a whole number from 0 to 65535")
    if isinstance(models, str):
        raise ConfigError("models", models, "a list of ids")
    live = [row["id"] for row in hub.rows() if row["state"] == "live"]
    warm = live if models is None else [hub.handle(name).id for name in models]
    return Service(hub, port=port, models=warm, workers=workers or default_workers())
