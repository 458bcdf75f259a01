"""The addresses of a service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from emofuse.options import Options
from emofuse.recognition.answer import Recognition
from emofuse.recognition.timeline import Timeline
from emofuse.recognition.timeline_text import TIMELINE_FORMATS
from emofuse.server.bodies import Body, Form, audio_of, parse_json, parse_object, read_body
from emofuse.server.documents import body_of, errors_of, form_of
from emofuse.server.examples import ANSWER, BATCH, MODELS, TIMELINE, tone
from emofuse.server.messages import (
    BatchAnswer,
    BatchRequest,
    Health,
    ItemRequest,
    Models,
    RecogniseRequest,
    TimelineRequest,
    UtteranceRequest,
)
from emofuse.server.problems import Problem
from emofuse.server.service import Asked, Service
from emofuse.server.watch import CONTENT_TYPE

__all__ = ["make_router"]

COMMON = ("unauthorised", "forbidden", "wrong_host", "stopping", "internal")
BODIES = (
    *("bad_request", "slow_upload", "too_large", "too_long", "bad_type"),
    *("bad_options", "bad_audio", "no_answer", "busy", "timeout"),
)
PLAIN = "text/plain; charset=utf-8"
MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
Model = TypeVar("Model", bound=Options)


def make_router(service: Service) -> APIRouter:
    """Give the addresses; ``service`` does the work."""
    router = APIRouter()
    _add_work(router, _Work(service))
    _add_state(router, service)
    return router


def _add_work(router: APIRouter, work: _Work) -> None:
    items = work.service.options.max_items
    one = body_of(
        RecogniseRequest,
        form_of(RecogniseRequest, files=1, needs_file=False),
        {"audio and text": {"audio": tone(), "text": "you are late again", "id": "call 1"}},
    )
    many = body_of(
        BatchRequest,
        form_of(ItemRequest, files=items, needs_file=True, texts=("text", "id", "speaker")),
        {"two": {"items": [{"audio": tone(), "id": "one"}, {"audio": tone(), "id": "two"}]}},
    )
    many["requestBody"]["content"]["application/json"]["schema"] = _batch_schema(items)
    long = body_of(
        TimelineRequest,
        form_of(TimelineRequest, files=1, needs_file=True),
        {"subtitles": {"audio": tone(), "format": "srt", "settings": {"window": 2.0}}},
    )
    router.add_api_route(
        "/v1/recognize",
        work.recognise,
        methods=["POST"],
        response_model=Recognition | BatchAnswer,
        responses={200: _example(ANSWER), **errors_of(*COMMON, *BODIES)},
        openapi_extra=one,
        summary="Recognise one utterance.",
        operation_id="recognize",
    )
    router.add_api_route(
        "/v1/recognize/batch",
        work.recognise_all,
        methods=["POST"],
        response_model=BatchAnswer,
        responses={200: _example(BATCH), **errors_of(*COMMON, *BODIES)},
        openapi_extra=many,
        summary="Recognise several utterances.",
        operation_id="recognizeBatch",
    )
    texts = {kind: {"schema": {"type": "string"}} for kind in _kinds() if kind != MEDIA["json"]}
    found: dict[str, Any] = _example(TIMELINE)
    found["content"] |= texts
    router.add_api_route(
        "/v1/timeline",
        work.timeline,
        methods=["POST"],
        response_model=Timeline,
        responses={200: found, **errors_of(*COMMON, *BODIES)},
        openapi_extra=long,
        summary="Cut a recording into segments of one emotion.",
        operation_id="timeline",
    )


def _add_state(router: APIRouter, service: Service) -> None:
    async def models() -> Response:
        return _json(service.models())

    async def alive() -> Response:
        return _json(Health(status="ok", waiting=service.batcher.waiting))

    async def ready() -> Response:
        if service.ready:
            return _json(Health(status="ready", waiting=service.batcher.waiting))
        state = "stopping" if service.stopping.is_set() else "failed"
        return _json(Health(status=state), 503)

    async def metrics() -> Response:
        return Response(service.watch.text(), headers={"Content-Type": CONTENT_TYPE})

    router.add_api_route(
        "/v1/models",
        models,
        response_model=Models,
        responses={200: _example(MODELS), **errors_of(*COMMON)},
        summary="The model that answers, and what the service takes.",
        operation_id="models",
    )
    router.add_api_route(
        "/healthz",
        alive,
        response_model=Health,
        responses={
            200: _example({"status": "ok", "waiting": 0}),
            **errors_of("forbidden", "wrong_host"),
        },
        summary="Is the process alive?",
        operation_id="alive",
    )
    router.add_api_route(
        "/readyz",
        ready,
        response_model=Health,
        responses={
            200: _example({"status": "ready", "waiting": 0}),
            503: {"model": Health, **_example({"status": "stopping", "waiting": 0})},
            **errors_of("forbidden", "wrong_host"),
        },
        summary="Would a request be answered?",
        operation_id="ready",
    )
    plain = {"text/plain": {"schema": {"type": "string"}, "example": "emofuse_waiting 0.0\n"}}
    router.add_api_route(
        "/metrics",
        metrics,
        response_class=Response,
        responses={200: {"content": plain}, **errors_of(*COMMON)},
        summary="Counters for Prometheus.",
        operation_id="metrics",
    )


class _Work:
    """The addresses that read a body: within limits of place, bytes and time."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def recognise(self, request: Request) -> Response:
        """Say which emotion one utterance has, from its audio, its words, or both.

        A form takes one part `file`. The channels of the audio are mixed; with `channels` "each"
        the answer holds one answer a channel, as that of a batch does.
        """
        with self.service.queue.hold():
            async with self._visit(request, self.service.options.time_limit) as visit:
                body = await visit.body(1)
                asked, each = await visit.aside(lambda: self._one(body))
                if each:
                    return await self._channels(asked, visit)
                answer = await self.service.recognise(asked, visit.until, "/v1/recognize")
                visit.facts["audio_seconds"] = answer.seconds
        return _json(answer)

    async def _channels(self, asked: Asked, visit: _Reading) -> Response:
        answers = await self.service.recognise_channels(asked, visit.until, "/v1/recognize")
        visit.facts |= {"items": len(answers), "audio_seconds": answers[0].seconds}
        return _json(BatchAnswer(answers=tuple(answers)))

    async def recognise_all(self, request: Request) -> Response:
        """Say which emotion each of several utterances has.

        One that cannot be answered says why in `error`, and the rest is answered. Items that name
        a `speaker` are adapted to that voice. A form takes parts `file` and as many or no `text`,
        `id` and `speaker`, in the same order.
        """
        o = self.service.options
        async with self._visit(request, o.time_limit) as visit:
            with self.service.queue.hold():
                body = await visit.body(o.max_items)
                every = await visit.aside(lambda: self._many(body))
            with self.service.queue.hold(len(every)):
                answers = await self.service.recognise_all(
                    every, visit.until, "/v1/recognize/batch"
                )
            visit.facts |= {
                "items": len(every),
                "audio_seconds": round(sum(one.seconds or 0.0 for one in answers), 3),
            }
        return _json(BatchAnswer(answers=tuple(answers)))

    async def timeline(self, request: Request) -> Response:
        """Find who speaks when with which emotion in a recording.

        `format` says how the answer is written: json, csv, srt, vtt, rttm, audacity or html.
        """
        with self.service.recordings.hold():
            async with self._visit(request, self.service.options.timeline_limit) as visit:
                body = await visit.body(1)
                asked, form, settings = await visit.aside(lambda: self._recording(body))
                text = await self.service.timeline(asked, settings, form, visit.until)
        return Response(text, headers={"Content-Type": MEDIA.get(form, PLAIN)})

    @asynccontextmanager
    async def _visit(self, request: Request, limit: float) -> AsyncIterator[_Reading]:
        reading = _Reading(self.service, request, time.monotonic() + limit)
        try:
            async with asyncio.timeout(limit):
                yield reading
        except TimeoutError as error:
            if reading.arrived:
                raise Problem("timeout", f"no answer within {limit:g} seconds") from error
            raise Problem("slow_upload", f"the body did not arrive in {limit:g} seconds") from error
        finally:
            self.service.held.give(reading.held)

    def _one(self, body: Body) -> tuple[Asked, bool]:
        """What is asked, and whether about each channel."""
        if body.form is None:
            found = parse_json(RecogniseRequest, body.json or b"")
            return self._asked(found), found.channels == "each"
        form = body.form
        form.known("text", "id", "channels")
        if len(form.files) > 1:
            raise Problem("bad_options", f"there are {len(form.files)} files; give one")
        audio = form.files[0] if form.files else None
        fields = {"text": form.one("text"), "id": form.one("id")}
        said = _checked(RecogniseRequest, fields | {"channels": form.one("channels") or "mix"})
        return Asked(audio, said.text, said.id), said.channels == "each"

    def _many(self, body: Body) -> list[Asked]:
        most = self.service.options.max_items
        if body.form is None:
            batch = parse_json(BatchRequest, body.json or b"")
            if len(batch.items) > most:
                raise Problem("too_long", f"there are {len(batch.items)} items; at most {most}")
            return [replace(self._asked(one), speaker=one.speaker) for one in batch.items]
        form = body.form
        form.known("text", "id", "speaker")
        if not form.files:
            raise Problem("bad_options", "there is no part 'file'; give one or more")
        beside = [_beside(form, name) for name in ("text", "id", "speaker")]
        return [
            _item(audio, text, name, speaker)
            for audio, text, name, speaker in zip(form.files, *beside, strict=True)
        ]

    def _recording(self, body: Body) -> tuple[Asked, str, dict[str, Any]]:
        if body.form is None:
            found = parse_json(TimelineRequest, body.json or b"")
            audio = audio_of(found.audio, self.service.options.max_bytes)
        else:
            form = body.form
            form.known("id", "format", "settings")
            if len(form.files) != 1:
                raise Problem("bad_options", f"there are {len(form.files)} files; give one")
            audio = form.files[0]
            given = {"id": form.one("id"), "format": form.one("format") or "json"}
            settings = parse_object(form.one("settings"), "settings")
            found = _checked(TimelineRequest, {"audio": "", "settings": settings, **given})
        return Asked(audio, None, found.id), found.format, found.settings

    def _asked(self, given: UtteranceRequest) -> Asked:
        limit = self.service.options.max_bytes
        audio = None if given.audio is None else audio_of(given.audio, limit)
        return Asked(audio, given.text, given.id)


class _Reading:
    """One request while its body is read and worked on."""

    def __init__(self, service: Service, request: Request, until: float) -> None:
        self._service, self._request = service, request
        self.until = until
        self.held = 0
        self.arrived = False
        self.facts: dict[str, Any] = request.scope["state"]["visit"].facts

    async def body(self, files: int) -> Body:
        """Read it."""

        def hold(count: int) -> None:
            self._service.held.take(count)
            self.held += count

        found = await read_body(self._request, self._service.options.max_bytes, files, hold)
        self.arrived = True
        self.facts["bytes"] = self.held
        return found

    async def aside(self, work: Callable[[], Any]) -> Any:
        """Do in a thread what takes long for a large body."""
        if self.held < 1 << 16:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._service.decoders, work)


def _checked(model: type[Model], values: dict[str, Any]) -> Model:
    from emofuse.errors import OptionError

    try:
        return model.parse(values, "form")
    except OptionError as error:
        raise Problem("bad_options", str(error)) from error


def _item(audio: bytes, text: str | None, name: str | None, speaker: str | None) -> Asked:
    said = _checked(ItemRequest, {"id": name, "speaker": speaker})
    return Asked(audio, text, said.id, said.speaker)


def _beside(form: Form, name: str) -> list[str | None]:
    found: list[str | None] = list(form.fields.get(name, []))
    if found and len(found) != len(form.files):
        raise Problem(
            "bad_options", f"there are {len(found)} fields {name!r} for {len(form.files)} files"
        )
    return found or [None] * len(form.files)


def _json(answer: Options, status: int = 200) -> Response:
    return Response(answer.model_dump_json(), status, media_type="application/json")


def _example(value: object) -> dict[str, Any]:
    return {"content": {"application/json": {"example": value}}}


def _kinds() -> list[str]:
    every = [MEDIA.get(form, PLAIN) for form in TIMELINE_FORMATS]
    return sorted({kind.partition(";")[0] for kind in every})


def _batch_schema(most: int) -> dict[str, Any]:
    one = ItemRequest.model_json_schema()
    items = {"type": "array", "minItems": 1, "maxItems": most, "items": one}
    return {
        "type": "object",
        "title": "BatchRequest",
        "properties": {"items": items},
        "required": ["items"],
        "additionalProperties": False,
    }
