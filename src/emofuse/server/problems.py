"""Everything a service can answer that is no success, in one shape."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from emofuse.options import Options

__all__ = ["CODES", "ErrorAnswer", "ErrorNote", "Problem"]

CODES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "the body cannot be read as what it says it is"),
    "unauthorised": (401, "no API key, or not a legal one"),
    "forbidden": (403, "the page that asks is not allowed to (Origin)"),
    "not_found": (404, "there is no such address"),
    "bad_method": (405, "the address does not take this method"),
    "slow_upload": (408, "the body did not arrive in time"),
    "too_large": (413, "more bytes than this service takes"),
    "too_long": (413, "more seconds of audio, more text or more items than this service takes"),
    "bad_type": (415, "a content type that the address does not take"),
    "wrong_host": (421, "the Host header names another machine"),
    "bad_options": (422, "a field is missing, unknown or has an illegal value"),
    "bad_audio": (422, "the audio cannot be read"),
    "no_answer": (422, "the model cannot answer from what was given"),
    "busy": (429, "the queue is full; ask again after Retry-After seconds"),
    "internal": (500, "a mistake of the service; its log has the request id"),
    "stopping": (503, "the service is being shut down"),
    "timeout": (504, "no answer within the time limit"),
}
"""Code -> HTTP status and meaning."""


class ErrorNote(Options):
    """What went wrong.

    Attributes:
        code: one of `CODES`.
        message: one line for people.
        request_id: also in the header ``X-Request-ID`` and in the log.
    """

    code: str = Field(examples=["bad_audio"])
    message: str = Field(examples=["the audio holds no samples"])
    request_id: str | None = Field(default=None, examples=["8d1f0c6e2b7a4c55"])


class ErrorAnswer(Options):
    """The body of every answer that is no success."""

    error: ErrorNote


class Problem(Exception):  # noqa: N818 (it is an answer as much as an error)
    """An answer that is no success.

    Args:
        code: one of `CODES`.
        message: one line; what is wrong, what is legal.
        retry_after: seconds after which it may go better.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
        self.status = CODES[code][0]
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(math.ceil(retry_after), 1))
        if code == "unauthorised":
            self.headers["WWW-Authenticate"] = "Bearer"

    def body(self, request_id: str | None = None) -> bytes:
        """The JSON of the answer."""
        note = ErrorNote(code=self.code, message=str(self), request_id=request_id)
        return ErrorAnswer(error=note).model_dump_json().encode()
