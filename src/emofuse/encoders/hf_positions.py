"""A long convolution over time by Fourier transform, for the positional embedding of wav2vec 2.0.

A kernel of 128 frames in 16 groups costs 128 multiplications a value; by blocks of twice the
kernel's length (overlap-save) some 20 are left, in fp32 and to the same sums up to rounding. The
spectrum of the weights is kept from one pass to the next and taken anew when they change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FourierConv", "quicken"]

LONG = 32  # frames of a kernel from which on the transform pays


class FourierConv(nn.Conv1d):
    """A convolution with the weights of another, by the transform where that is faster.

    That is on a processor, and where nothing learns; elsewhere it computes as PyTorch does. The
    parameters keep their names.

    Args:
        stock: of stride 1 and dilation 1, padded with zeros by a number of frames.
    """

    _kept: tuple[tuple[int, int], Tensor] | None = None

    def __init__(self, stock: nn.Conv1d) -> None:
        super().__init__(
            stock.in_channels,
            stock.out_channels,
            stock.kernel_size[0],
            padding=int(stock.padding[0]),
            groups=stock.groups,
            bias=stock.bias is not None,
            device="meta",
        )
        del self.weight, self.bias
        for name in ("weight", "bias"):  # parameters, or buffers where a norm was folded in
            value = getattr(stock, name)
            if value is None or isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)

    def forward(self, values: Tensor) -> Tensor:
        """Turn ``(batch, channels, frames)`` into the like of a padded convolution."""
        if values.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(values)
        kernel, pad, block = self.kernel_size[0], int(self.padding[0]), 2 * self.kernel_size[0]
        batch, channels, frames = values.shape
        wanted, hop = frames + 2 * pad - kernel + 1, block - kernel + 1
        count = -(-wanted // hop)
        padded = nn.functional.pad(values.float(), (pad, count * hop + kernel - 1 - pad - frames))
        found = torch.fft.rfft(padded.unfold(2, block, hop))
        bins, inside = found.shape[-1], channels // self.groups
        found = found.view(batch, self.groups, inside, count, bins).permute(4, 1, 0, 3, 2)
        product = torch.bmm(found.reshape(-1, batch * count, inside), self._spectrum(block))
        product = product.view(bins, self.groups, batch, count, -1).permute(2, 1, 4, 3, 0)
        result: Tensor = torch.fft.irfft(product.reshape(batch, -1, count, bins), block)[
            ..., kernel - 1 :
        ]
        result = result.reshape(batch, -1, count * hop)[..., :wanted]
        if self.bias is not None:
            result = result + self.bias.float()[:, None]
        return result.to(values.dtype)

    def _spectrum(self, block: int) -> Tensor:
        """Give the weights' spectrum, ``(bins * groups, in, out)``, of one group each."""
        weight = self.weight.detach()
        state = (weight.data_ptr(), weight._version)
        kept = self._kept
        if kept is None or kept[0] != state:
            spectrum = torch.fft.rfft(weight.float().flip(2), block)
            spectrum = spectrum.view(self.groups, -1, *spectrum.shape[1:]).permute(3, 0, 2, 1)
            self._kept = kept = (state, spectrum.flatten(0, 1).contiguous())
        return kept[1]


def quicken(module: nn.Module) -> None:
    """Replace the long convolutions of a module, once their weights are plain parameters."""
    for name, part in module.named_children():
        if isinstance(part, nn.Conv1d) and _fits(part):
            setattr(module, name, FourierConv(part))
        else:
            quicken(part)


def _fits(conv: nn.Conv1d) -> bool:
    alone = conv.stride == (1,) and conv.dilation == (1,) and conv.padding_mode == "zeros"
    counted = not isinstance(conv.padding, str)
    return alone and counted and conv.kernel_size[0] >= LONG
