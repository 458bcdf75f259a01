"""From frames of speech to stretches: short gaps bridged, clicks dropped, ends padded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["SpanEvent", "SpeechSpans"]


@dataclass(frozen=True)
class SpanEvent:
    """What is settled of a stretch of speech.

    Attributes:
        start: second where it begins.
        end: second up to which it is surely speech; the stretch goes on unless ``closed``.
        closed: whether it ends there.
        cut: whether it ends because it was too long, so that the next one goes straight on.
    """

    start: float
    end: float
    closed: bool
    cut: bool = False


class SpeechSpans:
    """Follows frames of speech and settles stretches.

    Args:
        hop: seconds a frame.
        bridge: pauses of at most so many seconds are part of a stretch.
        shortest: a stretch of fewer seconds of speech is no speech.
        pad: seconds added at both ends, as far as the neighbours allow.
        longest: seconds after which a stretch is cut.
    """

    def __init__(
        self, hop: float, bridge: float, shortest: float, pad: float, longest: float
    ) -> None:
        self._hop, self._pad = hop, min(pad, bridge / 2)
        self._bridge = max(1, round(bridge / hop))
        self._shortest = max(1, round(shortest / hop))
        self._longest = max(self._shortest + 1, round(longest / hop))
        self._frame = 0
        self._first: int | None = None  # frame where the stretch began
        self._last = 0  # frame after its last frame of speech
        self._joined = False  # it goes straight on from one that was cut

    def undecided(self, seconds: float) -> float:
        """Seconds before ``seconds`` in which a stretch may still begin or have begun."""
        begun = self._frame if self._first is None else self._first
        return max(seconds - begun * self._hop, 0.0)

    def feed(self, frames: Iterable[bool]) -> list[SpanEvent]:
        """Take the next frames; give what became settled, in order."""
        found: list[SpanEvent] = []
        for speaks in frames:
            number = self._frame
            self._frame += 1
            if speaks:
                self._first = number if self._first is None else self._first
                self._last = number + 1
            if self._first is not None:
                found += self._settle(self._first)
        if self._first is not None and self._last - self._first >= self._shortest:
            found.append(SpanEvent(self._start(self._first), self._last * self._hop, closed=False))
        return found

    def finish(self, seconds: float) -> list[SpanEvent]:
        """Settle what is left at the end of a signal of so many seconds."""
        if self._first is None:
            return []
        return self._close(self._first, min(self._last * self._hop + self._pad, seconds))

    def _settle(self, first: int) -> list[SpanEvent]:
        if self._frame - self._last >= self._bridge:
            return self._close(first, self._last * self._hop + self._pad)
        if self._last - first < self._longest or self._last != self._frame:
            return []
        event = SpanEvent(self._start(first), self._last * self._hop, closed=True, cut=True)
        self._first, self._joined = self._last, True
        return [event]

    def _close(self, first: int, end: float) -> list[SpanEvent]:
        speech = self._last - first
        enough = speech >= self._shortest or (self._joined and speech > 0)
        found = [SpanEvent(self._start(first), end, closed=True)] if enough else []
        self._first, self._joined = None, False
        return found

    def _start(self, first: int) -> float:
        return max(first * self._hop - (0.0 if self._joined else self._pad), 0.0)
