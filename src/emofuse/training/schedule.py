"""Learning-rate schedules, as pure functions of how far training is."""

from __future__ import annotations

import math

__all__ = ["schedule_factor"]

ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = 1e-5


def schedule_factor(kind: str, done: float, warmup: float = 0.0) -> float:
    """Give the share of the highest learning rate in force.

    Args:
        kind: ``constant``, ``cosine``, ``linear`` or ``onecycle``.
        done: share of the training that is over, in [0, 1].
        warmup: share of the training over which the rate rises from 0 in a straight line; the
            schedule proper fills the rest.

    >>> [round(schedule_factor("cosine", done), 2) for done in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    >>> round(schedule_factor("constant", 0.05, warmup=0.1), 2)
    0.5
    """
    if done < warmup:
        return done / warmup
    rest = (done - warmup) / (1.0 - warmup)
    if kind == "cosine":
        return _half_cosine(1.0, 0.0, rest)
    if kind == "linear":
        return 1.0 - rest
    if kind == "onecycle":
        if rest < ONECYCLE_RISE:
            return _half_cosine(ONECYCLE_START, 1.0, rest / ONECYCLE_RISE)
        return _half_cosine(1.0, ONECYCLE_END, (rest - ONECYCLE_RISE) / (1.0 - ONECYCLE_RISE))
    return 1.0


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0
