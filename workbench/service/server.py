"""The server around the application: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import ChangeReload

import workbench
from workbench import settings
from workbench.errors import ConfigError
from workbench.service.connection import PatientConnection
from workbench.service.policy import HEAD_S

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

    from workbench.service.policy import Policy
    from workbench.settings import Settings

#: Seconds for which a connection may idle between two requests: more than a proxy's own, so that
#: it is the proxy that closes (nginx's keepalive_timeout of an upstream: 60 s).
KEEP_ALIVE_S = 65
#: Connections that the system holds ready before they are taken.
BACKLOG = 512
#: Seconds between two looks for a second signal, and for what it cancels to say so.
_LOOK_S, _CANCEL_S = 0.1, 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it is ready and ends in peace.

    Parameters
    ----------
    app : the application
    sock : the socket that it listens on
    drain_s : seconds that the last requests get
    on_ready : called once its models are warm
    tls : certificate and key (PEM), or None

    Notes
    -----
    It listens at once and is ready when its models are warm; one that cannot be ends it. At
    SIGTERM or SIGINT it takes no new connection, answers what is under way and returns; a second
    signal cancels that and ends it at once. uvicorn's own raises the signal again at the end,
    which is no exit with 0, and takes a second SIGTERM for the first.
    """

    #: seconds that a client gets for a TLS handshake: as many as for a head
    handshake_s = HEAD_S

    def __init__(
        self,
        app: FastAPI,
        sock: socket.socket,
        *,
        drain_s: float,
        on_ready: Callable[[], None] | None = None,
        tls: tuple[str, str] | None = None,
    ) -> None:
        config = _config(app, drain_s=drain_s, tls=tls)
        super().__init__(config)
        self._app, self._socket, self._on_ready = app, sock, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # uvicorn would give a TLS handshake a minute
        kind: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        make = functools.partial(
            kind, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        tls = self.config.ssl
        self.servers = [
            await asyncio.get_running_loop().create_server(
                make, sock=self._socket, ssl=tls, backlog=BACKLOG,
                ssl_handshake_timeout=self.handshake_s if tls is not None else None,
            )
        ]  # fmt: skip

    async def main_loop(self) -> None:
        watching = asyncio.create_task(self._watch())
        try:
            await super().main_loop()
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        """Tell that the models are warm, or end where they cannot be."""
        await asyncio.wait({self._app.state.warming})
        if self._app.state.failed is not None:
            self.should_exit = True
        elif not self.should_exit and self._on_ready is not None:
            try:
                self._on_ready()
            except Exception as error:  # noqa: BLE001  (raised once the server has ended)
                self._app.state.failed, self.should_exit = error, True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.desk.draining = True
        self._app.state.warming.cancel()
        ending = asyncio.create_task(super().shutdown(sockets))
        while not (ending.done() or self.force_exit):
            await asyncio.wait({ending}, timeout=_LOOK_S)
        if not self.force_exit:
            await ending
            return
        left = {ending, *self.server_state.tasks}
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_S)
        await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.desk.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def run_here(self) -> None:
        """Serve until told to end."""
        await self.serve(sockets=[self._socket])

    def run_until_told(self) -> None:
        """Serve in this thread, with a loop of its own, until told to end."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self.run_here())


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    ConfigError : the address or the port cannot be had
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError("host", host, "an address of this machine") from error
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            "port", port, f"a port of {host} that can be listened on ({reason})",
            "Port 0 takes a free one.",
        ) from error  # fmt: skip
    sock.set_inheritable(False)
    return sock


def address(sock: socket.socket, *, tls: bool) -> str:
    """Return the address at which a client finds a listening socket."""
    host, port = sock.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{port}"


def run(
    given: Settings,
    policy: Policy,
    *,
    workers: int | None = None,
    models: Sequence[str] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve in this process until a signal ends it.

    Parameters
    ----------
    given, policy : settings, and what is allowed
    workers, models : as :func:`~workbench.service.application.create_app` takes them
    on_ready : told the address once the models are warm
    """
    from workbench.service.application import create_app

    sock = listen(given.host, given.port)
    tls = _tls(given)
    where = address(sock, tls=tls is not None)
    app = create_app(policy=policy, workers=workers, models=models)

    def ready() -> None:
        if on_ready is not None:
            on_ready(where)

    with sock:
        server = Server(app, sock, drain_s=policy.drain_s, on_ready=ready, tls=tls)
        server.run_until_told()
    if app.state.failed is not None:
        raise app.state.failed


def _tls(given: Settings) -> tuple[str, str] | None:
    if given.tls_cert is None or given.tls_key is None:
        return None
    return str(given.tls_cert), str(given.tls_key)


def reloading(given: Settings, policy: Policy, on_ready: Callable[[str], None]) -> None:
    """Serve in a child that is started anew whenever a file of the package changes."""
    package = Path(workbench.__file__).parent
    settings.pass_on(given, "host", "port", "workers", "preload_models")
    sock, tls = listen(given.host, given.port), _tls(given)
    config = _config(
        "workbench.service.server:reloaded", drain_s=policy.drain_s, tls=tls, factory=True,
        reload=True, reload_dirs=[str(package)],
    )  # fmt: skip
    on_ready(address(sock, tls=tls is not None))
    with sock:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[sock]).run()


def reloaded() -> FastAPI:
    """Return the application of a child of :func:`reloading`."""
    from workbench.service import journal
    from workbench.service.application import create_app

    journal.set_up(settings.Settings())
    return create_app()


def _config(
    app: FastAPI | str, *, drain_s: float, tls: tuple[str, str] | None, **more: Any
) -> uvicorn.Config:
    certificate, key = tls if tls is not None else (None, None)
    return uvicorn.Config(
        app,
        http=PatientConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        backlog=BACKLOG,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        proxy_headers=False,
        **more,
    )
