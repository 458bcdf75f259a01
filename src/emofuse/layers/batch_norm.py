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
        if mask is None:
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
        real = mask[:, None, None, :]
        if not self.training:
            found = nn.functional.batch_norm(
                values,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=False,
                eps=self.eps,
            )
            return found.masked_fill(~real, 0.0)
        mean, variance = self._batch_statistics(values.float(), real)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        found = values * scale[:, None, None] + shift[:, None, None]
        return found.to(values.dtype).masked_fill(~real, 0.0)

    def _batch_statistics(self, values: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        count = (real.sum() * values.shape[2]).clamp_min(1)
        clean = values.masked_fill(~real, 0.0)
        mean = clean.sum(dim=(0, 2, 3)) / count
        centred = (clean - mean[:, None, None]).masked_fill(~real, 0.0)
        variance = centred.square().sum(dim=(0, 2, 3)) / count
        with torch.no_grad():
            if bool(real.any()):
                unbiased = variance * count / (count - 1).clamp_min(1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(unbiased, self.momentum)
        return mean, variance
