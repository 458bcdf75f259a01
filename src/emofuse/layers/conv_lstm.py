"""Convolutions, then a bidirectional LSTM, over a spectrogram of any length."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emofuse.layers.batch_norm import MaskedBatchNorm
from emofuse.layers.pooling import AttentionPooling, masked_mean

__all__ = ["ConvLSTM"]

CHANNELS = (1, 32, 64, 128)
POOLS = ((2, 2), (2, 2), (2, 1))  # bands x frames


class ConvLSTM(nn.Module):
    """Three convolution blocks, two layers of LSTM in both directions, one vector.

    64 bands and 998 frames become 249 steps of 8 x 128 values. A clip of ``n`` frames has
    ``n // 4`` steps (at least one), whatever it is padded to: the convolutions see zeros beyond its
    end, and the LSTM runs over packed sequences.

    Args:
        bands: bands of the spectrogram, 8 or more.
        hidden: size of the LSTM, one direction.
        dropout: between the layers of the LSTM.
        pooling: how steps become a vector.
    """

    def __init__(
        self, bands: int, hidden: int, dropout: float, pooling: Literal["attention", "mean"]
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            for inputs, outputs in pairwise(CHANNELS)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(channels) for channels in CHANNELS[1:])
        self.activations = nn.ModuleList(nn.ReLU() for _ in POOLS)
        self.lstm = nn.LSTM(
            CHANNELS[-1] * (bands // 8),
            hidden,
            num_layers=2,
            batch_first=True,
            dropout=dropout,
            bidirectional=True,
        )
        self.pooling = AttentionPooling(2 * hidden) if pooling == "attention" else None
        self.dim = 2 * hidden

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Turn ``(batch, time, bands)`` and ``(batch, time)`` into ``(batch, 2 * hidden)``.

        Returns:
            The vectors, and the attention weights ``(batch, time // 4)`` where there are any.
        """
        short = max(0, 4 - values.shape[1])
        found = nn.functional.pad(values, (0, 0, 0, short)).transpose(1, 2)[:, None]
        mask = nn.functional.pad(mask, (0, short))
        blocks = zip(self.convolutions, self.norms, self.activations, POOLS, strict=True)
        for convolution, norm, activation, pool in blocks:
            found = activation(norm(convolution(found), mask))
            found = nn.functional.max_pool2d(found, pool)
            mask = _shorten(mask, pool[1])
            found = found.masked_fill(~mask[:, None, None, :], 0.0)
        steps = self._recur(found.permute(0, 3, 1, 2).flatten(2), mask)
        if self.pooling is None:
            return masked_mean(steps, mask), None
        vectors, weights = self.pooling(steps, mask)
        return vectors, weights

    def _recur(self, steps: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(dim=1).clamp_min(1).cpu()  # an absent item is one step of zeros
        with torch.autocast(steps.device.type, enabled=False):
            packed = pack_padded_sequence(
                steps.float(), lengths, batch_first=True, enforce_sorted=False
            )
            found, _ = self.lstm(packed)
            unpacked, _ = pad_packed_sequence(found, batch_first=True, total_length=steps.shape[1])
        return unpacked


def _shorten(mask: Tensor, factor: int) -> Tensor:
    """Give the mask after pooling over time: whole windows, one of them at least."""
    if factor == 1:
        return mask
    lengths = mask.sum(dim=1)
    shorter = torch.where(lengths > 0, (lengths // factor).clamp_min(1), 0)
    return torch.arange(mask.shape[1] // factor, device=mask.device) < shorter[:, None]
