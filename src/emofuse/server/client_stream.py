"""The client's end of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from emofuse.errors import OptionError, WorkError
from emofuse.recognition.timeline import Segment
from emofuse.server.messages import Final, Ready, SegmentMessage

__all__ = ["ClientStream"]

LARGEST = 1 << 16  # samples of one message


class ClientStream:
    """Sends samples and gathers segments; made by `Client.stream`.

    Args:
        socket: an open WebSocket of ``websockets.sync``.
        rate: hertz.
        settings: how it is cut up.

    Attributes:
        ready: what the service said first.
        final: what it said last, once it did.

    Raises:
        WorkError: the service does not take the stream.
    """

    def __init__(self, socket: Any, rate: int, settings: Mapping[str, Any]) -> None:
        self._socket = socket
        self.final: Final | None = None
        socket.send(json.dumps({"rate": rate, "encoding": "float32", "settings": dict(settings)}))
        try:
            self.ready = Ready.model_validate(self._next(None))
        except ValidationError as error:
            raise WorkError("the service does not greet as this emofuse knows it") from error

    def send(self, samples: NDArray[Any]) -> list[Segment]:
        """Send samples; give the segments that came back meanwhile.

        Args:
            samples: ``(samples,)``, float in [-1, 1] or 16-bit integer.

        Raises:
            OptionError: another shape or type.
            WorkError: the service ended the stream with an error.
        """
        wave = np.asarray(samples)
        if wave.ndim != 1 or wave.dtype.kind not in "fi":
            raise OptionError(f"samples of shape {wave.shape}, type {wave.dtype}; give (samples,)")
        if wave.dtype.kind == "i":
            wave = wave / -float(np.iinfo(wave.dtype).min)
        flat = wave.astype("<f4")
        for first in range(0, len(flat), LARGEST):
            self._socket.send(flat[first : first + LARGEST].tobytes())
        return list(self._segments(0.0))

    def finish(self) -> list[Segment]:
        """Say that this is all; give the segments that are left.

        Raises:
            WorkError: the service ended the stream with an error.
        """
        if self.final is not None:
            return []
        self._socket.send('{"type": "end"}')
        return list(self._segments(None))

    def _segments(self, wait: float | None) -> Iterator[Segment]:
        while self.final is None:
            message = self._next(wait)
            if message is None:
                return
            if message.get("type") == "segment":
                yield SegmentMessage.model_validate(message).segment
            elif message.get("type") == "final":
                self.final = Final.model_validate(message)

    def _next(self, wait: float | None) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._socket.recv(timeout=wait))
        except TimeoutError:
            return None
        if found.get("type") == "error":
            raise WorkError(str(found["error"]["message"]))
        return found
