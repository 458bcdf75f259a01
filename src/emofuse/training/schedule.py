"""Learning-rate schedules, as pure functions of how far training is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Plateau", "cycled_momentum", "schedule_factor"]

ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = 1e-5
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85
PLATEAU_THRESHOLD = 1e-4


def schedule_factor(
    kind: str, done: float, warmup: float = 0.0, rise: float = ONECYCLE_RISE
) -> float:
    """Give the share of the highest learning rate in force.

    Args:
        kind: ``constant``, ``cosine``, ``linear`` or ``onecycle``.
        done: share of the training that is over, in [0, 1].
        warmup: share of the training over which the rate rises from 0 in a straight line; the
            schedule proper fills the rest.
        rise: share of ``onecycle`` that goes up.

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
        if rest < rise:
            return _half_cosine(ONECYCLE_START, 1.0, rest / rise)
        return _half_cosine(1.0, ONECYCLE_END, (rest - rise) / (1.0 - rise))
    return 1.0


def cycled_momentum(done: float, rise: float = ONECYCLE_RISE) -> float:
    """Give the momentum that goes with ``onecycle``: 0.95, down to 0.85 at the peak, and back.

    >>> [round(cycled_momentum(done, 0.1), 2) for done in (0.0, 0.1, 1.0)]
    [0.95, 0.85, 0.95]
    """
    if done < rise:
        return _half_cosine(MOMENTUM_HIGH, MOMENTUM_LOW, done / rise)
    return _half_cosine(MOMENTUM_LOW, MOMENTUM_HIGH, (done - rise) / (1.0 - rise))


class Plateau:
    """A factor that falls whenever a loss has not fallen for a while.

    The rule is that of `torch.optim.lr_scheduler.ReduceLROnPlateau` with its usual threshold: an
    epoch is better when its loss is below the best by one part in 10,000.

    Args:
        drop: what the factor is multiplied by.
        patience: epochs without a better loss that are let pass.
    """

    def __init__(self, drop: float, patience: int) -> None:
        self.drop, self.patience = drop, patience
        self.factor, self._best, self._bad = 1.0, math.inf, 0

    def judged(self, loss: float) -> None:
        """Hear the loss of an epoch."""
        if loss < self._best * (1.0 - PLATEAU_THRESHOLD):
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self.factor, self._bad = self.factor * self.drop, 0

    def state(self) -> Tensor:
        """Give what a checkpoint needs, ``(3,)`` float64."""
        return torch.tensor([self.factor, self._best, float(self._bad)], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """Put back what `state` gave."""
        self.factor, self._best, bad = state.tolist()
        self._bad = int(bad)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0
