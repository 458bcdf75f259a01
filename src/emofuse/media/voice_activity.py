"""Where somebody speaks: a detector that needs no weights, frame by frame, for streams.

The signal is cut into frames of 25 ms every 10 ms. A frame is speech where all of these hold:

- its level between 100 and 4000 Hz is over ``FLOOR_DB`` (digital silence and hiss are not speech);
- it is ``margin`` dB over the noise, the softest smoothed level (50 ms) of the last five seconds
  and the next half second; a frame that follows speech needs half of that;
- it is at most ``RANGE_DB`` under the loudest level of the last ten seconds;
- its spectrum is not flat: the geometric mean of its band energies is under ``FLATNESS`` times
  the arithmetic one. White noise is at .9 to 1, vowels are under .3.

What it cannot do: music, laughter and other loud sounds with a tone count as speech, and speech
softer than the noise around it is missed. Frames are judged `LOOKAHEAD` after they are heard, from
nothing later, so that a stream and a file get the same answer.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emofuse.media.audio import FloatArray

__all__ = ["LOOKAHEAD", "EnergyDetector", "VoiceDetector"]

HOP, WINDOW = 0.010, 0.025  # seconds
LOOKAHEAD = 0.5  # seconds of the future that a decision rests on
MEMORY = 5.0  # seconds over which the noise is the softest level
LOUDEST_MEMORY = 10.0  # seconds
SMOOTH = 5  # frames
LOWEST, HIGHEST = 100.0, 4000.0  # hertz
BAND = 190.0  # hertz, of the bands whose flatness counts
FLOOR_DB = -60.0  # of full scale
RANGE_DB = 35.0
FLATNESS = 0.7
SILENCE_DB = -100.0

Mask = NDArray[np.bool_]


class VoiceDetector(Protocol):
    """Says frame by frame whether somebody speaks.

    Attributes:
        hop: seconds from one frame to the next.
    """

    hop: float

    def feed(self, samples: FloatArray) -> Mask:
        """Take the next samples; give the frames that are decided by now, in order."""

    def finish(self) -> Mask:
        """Give the frames that are left at the end."""


class EnergyDetector:
    """The detector described above.

    Args:
        rate: hertz, at least 8000.
        margin: decibels over the noise that speech needs.
    """

    hop = HOP

    def __init__(self, rate: int, margin: float = 9.0) -> None:
        self._margin = margin
        self._step, self._length = round(HOP * rate), round(WINDOW * rate)
        size = 1 << (self._length - 1).bit_length()
        self._size = size
        self._window = np.hanning(self._length + 1)[:-1]
        hertz = np.fft.rfftfreq(size, 1.0 / rate)
        self._bins = np.flatnonzero((hertz >= LOWEST) & (hertz <= HIGHEST))
        width = max(1, round(BAND / (rate / size)))
        self._edges = np.arange(0, len(self._bins) - width + 1, width)
        self._scale = 2.0 / (self._window @ self._window) / size
        self._rest = np.zeros(0, np.float32)
        self._levels: deque[float] = deque(maxlen=SMOOTH)
        self._smooth = _Extreme(round((MEMORY + LOOKAHEAD) / HOP), lowest=True)
        self._loud = _Extreme(round((LOUDEST_MEMORY + LOOKAHEAD) / HOP), lowest=False)
        self._waiting: deque[tuple[float, float]] = deque()
        self._speaking = False

    def feed(self, samples: FloatArray) -> Mask:
        """Take ``(samples,)``; give the frames that are decided by now."""
        wave = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        count = max(0, (len(wave) - self._length) // self._step + 1)
        self._rest = wave[count * self._step :]
        if not count:
            return np.zeros(0, np.bool_)
        frames = np.lib.stride_tricks.sliding_window_view(wave, self._length)[:: self._step]
        levels, flatness = self._measure(frames[:count])
        late = round(LOOKAHEAD / HOP)
        found: list[bool] = []
        for level, flat in zip(levels.tolist(), flatness.tolist(), strict=True):
            self._push(level)
            self._waiting.append((level, flat))
            if len(self._waiting) > late:
                found.append(self._decide())
        return np.array(found, np.bool_)

    def finish(self) -> Mask:
        """Judge the frames that still wait; an end of under 25 ms belongs to the last of them."""
        return np.array([self._decide() for _ in range(len(self._waiting))], np.bool_)

    def _measure(self, frames: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give level in dB of full scale and flatness of ``(frames, samples)``."""
        spectrum = np.fft.rfft(frames * self._window, self._size)[:, self._bins]
        power = (spectrum.real**2 + spectrum.imag**2) * self._scale
        total = power.sum(axis=1)
        bands = np.add.reduceat(power, self._edges, axis=1)[:, : len(self._edges)] + 1e-14
        flat = np.exp(np.log(bands).mean(axis=1)) / bands.mean(axis=1)
        return np.maximum(10.0 * np.log10(total + 1e-14), SILENCE_DB), flat

    def _push(self, level: float) -> None:
        self._levels.append(level)
        self._smooth.push(sum(self._levels) / len(self._levels))
        self._loud.push(level)

    def _decide(self) -> bool:
        level, flat = self._waiting.popleft()
        margin = self._margin / 2 if self._speaking else self._margin
        self._speaking = (
            level > FLOOR_DB
            and level > self._smooth.value + margin
            and level > self._loud.value - RANGE_DB
            and flat < FLATNESS
        )
        return self._speaking


class _Extreme:
    """The least or greatest of the last values, in constant time a value."""

    def __init__(self, length: int, *, lowest: bool) -> None:
        self._length, self._sign = length, 1.0 if lowest else -1.0
        self._kept: deque[tuple[int, float]] = deque()
        self._count = 0

    def push(self, value: float) -> None:
        signed = self._sign * value
        while self._kept and self._kept[-1][1] >= signed:
            self._kept.pop()
        self._kept.append((self._count, signed))
        self._count += 1
        while self._kept[0][0] <= self._count - 1 - self._length:
            self._kept.popleft()

    @property
    def value(self) -> float:
        return self._sign * self._kept[0][1]
