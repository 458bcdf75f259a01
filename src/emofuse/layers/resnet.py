"""ResNet-18 over a spectrogram, by masks (He et al. 2016; no pre-training)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.layers.batch_norm import MaskedBatchNorm

__all__ = ["ResNet18", "map_mean"]

CHANNELS = (64, 128, 256, 512)


class ResNet18(nn.Module):
    """Seven-by-seven stem and four stages of two basic blocks; one input channel.

    After every convolution the columns outside the mask are set to 0, so that a clip gives the same
    maps alone, in a batch and with longer padding. For 64 bands and 998 frames the stages give
    16 x 250, 8 x 125, 4 x 63 and 2 x 32. The four stages have 11,170,240 parameters.

    Args:
        stages: how many of the four stages to build.
    """

    def __init__(self, stages: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.norm = MaskedBatchNorm(64)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        before = 64
        for place, channels in enumerate(CHANNELS[:stages]):
            first = _BasicBlock(before, channels, 1 if place == 0 else 2)
            self.stages.append(nn.ModuleList([first, _BasicBlock(channels, channels, 1)]))
            before = channels
        self.channels = before
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # Channels last in memory: the layout that convolutions are fastest in.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Compute the maps of the last stage.

        Args:
            values: ``(batch, time, bands)``; padding holds zeros.
            mask: ``(batch, time)`` bool; None = every frame counts as real.

        Returns:
            ``(batch, channels, height, columns)`` and the mask of the columns, ``(batch, columns)``
            or None. A column is real if the frame at its centre is.
        """
        mask = _halve(mask)
        found = self.norm(self.stem(values.transpose(1, 2)[:, None]), mask).relu()
        found, mask = self.pool(found), _halve(mask)
        if mask is not None:
            found = found.masked_fill(~mask[:, None, None, :], 0.0)
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                found, mask = block(found, mask)
        return found, mask


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = MaskedBatchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = MaskedBatchNorm(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None
        self.shortcut_norm = MaskedBatchNorm(outputs) if changes else None

    def forward(self, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mask = mask if self.stride == 1 else _halve(mask)
        found = self.norm1(self.conv1(values), mask).relu()
        found = self.norm2(self.conv2(found), mask)
        if self.shortcut is not None and self.shortcut_norm is not None:
            values = self.shortcut_norm(self.shortcut(values), mask)
        return (found + values).relu(), mask


def _halve(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[:, ::2]


def map_mean(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Average ``(batch, channels, height, columns)`` over the real columns and all heights.

    Args:
        maps: from `ResNet18`.
        mask: ``(batch, columns)`` bool; None = all columns.

    Returns:
        ``(batch, channels)``; zeros where an item has no real column.
    """
    if mask is None:
        return maps.mean(dim=(2, 3))
    shares = mask.to(maps.dtype) / mask.sum(dim=1, keepdim=True).clamp_min(1)
    return (maps.mean(dim=2) * shares[:, None, :]).sum(dim=2)
