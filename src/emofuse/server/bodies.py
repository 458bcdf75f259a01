"""The body of a request: read bit by bit into memory, cut off early, taken apart."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from emofuse.errors import OptionError
from emofuse.options import Options
from emofuse.server.problems import Problem

__all__ = ["Body", "Form", "audio_of", "parse_json", "parse_object", "read_body"]

SLACK = 1 << 20  # bytes of a body that are no audio: text, options, headers of parts
FIELD_BYTES = 1 << 20
LINGER_BYTES, LINGER_SECONDS = 8 << 20, 1.0
Model = TypeVar("Model", bound=Options)


@dataclass(frozen=True)
class Form:
    """A multipart body.

    Attributes:
        files: the contents of the parts ``file``, in order; their names are not kept.
        fields: name -> values of the other parts, in order.
    """

    files: tuple[bytes, ...] = ()
    fields: dict[str, list[str]] = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The value of a field that may be given once.

        Raises:
            Problem: it is given more often.
        """
        found = self.fields.get(name, [])
        if len(found) > 1:
            raise Problem("bad_options", f"field {name!r} is given {len(found)} times; give one")
        return found[0] if found else None

    def known(self, *names: str) -> None:
        """Refuse fields that the address does not know.

        Raises:
            Problem: the first of them.
        """
        for name in self.fields:
            if name not in names:
                legal = ", ".join(("file", *names))
                raise Problem("bad_options", f"unknown field {name[:60]!r}; legal: {legal}")


@dataclass(frozen=True)
class Body:
    """A body that has arrived: JSON as text, or a form."""

    json: bytes | None = None
    form: Form | None = None


class _MemoryParser(MultiPartParser):
    """Keeps every part in memory: the stream is limited, the disk is not touched."""

    spool_max_size = 1 << 62

    def close(self) -> None:
        """Close every part, also one that the body left open."""
        for part in self._files_to_close_on_error:
            part.close()

    @property
    def torn(self) -> bool:
        """Whether the body ended within a file."""
        whole = sum(isinstance(value, UploadFile) for _, value in self.items)
        return whole < len(self._files_to_close_on_error)


async def read_body(request: Request, limit: int, files: int, hold: Callable[[int], None]) -> Body:
    """Read a body.

    Args:
        request: whose body nobody has read.
        limit: bytes of audio in it.
        files: parts that may be files.
        hold: told of bytes that will be held in memory; may refuse them.

    Raises:
        Problem: too large, of another type, broken, or refused.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        most = limit * 4 // 3 + SLACK
        return Body(json=b"".join([chunk async for chunk in _chunks(request, most, hold)]))
    if kind == "multipart/form-data":
        return Body(form=await _form(request, limit + SLACK, files, hold))
    raise Problem(
        "bad_type",
        f"content type {kind[:60]!r} is not taken; legal: multipart/form-data, application/json",
    )


async def _chunks(
    request: Request, most: int, hold: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise Problem("too_large", f"the body has {declared} bytes; at most {most} are taken")
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > most:
                await _linger(request)
                raise Problem("too_large", f"the body has over {most} bytes, which is the most")
            hold(len(chunk))
            yield chunk
    except ClientDisconnect as error:
        raise Problem("bad_request", "the body ends early") from error


async def _linger(request: Request) -> None:
    """Read on for a moment, so that a client still sending gets to see the answer."""
    seen = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            async for chunk in request.stream():
                seen += len(chunk)
                if seen > LINGER_BYTES:
                    return
    except (TimeoutError, ClientDisconnect, RuntimeError):
        return


async def _form(request: Request, most: int, files: int, hold: Callable[[int], None]) -> Form:
    headers = Headers({"content-type": request.headers["content-type"]})
    stream = _chunks(request, most, hold)
    parser = _MemoryParser(
        headers, stream, max_files=files, max_fields=2 * files + 8, max_part_size=FIELD_BYTES
    )
    try:
        data = await parser.parse()
        if parser.torn:
            raise Problem(
                "bad_request", "the form ends within a file: its last boundary is missing"
            )
        return await _sorted(data)
    except MultiPartException as error:
        raise Problem("bad_request", f"the form cannot be read: {error.message}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Problem("bad_request", "the form cannot be read: malformed headers") from error
    finally:
        parser.close()
        await stream.aclose()


async def _sorted(data: FormData) -> Form:
    contents: list[bytes] = []
    fields: dict[str, list[str]] = {}
    for name, value in data.multi_items():
        if isinstance(value, UploadFile) and name == "file":
            contents.append(await value.read())
        elif isinstance(value, UploadFile):
            raise Problem("bad_options", f"field {name[:60]!r} is a file; only 'file' may be")
        elif name == "file":
            raise Problem("bad_options", "field 'file' is no file: its part has no filename")
        else:
            fields.setdefault(name, []).append(value)
    return Form(tuple(contents), fields)


def parse_json(model: type[Model], text: bytes) -> Model:
    """Read a JSON body.

    Raises:
        Problem: no JSON, or not what the address takes.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise Problem("bad_request", "the body is not JSON") from error
    try:
        return model.parse(json.loads(text), "body")
    except (OptionError, ValueError, RecursionError) as error:
        raise Problem("bad_options", _line(error)) from error


def _line(error: Exception) -> str:
    return str(error) if isinstance(error, OptionError) else "the body is not JSON"


def audio_of(text: str, limit: int) -> bytes:
    """Decode base64.

    Raises:
        Problem: it is none, or too large.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("bad_options", "audio is not base64") from error
    if len(data) > limit:
        raise Problem("too_large", f"the audio has {len(data)} bytes; at most {limit} are taken")
    return data


def parse_object(text: str | None, what: str) -> dict[str, Any]:
    """Read a field that holds a JSON object; None is an empty one.

    Raises:
        Problem: it holds something else.
    """
    if text is None or not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem("bad_options", f"field {what!r} is not JSON") from error
    if not isinstance(found, dict):
        raise Problem("bad_options", f"field {what!r} is no JSON object")
    return found
