"""Zero mean, unit variance, by statistics taken once from the training items."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Standardise"]

SMALLEST_SPREAD = 1e-6
"""A column that spreads less than this share of its size is constant: it becomes zero."""


class Standardise(nn.Module):
    """Subtract a mean and divide by a standard deviation, both fixed before training.

    A column that is constant in the training items is centred and left unscaled, so that it
    neither explodes nor turns into NaN. Before `fit` the layer gives what it gets.

    Args:
        dim: feature size.

    >>> layer = Standardise(1)
    >>> layer.fit(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[True, True]]))
    >>> layer(torch.tensor([[[5.0]]]))
    tensor([[[3.]]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, values: Tensor, mask: Tensor) -> None:
        """Take mean and standard deviation over the real frames.

        Args:
            values: ``(batch, time, dim)``.
            mask: ``(batch, time)`` bool; False frames are not looked at. Without any real frame
                the layer stays as it is.
        """
        frames = values[mask]
        if not len(frames):
            return
        mean = frames.mean(dim=0)
        centred = frames - mean
        rest = centred.mean(dim=0)  # what rounding left in the mean
        mean += rest
        spread = (centred.square().mean(dim=0) - rest.square()).clamp_min(0.0).sqrt()
        constant = spread <= SMALLEST_SPREAD * mean.abs().clamp_min(SMALLEST_SPREAD)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(constant, torch.ones_like(spread), spread))

    def forward(self, values: Tensor) -> Tensor:
        """Standardise ``(..., dim)``."""
        return (values - self.mean).div_(self.scale)
