"""How loud speech is while somebody speaks: the active speech level of ITU-T P.56, method B.

The mean square of a whole recording falls with every pause in it, so that noise set by it is
softer in a recording with long pauses. Here pauses do not count.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from emofuse.media.audio import FloatArray

__all__ = ["active_power", "active_share"]

TIME_CONSTANT = 0.03  # seconds, of the envelope
HANGOVER = 0.2  # seconds that speech goes on after the envelope has fallen
MARGIN = 15.9  # decibels between the active level and the threshold
STEPS = 20  # thresholds, 6 dB apart, from the peak down


def active_power(wave: FloatArray, rate: int) -> float:
    """Mean square over the samples in which somebody speaks.

    Args:
        wave: ``(samples,)``.
        rate: hertz.

    Returns:
        The power; 0 for silence.
    """
    return _measure(wave, rate)[0]


def active_share(wave: FloatArray, rate: int) -> float:
    """Share of the samples in which somebody speaks (the activity factor), in [0, 1]."""
    return _measure(wave, rate)[1]


def _measure(wave: FloatArray, rate: int) -> tuple[float, float]:
    samples = np.asarray(wave, np.float64)
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    total = float(np.square(samples).sum())
    if peak <= 0.0 or total <= 0.0:
        return 0.0, 0.0
    keep = np.exp(-1.0 / (rate * TIME_CONSTANT))
    envelope = np.abs(samples) / peak
    for _ in range(2):
        envelope = lfilter([1.0 - keep], [1.0, -keep], envelope)
    levels: list[float] = []
    gaps: list[float] = []
    for step in range(1, STEPS + 1):
        active = _active(envelope, 2.0**-step, round(HANGOVER * rate))
        if not active:
            continue
        levels.append(10.0 * np.log10(total / active))
        gaps.append(levels[-1] - 20.0 * np.log10(peak * 2.0**-step))
    level = _at_margin(levels, gaps)
    if level is None:
        return total / len(samples), 1.0
    found = max(10.0 ** (level / 10.0), total / len(samples))
    return found, min(1.0, total / len(samples) / found)


def _active(envelope: np.ndarray, threshold: float, hangover: int) -> int:
    """Count the samples at or above a threshold, and those up to ``hangover`` after one."""
    hits = np.flatnonzero(envelope >= threshold)
    if not len(hits):
        return 0
    stretches = np.minimum(np.diff(np.append(hits, len(envelope))), hangover + 1)
    return int(stretches.sum())


def _at_margin(levels: list[float], gaps: list[float]) -> float | None:
    """Level where it lies `MARGIN` above its own threshold; None = at none of them."""
    for place, gap in enumerate(gaps):
        if gap >= MARGIN:
            if place == 0:
                return levels[0]
            low, high = gaps[place - 1], gap
            share = (MARGIN - low) / (high - low)
            return levels[place - 1] + share * (levels[place] - levels[place - 1])
    return None
