"""The page: files of this package under fixed names, nothing from elsewhere."""

from __future__ import annotations

import json
from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import Route

from emofuse.recognition.timeline_page import COLOURS, SPARE

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
    app.router.routes.append(_route("/page/colours.js", _colours().encode(), KINDS[".js"]))


def _colours() -> str:
    """The colours of emotions, those of the timeline's page (see `timeline_page.colour_of`)."""
    return (
        f"const COLOURS = {json.dumps(COLOURS)};\nconst SPARE = {json.dumps(SPARE)};\n"
        "export function colourOf(emotion, classes) {\n"
        "  if (emotion in COLOURS) return COLOURS[emotion];\n"
        "  const strangers = classes.filter((name) => !(name in COLOURS));\n"
        "  return SPARE[Math.max(strangers.indexOf(emotion), 0) % SPARE.length];\n"
        "}\n"
    )


def _route(place: str, content: bytes, kind: str) -> Route:
    headers = {"Content-Type": kind, "Cache-Control": "no-cache"}

    async def give(request: object) -> Response:
        return Response(content, headers=headers)

    return Route(place, give, methods=["GET"], include_in_schema=False)
