"""Connections of slow clients: one that does not get its request out is closed.

uvicorn bounds how long a connection may idle between requests, and this service bounds bodies
(:mod:`workbench.service.body`). What is left is the first line and the headers, and what a client
goes on sending of a body that was refused.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.errors import BadRequestError
from workbench.service import journal
from workbench.service.policy import HEAD_BYTES, HEAD_S
from workbench.service.problem import envelope
from workbench.service.traffic import Served
from workbench.timing import clock

if TYPE_CHECKING:
    import asyncio

    from workbench.service.traffic import Traffic

#: Stands for the method and the route of what could not be read as a request.
_NONE = "(none)"


class PatientConnection(HttpToolsProtocol):
    """uvicorn's connection, which waits :data:`~workbench.service.policy.HEAD_S` for a head.

    As long it takes the rest of a body whose request has been answered already.
    """

    head_s = HEAD_S
    head_bytes = HEAD_BYTES
    _seen_bytes = 0
    _in_message = False
    #: whether a message ended in what came last: what is left of that may be the next head
    _ended = False
    _timer: asyncio.TimerHandle | None = None
    #: when what comes now began, on the clock
    _since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._ended = False
        super().data_received(data)
        if self._answering():
            self._came()
            return
        if not self._in_message and not self._ended:  # a head, or a part of one
            self._seen_bytes += len(data)
            if self._seen_bytes > self.head_bytes and not self.transport.is_closing():
                self.send_400_response("Too large a head.")
                return
        if self._timer is None:
            self._wait()

    def on_headers_complete(self) -> None:
        self._in_message = True
        self._came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message, self._ended = False, True
        self._came()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._came()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of every error; it is counted and written down."""
        error = BadRequestError("The request", msg.rstrip("."), "HTTP/1.1")
        identity = secrets.token_hex(8)
        body = json.dumps(envelope(error, identity)).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {identity}\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        took_s = clock() - self._since_s
        traffic: Traffic = self.app_state["traffic"]
        traffic.add(Served(_NONE, _NONE, 400, error.code, ""), took_s)
        facts: dict[str, Any] = {"method": _NONE, "route": _NONE, "status": 400}
        journal.tell({**facts, "code": error.code}, took_s, identity)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a server may go on with the protocol that it has (RFC 9110, 7.8)."""

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._since_s = clock()
        self._timer = self.loop.call_later(self.head_s, self._too_late)

    def _came(self) -> None:
        self._seen_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if not self._answering() and not self.transport.is_closing():
            self.transport.close()
