"""The application: addresses, errors in one shape, the page, the document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from emofuse import __version__
from emofuse.server.doors import Door, note_problem
from emofuse.server.pages import add_page
from emofuse.server.problems import Problem
from emofuse.server.routes import make_router
from emofuse.server.service import Service
from emofuse.server.stream import serve_stream

__all__ = ["make_app"]

DESCRIPTION = (
    "Recognises emotion in speech from audio, text, or both. Errors have one shape. A stream is a "
    "WebSocket at /v1/stream: a greeting in JSON, chunks of samples, segments back."
)


def make_app(service: Service) -> ASGIApp:
    """Give the application of a service; its lifespan starts and stops the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    app = FastAPI(
        title="emofuse",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.include_router(make_router(service))

    async def stream(socket: WebSocket) -> None:
        await serve_stream(socket, service)

    app.add_api_websocket_route("/v1/stream", stream)
    if service.options.page:
        add_page(app)
    _add_errors(app)
    _add_keys(app, service)
    return _dressed(app, service)


def _dressed(app: FastAPI, service: Service) -> ASGIApp:
    door = Door(app, service)
    if not service.options.allow_origin:
        return door
    return CORSMiddleware(
        door,
        allow_origins=list(service.options.allow_origin),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "X-API-Key", "Content-Type"],
        expose_headers=["X-Request-ID", "Retry-After"],
    )


def _add_errors(app: FastAPI) -> None:
    async def problem_of(request: Request, error: Exception) -> Response:
        problem = error if isinstance(error, Problem) else _translated(error)
        name = note_problem(request.scope, problem)
        headers = {"Cache-Control": "no-store", **problem.headers}
        return Response(problem.body(name), problem.status, headers, "application/json")

    for kind in (Problem, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, problem_of)


def _translated(error: Exception) -> Problem:
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        if error.status_code == 404:
            return Problem("not_found", "there is no such address; see /openapi.json")
        if error.status_code == 405:
            legal = headers.get("Allow", "another method")
            return Problem("bad_method", f"the address takes {legal}", headers=headers)
    if isinstance(error, HTTPException | RequestValidationError):
        return Problem("bad_request", "the request cannot be read")
    return Problem("internal", "internal error; the log of the service has the request id")


def _add_keys(app: FastAPI, service: Service) -> None:
    """Say in the document how a key is given, where keys are wanted."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        if service.keys:
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["bearer"] = {"type": "http", "scheme": "bearer"}
            schemes["header"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            for path, operations in document["paths"].items():
                if path.startswith(("/v1/", "/metrics")):
                    for operation in operations.values():
                        operation["security"] = [{"bearer": []}, {"header": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
