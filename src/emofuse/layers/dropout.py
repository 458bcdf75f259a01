"""Dropout that draws 15 bits a value: on a processor several times faster than torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

__all__ = ["Dropout", "drawn_for_all"]

LEVELS = 1 << 15
_share: ContextVar[tuple[int, int, int] | None] = ContextVar("share", default=None)


@contextmanager
def drawn_for_all(start: int, count: int, total: int) -> Iterator[None]:
    """Let processes with equal generators draw for a whole batch inside the block.

    Each keeps the draws of its own items, so that together they drop what one process would.

    Args:
        start: first item of this process.
        count: its items.
        total: items of the whole batch.
    """
    token = _share.set((start, count, total))
    try:
        yield
    finally:
        _share.reset(token)


class Dropout(nn.Module):
    """In training, zero each value with probability ``rate`` and scale up the rest.

    The rate is rounded to a multiple of 1 / 32,768 and the scale fits the rounded rate, so that the
    expected value is exact. Draws come from torch's own generator, as with `torch.nn.Dropout`.

    Args:
        rate: probability, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._dropped = min(round(rate * LEVELS), LEVELS - 1)

    @property
    def dropped(self) -> int:
        """Levels of 32,768 that are dropped."""
        return self._dropped

    def forward(self, values: Tensor) -> Tensor:
        """Drop; in evaluation mode give what comes in."""
        if not self.training or not self._dropped:
            return values
        kept = (_draws(values) >= self._dropped).to(values.dtype)
        return values * kept.mul_(LEVELS / (LEVELS - self._dropped)).view(values.shape)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"


def _draws(values: Tensor) -> Tensor:
    """Give an evenly spread number of 15 bits for each value, flat."""
    share = _share.get()
    first, size, all_values = 0, values.numel(), values.numel()
    if share is not None and (not share[1] or len(values) % share[1] == 0):
        start, count, total = share
        item = size // count if count else values[:1].new_empty(values.shape[1:]).numel()
        first, size, all_values = start * item, count * item, total * item
    words = torch.empty(-(-all_values // 4), dtype=torch.int64, device=values.device)
    # `random_` fills 63 bits; the low 15 of each 16 are evenly spread in all four quarters.
    draws = words.random_().view(torch.int16).bitwise_and_(LEVELS - 1)
    return draws[first : first + size]
