"""Batch normalisation that looks at real columns alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MaskedBatchNorm"]


class MaskedBatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d` whose batch statistics leave padding out (Ioffe and Szegedy, 2015).

    In training, mean and variance come from the real columns of the batch; in evaluation from the
    running averages, so that neighbours do not matter. Columns outside the mask come out as 0,
    which is what a convolution sees beyond the border: padding then changes nothing behind it.
    Parameters and buffers are those of `torch.nn.BatchNorm2d`.

    Args:
        channels: number of channels.
        momentum: share of the new statistics in the running averages.
        eps: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            values: ``(batch, channels, height, time)``.
            mask: ``(batch, time)`` bool; None = every column is real.
        """
        if mask is None or bool(mask.all()):
            return self._plain(values)
        if not self.training:
            return self._plain(values).masked_fill(~mask[:, None, None, :], 0.0)
        batch, channels, height, time = values.shape
        columns = values.permute(0, 3, 2, 1)[mask]  # (real columns, height, channels)
        if not len(columns):
            return torch.zeros_like(values)
        found = self._plain(columns.reshape(-1, channels)).view(-1, height, channels)
        normal = found.new_zeros(batch, time, height, channels)
        normal[mask] = found
        return normal.permute(0, 3, 2, 1)

    def _plain(self, values: Tensor) -> Tensor:
        """Normalise the second dimension over all others."""
        return nn.functional.batch_norm(
            values,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
