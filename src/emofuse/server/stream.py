"""The WebSocket: a greeting, chunks of sound in, segments out, a last word."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from emofuse.errors import EmofuseError, MediaError, OptionError
from emofuse.options import Options
from emofuse.recognition.stream import Stream
from emofuse.recognition.timeline import Segment
from emofuse.server.messages import Final, Heard, Hello, Ready, SegmentMessage, StreamError
from emofuse.server.problems import ErrorNote, Problem
from emofuse.server.service import STREAM_DELAY, Service

__all__ = ["MAX_MESSAGE", "serve_stream"]

MAX_MESSAGE = 1 << 20  # bytes
HELLO_SECONDS = 10.0
CLOSE = {"unauthorised": 1008, "busy": 1013, "stopping": 1012, "internal": 1011, "bad_audio": 1007}
Reason = Literal["end", "limit", "idle", "stopping"]


async def serve_stream(socket: WebSocket, service: Service) -> None:
    """Serve one stream from its greeting to its end."""
    await socket.accept()
    visit = socket.scope["state"]["visit"]
    try:
        hello = await _greeted(socket, service)
        with service.streams.hold():
            await _Talk(socket, service, hello).go()
    except Problem as problem:
        visit.code = problem.code
        service.watch.refused(problem.code)
        note = ErrorNote(code=problem.code, message=str(problem), request_id=visit.id)
        await _say(socket, StreamError(error=note))
        await _close(socket, CLOSE.get(problem.code, 1008))
    except WebSocketDisconnect:
        visit.code = "gone"


class _Talk:
    """One stream: sound goes to threads, messages come back, one at a time."""

    def __init__(self, socket: WebSocket, service: Service, hello: Hello) -> None:
        self._socket, self._service, self._hello = socket, service, hello
        options = service.timeline_options(hello.settings, STREAM_DELAY)
        if options.channels == "each":
            raise Problem("bad_options", "a stream mixes its channels; open one a channel instead")
        if options.adapt == "recording":
            raise Problem("bad_options", "a stream hears no future: adapt 'causal', or off")
        try:
            self._stream: Stream = service.recognizer.stream(
                hello.rate, options, answer=service.windows()
            )
        except EmofuseError as error:
            raise Problem("no_answer", str(error)) from error
        self._kind = "<i2" if hello.encoding == "pcm16" else "<f4"
        self._frames = 0
        self._told = 0.0
        self._given = 0

    @property
    def _seconds(self) -> float:
        return self._frames / self._hello.rate

    async def go(self) -> None:
        """Listen until the end."""
        ready = Ready(
            classes=self._service.recognizer.classes,
            latency=self._stream.latency,
            model=self._service.model,
        )
        await _say(self._socket, ready)
        reason: Reason = "end"
        try:
            reason = await self._listen()
            await self._give(await self._aside(self._stream.finish))
        finally:
            self._service.watch.heard("/v1/stream", self._seconds)
            self._socket.scope["state"]["visit"].facts |= {
                "audio_seconds": round(self._seconds, 3),
                "segments": self._given,
                "reason": reason,
            }
        final = Final(
            seconds=self._seconds,
            segments=self._given,
            reason=reason,
            language=self._stream.language,
        )
        await _say(self._socket, final)
        await _close(self._socket, 1012 if reason == "stopping" else 1000)

    async def _listen(self) -> Reason:
        limit = self._service.options.stream_seconds
        stopping = asyncio.create_task(self._service.stopping.wait())
        try:
            while self._seconds < limit:
                message = await self._next(stopping)
                if not isinstance(message, dict):
                    return message
                if message.get("bytes") is not None:
                    await self._hear(message["bytes"])
                elif _is_end(message.get("text")):
                    return "end"
        finally:
            stopping.cancel()
        return "limit"

    async def _next(self, stopping: asyncio.Task[Literal[True]]) -> dict[str, Any] | Reason:
        """The next message, or why there is none."""
        coming = asyncio.create_task(self._socket.receive())
        wait = self._service.options.idle_seconds
        try:
            await asyncio.wait(
                (coming, stopping), timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            if not coming.done():
                return "stopping" if stopping.done() else "idle"
        finally:
            if not coming.done():
                coming.cancel()
        message: dict[str, Any] = dict(coming.result())
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return message

    async def _hear(self, data: bytes) -> None:
        chunk = self._samples(data)
        self._frames += len(chunk)
        await self._give(await self._aside(self._stream.feed, chunk))
        if self._seconds - self._told >= 1.0:
            self._told = self._seconds
            await _say(self._socket, Heard(seconds=self._seconds))

    def _samples(self, data: bytes) -> NDArray[Any]:
        channels = self._hello.channels
        width = channels * np.dtype(self._kind).itemsize
        if len(data) > MAX_MESSAGE:
            raise Problem("too_large", f"a chunk of {len(data)} bytes; at most {MAX_MESSAGE}")
        if len(data) % width:
            raise Problem(
                "bad_audio",
                f"a chunk of {len(data)} bytes is no whole number of frames of {width} bytes",
            )
        return np.frombuffer(data, self._kind).reshape(-1, channels)

    async def _aside(self, work: Any, *given: Any) -> list[Segment]:
        loop = asyncio.get_running_loop()
        try:
            found: list[Segment] = await loop.run_in_executor(self._service.workers, work, *given)
        except MediaError as error:
            raise Problem("bad_audio", str(error)) from error
        except EmofuseError as error:
            raise Problem("no_answer", str(error)) from error
        return found

    async def _give(self, segments: list[Segment]) -> None:
        self._given += len(segments)
        self._service.watch.segments(len(segments))
        for one in segments:
            await _say(self._socket, SegmentMessage(segment=one))


async def _greeted(socket: WebSocket, service: Service) -> Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            message = await socket.receive()
    except TimeoutError as error:
        raise Problem("slow_upload", "no greeting came") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None:
        raise Problem("bad_options", "the first message must be a greeting in JSON")
    hello = _read_hello(text)
    if not socket.scope["state"]["admitted"] and not service.keys.admits(hello.key):
        raise Problem("unauthorised", "give an API key: a header, or 'key' in the greeting")
    return hello


def _read_hello(text: str) -> Hello:
    try:
        return Hello.model_validate_json(text)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise Problem("bad_request", "the greeting is not JSON") from error
    try:
        return Hello.parse(json.loads(text), "greeting")
    except OptionError as error:
        raise Problem("bad_options", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise Problem("bad_request", "the greeting is not JSON") from error


def _is_end(text: str | None) -> bool:
    """Whether a message ends the stream; any other text is a mistake.

    Raises:
        Problem: it says something else.
    """
    if text is not None and "".join(text.split()) == '{"type":"end"}':
        return True
    raise Problem("bad_options", 'after the greeting, text may only be {"type": "end"}')


async def _say(socket: WebSocket, message: Options) -> None:
    """Send, unless nobody is there any more."""
    if socket.application_state is not WebSocketState.CONNECTED:
        return
    try:
        await socket.send_text(message.model_dump_json())
    except RuntimeError as error:
        raise WebSocketDisconnect(1006) from error


async def _close(socket: WebSocket, code: int) -> None:
    try:
        await socket.close(code)
    except (RuntimeError, WebSocketDisconnect):
        return
