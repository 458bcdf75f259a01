"""How 3M-SER and 4M-SER level audio frames: layer norm, min-max, or not at all."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FrameNorm", "FrameNormKind", "min_max"]

FrameNormKind = Literal["layer", "minmax", "none"]
SMALLEST_RANGE = 1e-6


def min_max(values: Tensor, mask: Tensor | None) -> Tensor:
    """Put values between 0 and 1.

    Args:
        values: ``(batch, time, dim)``.
        mask: ``(batch, time)`` bool: each item by the lowest and highest value of its own real
            frames, 0 where they are all the same. None: one lowest and one highest of the whole
            tensor, padding included, as in the released code; NaN where they are the same.
    """
    if mask is None:
        lowest, highest = values.min(), values.max()
        return (values - lowest) / (highest - lowest)
    real = mask[..., None]
    edge = torch.finfo(values.dtype).max
    low = values.masked_fill(~real, edge).amin(dim=(1, 2), keepdim=True)
    high = values.masked_fill(~real, -edge).amax(dim=(1, 2), keepdim=True)
    span = (high - low).clamp_min(SMALLEST_RANGE)
    return ((values - low) / span).masked_fill(~real, 0.0)


class FrameNorm(nn.Module):
    """Level ``(batch, time, dim)``.

    Args:
        kind: ``layer`` (a learned layer norm), ``minmax`` (see `min_max`) or ``none``.
        dim: feature size.
    """

    def __init__(self, kind: FrameNormKind, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.LayerNorm(dim) if kind == "layer" else None

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Level the frames; ``mask`` as in `min_max`."""
        if self.layer is not None:
            levelled: Tensor = self.layer(values)
            return levelled
        return min_max(values, mask) if self.kind == "minmax" else values
