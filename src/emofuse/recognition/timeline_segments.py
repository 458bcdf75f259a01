"""From the answers of windows to segments: smoothed forward, then joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emofuse.recognition.answer import Adapted, Recognition, Word
from emofuse.recognition.timeline import Segment

__all__ = ["SegmentBuilder", "Step"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """What a window says of the time that it speaks for.

    Attributes:
        start, end: seconds.
        answer: of the window; one with an error takes no part.
        last: whether the stretch of speech ends here.
        cut: whether the next stretch goes straight on.
    """

    start: float
    end: float
    answer: Recognition
    last: bool = False
    cut: bool = False


@dataclass
class _Run:
    """Successive steps of one emotion."""

    start: float
    end: float
    best: int
    shares: Floats
    vad: Floats | None
    weights: dict[str, float] = field(default_factory=dict)
    adapted: Adapted | None = None

    @property
    def seconds(self) -> float:
        return self.end - self.start


class SegmentBuilder:
    """Smooths steps and joins them; only what will not change is given.

    With ``s`` the smoothed probabilities and ``p`` those of the next step, whose middle lies ``d``
    seconds after the last one's, ``s := s + (1 - exp(-d / smoothing)) (p - s)``. The dimensions are
    smoothed the same way. Both start anew after a pause.

    Args:
        classes: class names in order.
        smoothing: seconds.
        longest: seconds after which a segment is closed.
        limit: says of a probability whether it is too unsure, or None where nobody knows.
        channel: of all segments.
    """

    def __init__(
        self,
        classes: Sequence[str],
        smoothing: float,
        longest: float,
        limit: Callable[[Mapping[str, float]], bool | None],
        channel: int | None = None,
    ) -> None:
        self._classes, self._smoothing, self._longest = tuple(classes), smoothing, longest
        self._limit, self._channel = limit, channel
        self._shares: Floats | None = None
        self._vad: Floats | None = None
        self._middle = 0.0
        self._run: _Run | None = None
        self._words: list[Word] = []
        self._heard = False
        self._names: tuple[str, ...] = ()

    def hear(self, words: Sequence[Word]) -> None:
        """Take the words of a stretch, before its steps."""
        self._heard = True
        self._words += words

    def push(self, step: Step) -> list[Segment]:
        """Take the next step; give the segments that it settles."""
        found = []
        if step.answer.emotion is None:
            found += self.finish()
            self._shares = self._vad = None
        else:
            found += self._join(step)
        if step.last and not step.cut:
            found += self.finish()
            self._shares = self._vad = None
        return found

    def finish(self) -> list[Segment]:
        """Close the segment that is open, if any."""
        run, self._run = self._run, None
        return [] if run is None else [self._close(run)]

    def _join(self, step: Step) -> list[Segment]:
        shares, vad = self._smooth(step)
        best = int(np.argmax(shares))
        found: list[Segment] = []
        run = self._run
        if run is not None and (
            run.best != best or run.seconds >= self._longest or abs(run.end - step.start) > 1e-6
        ):
            found += self.finish()
            run = None
        length = step.end - step.start
        if run is None:
            run = self._run = _Run(
                step.start,
                step.start,
                best,
                np.zeros(len(self._classes)),
                None if vad is None else np.zeros(len(vad)),
            )
        run.end = step.end
        run.adapted = step.answer.adapted
        run.shares += length * shares
        if vad is not None and run.vad is not None:
            run.vad += length * vad
        for name, weight in step.answer.weights.items():
            run.weights[name] = run.weights.get(name, 0.0) + length * weight
        self._names = tuple(step.answer.vad or ())
        return found

    def _smooth(self, step: Step) -> tuple[Floats, Floats | None]:
        given = np.array([step.answer.probabilities[name] for name in self._classes])
        dims = step.answer.vad
        vad = None if dims is None else np.array(list(dims.values()))
        middle = (step.start + step.end) / 2
        if self._shares is not None:
            gain = self._gain(middle - self._middle)
            given = self._shares + gain * (given - self._shares)
            if vad is not None and self._vad is not None:
                vad = self._vad + gain * (vad - self._vad)
        self._shares, self._vad, self._middle = given, vad, middle
        return given, vad

    def _gain(self, distance: float) -> float:
        return 1.0 if self._smoothing <= 0 else 1.0 - math.exp(-distance / self._smoothing)

    def _close(self, run: _Run) -> Segment:
        total = run.seconds or 1.0
        shares = run.shares / run.shares.sum()
        named = dict(zip(self._classes, shares.tolist(), strict=True))
        emotion = self._classes[run.best]
        said: list[Word] = []
        rest: list[Word] = []
        for word in self._words:
            (said if (word.start + word.end) / 2 < run.end else rest).append(word)
        self._words = rest
        weights = sum(run.weights.values()) or 1.0
        return Segment(
            start=run.start,
            end=run.end,
            emotion=emotion,
            probabilities=named,
            confidence=named[emotion],
            too_unsure=self._limit(named),
            vad=None
            if run.vad is None
            else dict(zip(self._names, (run.vad / total).tolist(), strict=True)),
            weights={name: value / weights for name, value in run.weights.items()},
            text=" ".join(word.text for word in said) if self._heard else None,
            words=tuple(said),
            channel=self._channel,
            adapted=run.adapted,
        )
