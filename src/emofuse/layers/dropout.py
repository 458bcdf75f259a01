"""Dropout that draws 15 bits a value: on a processor several times faster than torch's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from emofuse.layers.share import current_share

__all__ = ["Dropout"]

LEVELS = 1 << 15
LOW_BITS = 0x7FFF7FFF7FFF7FFF
"""The low 15 bits of each quarter of a word."""


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
        # From int16 to float and then compared: a bool is several times slower to turn into one.
        kept = _draws(values).to(torch.float32).ge_(self._dropped)
        scaled = kept.mul_(LEVELS / (LEVELS - self._dropped)).to(values.dtype)
        return values * scaled.view(values.shape)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"


def _draws(values: Tensor) -> Tensor:
    """Give an evenly spread number of 15 bits for each value, flat.

    Processes with equal generators that share a batch draw for all of it, and each keeps the draws
    of its own items: together they drop what one process would.
    """
    share = current_share()
    first, size, everything = 0, values.numel(), values.numel()
    if share is not None and len(values) % max(share.count, 1) == 0:
        shown = max(share.count, 1) if len(values) else 0
        item = size // shown if shown else math.prod(values.shape[1:])
        first, everything = min(share.start, share.total - 1) * item, share.total * item
    words = torch.empty(-(-everything // 4), dtype=torch.int64, device=values.device)
    # `random_` fills 63 bits; the low 15 of each 16 are evenly spread in all four quarters.
    draws = words.random_().bitwise_and_(LOW_BITS).view(torch.int16)
    return draws[first : first + size]
