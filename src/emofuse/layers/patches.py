"""Rectangles of a spectrogram as tokens, and where they stand."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Positions", "cut_patches"]


def cut_patches(
    values: Tensor, mask: Tensor, frames: int, bands: int | None = None
) -> tuple[Tensor, Tensor]:
    """Cut time-major spectrograms into patches.

    The end is filled up with zeros to a whole patch; a patch is real if one of its frames is. With
    ``bands`` each stretch of frames gives several patches, low bands first.

    Args:
        values: ``(batch, time, dim)``, zeros outside the mask.
        mask: ``(batch, time)`` bool.
        frames: frames of a patch.
        bands: bands of a patch, a divisor of ``dim``; None = all of them.

    Returns:
        ``(batch, patches, frames * bands)``, frame by frame, and a mask ``(batch, patches)``.

    >>> ramp = torch.arange(8.0)[None, :, None].expand(1, 8, 64)
    >>> patches, _ = cut_patches(ramp, torch.ones(1, 8, dtype=torch.bool), 4)
    >>> patches.shape, patches[0, 1].unique().tolist()
    (torch.Size([1, 2, 256]), [4.0, 5.0, 6.0, 7.0])
    """
    batch, time, dim = values.shape
    missing = -time % frames
    values = torch.nn.functional.pad(values, (0, 0, 0, missing))
    real = torch.nn.functional.pad(mask, (0, missing)).view(batch, -1, frames).any(dim=2)
    if bands is None:
        return values.reshape(batch, -1, frames * dim), real
    rows = dim // bands
    cut = values.view(batch, -1, frames, rows, bands).transpose(2, 3)
    return cut.reshape(batch, -1, frames * bands), real.repeat_interleave(rows, dim=1)


class Positions(nn.Module):
    """Adds to each token a vector that says where it stands.

    Args:
        kind: ``learned``, or ``sinusoid`` (Vaswani et al. 2017, section 3.5).
        count: most tokens.
        width: size of a token.
    """

    fixed: Tensor

    def __init__(self, kind: Literal["learned", "sinusoid"], count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.table = nn.Parameter(torch.randn(count, width) * 0.02) if kind == "learned" else None
        if kind == "sinusoid":
            self.register_buffer("fixed", sinusoid(count, width), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Add positions to ``(batch, tokens, width)``; there are at most ``count`` tokens."""
        table = self.fixed if self.table is None else self.table
        return values + table[: values.shape[1]]


def sinusoid(count: int, width: int) -> Tensor:
    """Give ``PE(p, 2i) = sin(p / 10000^(2i/width))`` and ``PE(p, 2i+1) = cos(...)``."""
    places = torch.arange(count, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([(places * rates).sin(), (places * rates).cos()], dim=2).flatten(1)
