"""Where in the sequence a frame stands, as sines and cosines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["sinusoids"]


def sinusoids(time: int, dim: int, device: torch.device | str = "cpu") -> Tensor:
    """Give a code of each position (Vaswani et al. 2017, section 3.5).

    Args:
        time: number of positions.
        dim: size of the code.
        device: where it is wanted.

    Returns:
        ``(time, dim)``: sines in the even columns, cosines in the odd ones.

    >>> sinusoids(2, 2)
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    pairs = torch.arange(0, dim, 2, device=device)
    angles = torch.arange(time, device=device)[:, None] * torch.exp(
        pairs * (-math.log(10_000.0) / dim)
    )
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]
