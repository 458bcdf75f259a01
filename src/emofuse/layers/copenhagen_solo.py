"""The networks of the Copenhagen study that read one modality (see `models.copenhagen`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emofuse.layers.clip import fix_length
from emofuse.layers.conv_lstm import ConvLSTM
from emofuse.layers.copenhagen_reading import Found, Reading, Sequence, hidden_layer
from emofuse.layers.patch_transformer import PatchTransformer
from emofuse.layers.pooling import masked_mean
from emofuse.layers.resnet import ResNet18, map_mean

__all__ = ["ResNetTrunk", "Solo", "decibels"]

LOUDEST_RANGE = 80.0  # decibels below a clip's maximum that the released code keeps
DECIBELS = 10.0 / math.log(10.0)  # in one unit of a natural logarithm of energy


def decibels(values: Tensor, mask: Tensor) -> Tensor:
    """Turn natural logarithms of energy into the released code's scale.

    Decibels relative to the clip's own maximum, cut at -80; padding is 0, the loudest value.

    Args:
        values: ``(batch, time, bands)``.
        mask: ``(batch, time)`` bool.
    """
    loud = DECIBELS * values
    highest = loud.masked_fill(~mask[..., None], -torch.inf).amax(dim=(1, 2), keepdim=True)
    scaled = (loud - highest).clamp_min(-LOUDEST_RANGE)
    return scaled.masked_fill(~mask[..., None], 0.0)


class ResNetTrunk(nn.Module):
    """A ResNet-18 and the mean of its last maps: 512 values."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading
        self.resnet = ResNet18()
        self.dim = self.resnet.channels

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Turn a sequence into ``(batch, 512)``; there is no attention."""
        if self.reading.published:
            values = decibels(values, mask)
        if self.reading.published or not self.reading.masked_gap:
            maps, _ = self.resnet(fix_length(values, self.reading.max_frames), None)
            return map_mean(maps, None), None
        return map_mean(*self.resnet(values, mask)), None


class VectorTrunk(nn.Module):
    """A sequence that is one vector already."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Give ``(batch, dim)``; there is no attention."""
        return masked_mean(values, mask), None


class Solo(nn.Module):
    """One modality: a trunk that gives a vector, and a head.

    Args:
        architecture: which trunk.
        dim: feature size of the modality.
        classes: number of classes.
        reading: the options.
    """

    def __init__(self, architecture: str, dim: int, classes: int, reading: Reading) -> None:
        super().__init__()
        self.name = "text" if architecture == "text-mlp" else "audio"
        self.trunk = _trunk(architecture, dim, reading)
        width = int(self.trunk.dim)
        rate = reading.dropout
        if architecture == "text-mlp":
            self.body = nn.Sequential(
                *hidden_layer(width, 512, rate), *hidden_layer(512, 256, rate)
            )
            width = 256
        elif architecture == "audio-transformer":
            self.body = nn.Sequential()
        else:
            self.body = nn.Sequential(*hidden_layer(width, 128, rate))
            width = 128
        self.head = nn.Linear(width, classes)

    def forward(self, parts: Mapping[str, Sequence], size: int) -> Found:
        """Recognise a batch of ``size`` items."""
        del size
        vector, seen = self.trunk(*parts[self.name])
        fused = self.body(vector)
        attention = {} if seen is None else {self.name: seen}
        sizes = {self.name: vector.norm(dim=1)}
        return Found(self.head(fused), fused, {self.name: vector}, sizes, attention)


def _trunk(
    architecture: str, dim: int, reading: Reading
) -> ResNetTrunk | VectorTrunk | ConvLSTM | PatchTransformer:
    if architecture == "text-mlp":
        return VectorTrunk(dim)
    if architecture == "cnn-bilstm":
        return ConvLSTM(dim, 128, reading.dropout, reading.pooling)
    if architecture == "audio-transformer":
        patch = (4, None) if reading.patch == "64x4" else (16, 16)
        return PatchTransformer(dim, reading.max_frames, patch, reading.positions, reading.dropout)
    return ResNetTrunk(reading)
