"""The page: files of this package under fixed names, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["add_page"]

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def add_page(app: FastAPI) -> None:
    """Serve ``page/index.html`` at ``/`` and the files beside it at ``/page/<name>``."""
    for entry in files("emofuse.server").joinpath("page").iterdir():
        kind = KINDS.get("." + entry.name.rpartition(".")[2])
        if kind is None:
            continue
        place = "/" if entry.name == "index.html" else f"/page/{entry.name}"
        app.router.routes.append(_route(place, entry.read_bytes(), kind))


def _route(place: str, content: bytes, kind: str) -> Route:
    headers = {"Content-Type": kind, "Cache-Control": "no-cache"}

    async def give(request: object) -> Response:
        return Response(content, headers=headers)

    return Route(place, give, methods=["GET"], include_in_schema=False)
