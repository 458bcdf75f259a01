"""The door of a service: who may enter, what every answer carries, what is written down."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emofuse.server.logs import event, trace_of
from emofuse.server.options import ServerOptions, is_loopback
from emofuse.server.problems import Problem
from emofuse.server.service import Service

__all__ = ["Door", "key_of", "note_problem"]

ALWAYS_OPEN = ("/healthz", "/readyz")
CLOSED = ("/v1/", "/metrics")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


@dataclass
class _Visit:
    """One request on its way.

    Attributes:
        id: random; in the header ``X-Request-ID``, in errors and in the log.
        begun: `time.monotonic`.
        status: of the answer, once there is one.
        code: of the problem, if any.
        facts: for the log.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    begun: float = field(default_factory=time.monotonic)
    status: int = 0
    code: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Door:
    """ASGI middleware around a service's application.

    Args:
        app: what is inside.
        service: whose door it is.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._hosts = _hosts(service.options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or say why not."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = _Visit()
        scope.setdefault("state", {})["visit"] = visit

        async def outward(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                self._dress(MutableHeaders(scope=message), visit)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, outward)
        except Problem as problem:
            await _answer(problem, visit, outward)
        except Exception as error:  # noqa: BLE001 (a client gets an answer, the log the place)
            event("internal_error", logging.ERROR, request=visit.id, **trace_of(error))
            if not visit.status:
                await _answer(Problem("internal", "internal error"), visit, outward)
        finally:
            self._note(scope, visit)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        self._check_origin(headers)
        if path in ALWAYS_OPEN:
            return
        if self._service.stopping.is_set():
            raise Problem("stopping", "the service is being shut down", retry_after=5)
        if path.startswith(CLOSED) and not self._service.keys.admits(key_of(headers)):
            raise Problem(
                "unauthorised",
                "give an API key: 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )

    def _check_origin(self, headers: Headers) -> None:
        """Keep out pages of other sites and names that were bent to this address."""
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise Problem("wrong_host", "the Host header names another machine")
        origin = headers.get("origin")
        if origin is None or origin in self._service.options.allow_origin:
            return
        if origin.partition("://")[2].lower() != host.lower():
            raise Problem("forbidden", "pages of other origins may not ask")

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        visit = _Visit()
        scope.setdefault("state", {})["visit"] = visit
        try:
            self._check_origin(headers)
            if self._service.stopping.is_set():
                raise Problem("stopping", "the service is being shut down")
        except Problem as problem:
            self._service.watch.refused(problem.code)
            await send({"type": "websocket.close", "code": 1008, "reason": problem.code})
            return
        scope["state"]["admitted"] = self._service.keys.admits(key_of(headers))
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001
            event("internal_error", logging.ERROR, request=visit.id, **trace_of(error))
            await _close(send)
        finally:
            took = round(1000 * (time.monotonic() - visit.begun), 1)
            event("stream", request=visit.id, milliseconds=took, code=visit.code, **visit.facts)

    def _dress(self, headers: MutableHeaders, visit: _Visit) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers["X-Request-ID"] = visit.id
        if self._service.stopping.is_set():
            headers["Connection"] = "close"

    def _note(self, scope: Scope, visit: _Visit) -> None:
        took = time.monotonic() - visit.begun
        route = getattr(scope.get("route"), "path", "other")
        self._service.watch.answered(route, visit.status, took)
        if visit.code is not None:
            self._service.watch.refused(visit.code)
        event(
            "request",
            request=visit.id,
            method=scope["method"] if scope["method"] in METHODS else "other",
            route=route,
            status=visit.status,
            milliseconds=round(1000 * took, 1),
            code=visit.code,
            **visit.facts,
        )


METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def key_of(headers: Headers) -> str | None:
    """Find the API key that a request brings."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key")


def note_problem(scope: Scope, problem: Problem) -> str:
    """Remember what went wrong for the log; give the request's id."""
    visit: _Visit = scope["state"]["visit"]
    visit.code = problem.code
    return visit.id


async def _answer(problem: Problem, visit: _Visit, send: Send) -> None:
    visit.code = problem.code
    body = problem.body(visit.id)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **problem.headers,
    }
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _close(send: Send) -> None:
    try:
        await send({"type": "websocket.close", "code": 1011})
    except RuntimeError:  # it is closed already
        return


def _hosts(options: ServerOptions) -> frozenset[str] | None:
    if options.allow_host:
        return frozenset(name.lower() for name in options.allow_host)
    if not is_loopback(options.host):
        return None
    return frozenset({"localhost", "127.0.0.1", "::1", options.host.strip("[]").lower()})


def _name(host: str) -> str:
    """The name in a Host header, without its port.

    >>> _name("localhost:8000"), _name("[::1]:80"), _name("LOCALHOST")
    ('localhost', '::1', 'localhost')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
