"""Silence at both ends cut off, speech brought to one level: what a recording's maker decided.

How long someone waits before speaking and how far the microphone stood say nothing of the voice,
yet they differ from corpus to corpus, and a model that hears them learns the corpus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["condition"]

FloatArray = NDArray[np.float32]
WINDOW, HOP = 0.025, 0.01  # seconds
LOUD = 0.95  # quantile of the frames' levels that stands for loud speech
ACTIVE = 25.0  # decibels below it: what counts as speech for the level
PAD = 0.05  # seconds kept before and after what is loud enough
FLOOR = 1e-12  # of a frame's power: digital silence


def condition(
    wave: FloatArray, rate: int, *, trim: float | None = None, level: float | None = None
) -> FloatArray:
    """Cut silence off both ends, then bring speech to a level.

    Args:
        wave: ``(samples,)``.
        rate: hertz.
        trim: a frame so many decibels below loud speech is silence; None = nothing is cut.
        level: mean power of active speech, in decibels below full scale (``-23``); None = as
            recorded.

    Returns:
        ``(samples,)`` float32, never empty where ``wave`` is not; digital silence stays as it is.
        It may leave [-1, 1]: nothing is clipped.

    >>> wave = np.zeros(16_000, np.float32)
    >>> wave[4_000:12_000] = 0.01 * np.sin(np.arange(8_000, dtype=np.float32))
    >>> heard = condition(wave, 16_000, trim=35, level=-20)
    >>> len(heard) < len(wave), round(float(10 * np.log10((heard[1_000:8_000] ** 2).mean())))
    (True, -20)
    """
    if trim is not None:
        wave = _trim(wave, rate, trim)
    if level is not None:
        wave = _level(wave, rate, level)
    return np.asarray(wave, np.float32)


def _powers(wave: FloatArray, rate: int) -> NDArray[np.float64]:
    """Mean power of each frame; a clip shorter than one is one frame."""
    window, hop = min(round(WINDOW * rate), len(wave)), max(round(HOP * rate), 1)
    sums = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    starts = np.arange(0, len(wave) - window + 1, hop)
    powers: NDArray[np.float64] = np.maximum((sums[starts + window] - sums[starts]) / window, FLOOR)
    return powers


def _loud(powers: NDArray[np.float64], below: float) -> NDArray[np.bool_]:
    """Say which frames are at most so many decibels below loud speech."""
    reference = float(np.quantile(powers, LOUD))
    found: NDArray[np.bool_] = powers > max(reference * 10 ** (-below / 10), FLOOR)
    return found


def _trim(wave: FloatArray, rate: int, below: float) -> FloatArray:
    if not len(wave):
        return wave
    loud = np.flatnonzero(_loud(_powers(wave, rate), below))
    if not len(loud):
        return wave
    hop, window, pad = max(round(HOP * rate), 1), round(WINDOW * rate), round(PAD * rate)
    start = max(int(loud[0]) * hop - pad, 0)
    return wave[start : int(loud[-1]) * hop + window + pad]


def _level(wave: FloatArray, rate: int, level: float) -> FloatArray:
    if not len(wave):
        return wave
    powers = _powers(wave, rate)
    active = powers[_loud(powers, ACTIVE)]
    if not len(active):
        return wave
    gain = np.sqrt(10 ** (level / 10) / float(active.mean()))
    return np.asarray(wave * np.float32(gain), np.float32)
