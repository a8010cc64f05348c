"""What every request passes before a route sees it, outermost first.

Its id, and the last net under everything that fails; the name it asked for; where its page comes
from, and what a browser asks before that page may send it; its key; its rate. Plain ASGI, since
nothing here reads a body.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from workbench.errors import (
    BadRequestError,
    CancelledError,
    EngineMemoryError,
    MethodNotAllowedError,
    NotFoundError,
    RateLimitedError,
    UnauthorisedError,
    WorkbenchError,
    choices,
)
from workbench.service import journal
from workbench.service.admission import ClientGoneError
from workbench.service.problem import InternalError, envelope, headers_of, status_of
from workbench.service.room import Room
from workbench.service.traffic import Served, Traffic
from workbench.timing import clock

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from workbench.service.policy import Policy

#: What a client may choose as the id of its request.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: The only address that needs no key.
OPEN = frozenset({"/health"})
#: Headers of an answer that the script of another page may read.
SHOWN = ("x-request-id", "retry-after", "inference-header-content-length")


class Gate:
    """The outermost layer of the service.

    Parameters
    ----------
    app : the routes
    policy : what is allowed
    traffic : where each request is counted
    """

    def __init__(self, app: ASGIApp, *, policy: Policy, traffic: Traffic) -> None:
        self.app, self.policy, self.traffic = app, policy, traffic
        # errors are answered inside of what adds the headers for browsers, so that the script of
        # a page that may ask can also read what is wrong
        inner = _answering(self._let_in)
        self._pages = Pages(inner, policy.origins) if policy.origins else inner
        self._all = _answering(self._known)
        # its storage has a thread of its own
        self._rates = None if policy.rate is None else MovingWindowRateLimiter(MemoryStorage())
        self.room = Room(policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = identity
        token = journal.request_id.set(identity)
        started = state["begun"] = clock()
        state["status"] = 0
        state["share"] = share = self.room.share()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", identity.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        async def receiving() -> Message:
            message = await receive()
            share.take(len(message.get("body", b"")))
            return message

        self.traffic.open += 1
        try:
            await self._all(scope, receiving, sending)
        finally:
            share.close()
            self.traffic.open -= 1
            self._note(scope, state["status"] or 499, clock() - started)
            journal.request_id.reset(token)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        """Count a request, and write it down; 499 is one whose client left."""
        state, route = scope["state"], _route(scope)
        facts = {"method": scope["method"], "route": route, "status": status}
        facts |= {name: state.get(name, "") for name in ("code", "model", "key")}
        served = Served(route, scope["method"], status, facts["code"], facts["model"])
        self.traffic.add(served, took_s)
        journal.tell(facts, took_s, state["request_id"])

    async def _known(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what asks for this service, from a page that may."""
        policy = self.policy
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = hosts[0] if len(hosts) == 1 else ""
        if len(hosts) > 1 or not policy.knows_host(_name(host)):
            raise BadRequestError("The Host header", ", ".join(hosts), "a name of this service")
        origin = dict(scope["headers"]).get(b"origin", b"").decode("latin-1")
        if origin and origin not in (*policy.origins, f"http://{host}", f"https://{host}"):
            raise BadRequestError("The Origin header", origin, "a page that is allowed here")
        await self._pages(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has a key, and does not come too often."""
        keys, who = self.policy.keys, (scope.get("client") or ("",))[0]
        if scope["path"] not in OPEN:
            if keys:
                holder = keys.holder(scope["headers"])
                if holder is None:
                    self._limit(f"stranger {who}")
                    raise UnauthorisedError
                scope["state"]["key"] = who = holder
            self._limit(who)
        await self.app(scope, receive, send)

    def _limit(self, who: str) -> None:
        rate = self.policy.rate
        if rate is None or self._rates is None or self._rates.hit(rate, who):
            return
        window = self._rates.get_window_stats(rate, who)
        raise RateLimitedError(str(rate), max(1.0, window.reset_time - time.time()))


class Pages(CORSMiddleware):
    """The layer that lets browsers give answers to the scripts of named pages."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=SHOWN,
        )  # fmt: skip
        self.allow_private_network = True  # whoever names a page means it, wherever it comes from

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer what a browser asks before a page may send something.

        Raises
        ------
        BadRequestError : the page may not
        """
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        if not self.is_allowed_origin(request_headers["origin"]):
            raise BadRequestError(
                "The Origin header", request_headers["origin"], "a page that is allowed here"
            )
        raise BadRequestError(
            "The Access-Control-Request-Method header",
            request_headers["access-control-request-method"], choices(self.allow_methods),
        )  # fmt: skip


def _answering(app: ASGIApp) -> ASGIApp:
    """Answer whatever a layer raises: nothing goes by unclassified."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ClientGoneError:
            scope["state"]["code"] = "cancelled"
        except (Exception, asyncio.CancelledError) as error:
            if scope["state"]["status"]:  # the answer is under way: nothing can be said any more
                raise
            await answer(error, scope)(scope, receive, send)

    return answering


def _name(host: str) -> str:
    """Return a Host header without its port: ``[::1]:3000`` is ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _route(scope: Scope) -> str:
    """Return the pattern of the route that answered; strangers' addresses are all one."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "(none)"


def answer(error: BaseException, scope: Scope) -> JSONResponse:
    """Return the response to an error, whatever it is, and note its code."""
    state: MutableMapping[str, Any] = scope.setdefault("state", {})
    known = classified(error, scope["method"])
    if known.code == "internal":
        journal.log.error("A request failed in an unforeseen way.", exc_info=error)
    elif status_of(known) >= 500:
        journal.log.warning("%s", known)
    state["code"] = known.code
    protocol = "v2" if scope["path"].startswith("/v2") else ""
    return JSONResponse(
        envelope(known, state.get("request_id", ""), protocol=protocol),
        status_code=status_of(known),
        headers=headers_of(known),
    )


def classified(error: BaseException, method: str = "") -> WorkbenchError:
    """Return an error of ours for anything that was raised."""
    if isinstance(error, WorkbenchError):
        return InternalError() if error.code == "internal" else error
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return NotFoundError("page of that address")
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            return MethodNotAllowedError(method, [m for m in allowed.split(", ") if m])
        if error.status_code < 500:
            return BadRequestError("The request", error.detail, "what docs/API.md says")
    if isinstance(error, MemoryError):
        return EngineMemoryError("", "answering with", "the process has none left")
    if isinstance(error, asyncio.CancelledError):  # the service ends
        return CancelledError("The request")
    return InternalError()
