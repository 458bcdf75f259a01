"""Batch normalisation that looks at real columns alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.layers.gather import gather_rows, process_count
from emofuse.layers.share import current_share

__all__ = ["MaskedBatchNorm", "SteadyNorm", "normalise_together"]


class SteadyNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that keeps running averages."""

    running_mean: Tensor
    running_var: Tensor


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
        if not len(columns) and process_count() == 1:
            return torch.zeros_like(values)
        found = self._plain(columns.reshape(-1, channels)).view(-1, height, channels)
        normal = found.new_zeros(batch, time, height, channels)
        normal[mask] = found
        return normal.permute(0, 3, 2, 1)

    def _plain(self, values: Tensor) -> Tensor:
        """Normalise the second dimension over all others."""
        if self.training and process_count() > 1:
            return normalise_together(self, values, self.momentum)
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


def normalise_together(
    norm: MaskedBatchNorm | SteadyNorm, values: Tensor, momentum: float
) -> Tensor:
    """Normalise by the statistics of all processes' items, with their gradient.

    Args:
        norm: with ``weight``, ``bias``, ``eps`` and the running averages, which are moved.
        values: ``(n, channels, ...)``; ``n`` may differ between processes.
        momentum: share of the new statistics in the running averages.
    """
    flat = values.transpose(0, 1).flatten(1).double()  # (channels, values)
    count = flat.new_full((1,), flat.shape[1])
    sums = torch.cat([flat.sum(dim=1), flat.square().sum(dim=1), count])
    share = current_share()
    counts = 1.0 if share is None or share.count else 0.0  # else the one item does not count
    total = gather_rows(counts * sums[None]).sum(dim=0)
    channels, number = values.shape[1], float(total[-1])
    mean = total[:channels] / max(number, 1.0)
    variance = (total[channels:-1] / max(number, 1.0) - mean.square()).clamp_min(0.0)
    if number < 2:  # one value has no variance
        mean, variance = norm.running_mean.double(), norm.running_var.double()
    else:
        with torch.no_grad():
            if isinstance(norm, SteadyNorm) and norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
            unbiased = variance * number / (number - 1)
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
    shape = (1, channels, *([1] * (values.ndim - 2)))
    scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
    found = values.double() * scale.view(shape) + (norm.bias - mean * scale).view(shape)
    return found.to(values.dtype)
