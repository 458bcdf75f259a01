"""The convolutions that turn a waveform into frames, for wav2vec 2.0 and its kin.

The same sums as the stock layers, laid out for speed. Values lie as ``(frames, channels)``, so that
the window a convolution sees is one stretch of memory and the convolution a matrix product. A clip
is taken alone, hence without padding, and in blocks of frames, so that memory does not grow with
its length.

The group norm after the first convolution looks at the whole clip. The convolution is linear: with
``m`` and ``S`` the mean and covariance of the windows it sees, channel ``c`` with weights ``w`` has
the mean ``w.m`` and the variance ``w'Sw``. Both are found before any block is computed (in float64,
from a few values a window), and the norm becomes a scale and a shift of the weights.

The first convolution runs in fp32 in every precision: it costs little, and the waveform is not
rounded to 8 bits.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

__all__ = ["ConvFrontEnd"]

CPU_BLOCK = 64  # frames computed at once: what stays in a core's cache
GPU_BLOCK = 4096


class _ConvLayer:
    """One convolution with its norm and activation."""

    def __init__(self, stock: Any, device: str, dtype: torch.dtype) -> None:
        weight = stock.conv.weight.detach()
        self.kernel, self.stride = int(weight.shape[2]), int(stock.conv.stride[0])
        self.weight = weight.permute(0, 2, 1).flatten(1).to(device, dtype)
        bias = stock.conv.bias
        self.bias = None if bias is None else bias.detach().to(device, dtype)
        norm = deepcopy(getattr(stock, "layer_norm", None))
        self.group_norm = norm.to(device, dtype) if isinstance(norm, nn.GroupNorm) else None
        self.layer_norm = norm.to(device, dtype) if isinstance(norm, nn.LayerNorm) else None
        self.activation = stock.activation

    def windows(self, values: Tensor) -> Tensor:
        """View ``(frames, channels)`` as the windows seen, ``(out, kernel * channels)``."""
        frames, channels = values.shape
        count = (frames - self.kernel) // self.stride + 1
        return values.as_strided(
            (count, self.kernel * channels), (self.stride * channels, 1), values.storage_offset()
        )

    def folded(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give weight and bias, with the group norm over ``values`` folded in."""
        norm = self.group_norm
        if norm is None:
            return self.weight, self.bias
        windows = self.windows(values).double()
        mean = windows.mean(dim=0)
        centred = windows - mean
        weight = self.weight.double()
        variance = ((weight @ (centred.T @ centred / len(centred))) * weight).sum(dim=1)
        scale = norm.weight.double() / (variance.clamp(min=0) + norm.eps).sqrt()
        shift = norm.bias.double() - weight @ mean * scale
        return (weight * scale[:, None]).to(self.weight.dtype), shift.to(self.weight.dtype)

    def __call__(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Turn ``(frames, channels)`` into ``(fewer frames, channels)``."""
        found = linear(self.windows(values), weight, bias)
        norm = self.layer_norm
        if norm is not None:
            found = layer_norm(found, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        activated: Tensor = self.activation(found)
        return activated


class ConvFrontEnd:
    """The convolutions of a stock feature extractor.

    Args:
        stock: a module with ``conv_layers``, each a ``conv``, an optional ``layer_norm`` (a group
            norm of one channel a group, in the first only; or a layer norm) and an ``activation``.
        device: where it runs.
        dtype: number format of all but the first layer.
    """

    def __init__(self, stock: nn.Module, device: str, dtype: torch.dtype) -> None:
        layers: Any = stock.conv_layers
        formats = [torch.float32] + [dtype] * (len(layers) - 1)
        self._layers = [
            _ConvLayer(layer, device, kind) for layer, kind in zip(layers, formats, strict=True)
        ]
        self._dtype = dtype
        self._block = CPU_BLOCK if torch.device(device).type == "cpu" else GPU_BLOCK

    def frames(self, samples: int) -> int:
        """Count the frames that a clip gives."""
        for layer in self._layers:
            samples = (samples - layer.kernel) // layer.stride + 1
        return samples

    def samples(self, frames: int) -> int:
        """Count the samples that frames are made of."""
        for layer in reversed(self._layers):
            frames = (frames - 1) * layer.stride + layer.kernel
        return frames

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.samples(2) - self.samples(1)

    def __call__(self, wave: Tensor) -> Tensor:
        """Turn ``(samples,)`` float32 into ``(frames, channels)``."""
        column = wave[:, None].contiguous()
        first = self._layers[0].folded(column)
        frames = self.frames(len(wave))
        blocks = []
        for start in range(0, frames, self._block):
            count = min(self._block, frames - start)
            values = column.narrow(0, start * self.hop, self.samples(count))
            values = self._layers[0](values, *first).to(self._dtype)
            for layer in self._layers[1:]:
                values = layer(values, layer.weight, layer.bias)
            blocks.append(values)
        return torch.cat(blocks)
