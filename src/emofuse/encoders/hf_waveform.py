"""wav2vec 2.0 and its kin (HuBERT, WavLM, data2vec, UniSpeech): encoders of the waveform.

Batched items give what they give alone. Three places of the stock models let padding in, and are
closed here: the group norm of the first convolution takes its statistics over real frames only; the
convolutions of the positional embedding see zeros beyond the end, layer by layer; and the attention
is masked whatever the preprocessor says.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.encoders.batching import split_evenly
from emofuse.encoders.contract import FloatArray
from emofuse.encoders.hf_folder import ModelFolder, read_model
from emofuse.encoders.hidden import LayerTap

__all__ = ["WaveformModel"]

LONGEST_SECONDS = 60


class _Padding(threading.local):
    """What pads the batch of one thread: None where nothing does.

    Attributes:
        lengths: real frames of each item after the first convolution.
        mask: ``(batch, frames)`` bool, True on real frames of the model.
    """

    lengths: list[int] | None = None
    mask: Tensor | None = None


class _MaskedGroupNorm(nn.Module):
    """One norm a channel over real frames."""

    def __init__(self, stock: nn.GroupNorm, padding: _Padding) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = stock.weight, stock.bias, stock.eps
        self.padding = padding

    def forward(self, values: Tensor) -> Tensor:
        """Normalise ``(batch, channels, frames)``."""
        lengths = self.padding.lengths
        if lengths is None:
            channels = values.shape[1]
            return nn.functional.group_norm(values, channels, self.weight, self.bias, self.eps)
        rows = []
        for row, length in zip(values, lengths, strict=True):
            real = row[None, :, :length]
            done = nn.functional.group_norm(real, row.shape[0], self.weight, self.bias, self.eps)
            rows.append(nn.functional.pad(done, (0, row.shape[1] - length)))
        return torch.cat(rows)


class WaveformModel:
    """A model of the wav2vec 2.0 kind, read from its folder.

    Args:
        folder: the model.
        wanted: hidden layer, or None for the mean of all.
        precision: ``fp32`` or ``bf16``.
        device: where it runs.
    """

    def __init__(
        self, folder: ModelFolder, wanted: int | None, precision: str, device: str
    ) -> None:
        settings = folder.settings("preprocessor_config.json")
        self.sample_rate = int(settings.get("sampling_rate", 16_000))
        self._normalise = bool(settings.get("do_normalize", True))
        model = read_model(folder)
        self._kernels = [int(k) for k in model.config.conv_kernel]
        self._strides = [int(s) for s in model.config.conv_stride]
        self.frame_rate = self.sample_rate / float(np.prod(self._strides))
        self.longest = LONGEST_SECONDS * self.sample_rate
        self._shortest = self._samples(1)
        self._padding = _Padding()
        _replace_group_norm(model.feature_extractor, self._padding)
        for module in model.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(self._silence_padding)
        _fold_weight_norm(model.encoder.pos_conv_embed)
        self._tap = LayerTap(model.encoder.layers, wanted)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = device
        self._model = model.to(device, self._dtype)

    def _samples(self, frames: int) -> int:
        for kernel, stride in zip(reversed(self._kernels), reversed(self._strides), strict=True):
            frames = (frames - 1) * stride + kernel
        return frames

    def frames(self, part: FloatArray) -> int:
        """Count the frames that ``(samples,)`` give."""
        return self._frames_after(len(part), len(self._kernels))

    def _frames_after(self, samples: int, layers: int) -> int:
        for kernel, stride in zip(self._kernels[:layers], self._strides[:layers], strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def prepare(self, waveform: FloatArray) -> list[FloatArray]:
        """Normalise a clip as its preprocessor does and cut it; one too short gets zeros."""
        wave = waveform
        if self._normalise:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        if len(wave) < self._shortest:
            wave = np.pad(wave, (0, self._shortest - len(wave)))
        parts = split_evenly(len(wave), self.longest)
        return [np.ascontiguousarray(wave[a:b], dtype=np.float32) for a, b in parts]

    def forward(self, parts: Sequence[FloatArray]) -> list[Tensor]:
        """Encode clips together into ``(frames, dim)`` float32 each."""
        lengths = [len(part) for part in parts]
        waves = torch.zeros(len(parts), max(lengths))
        for row, part in enumerate(parts):
            waves[row, : len(part)] = torch.from_numpy(part)
        counts = [self.frames(part) for part in parts]
        padded = min(lengths) < max(lengths)
        first = [self._frames_after(length, 1) for length in lengths]
        self._padding.lengths = first if padded else None
        features = self._model.feature_extractor(waves.to(self._device, self._dtype))
        hidden = self._model.feature_projection(features.transpose(1, 2))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        steps = torch.arange(hidden.shape[1], device=self._device)
        mask = steps[None, :] < torch.tensor(counts, device=self._device)[:, None]
        self._padding.mask = mask if padded else None
        last = self._model.encoder(hidden, attention_mask=self._padding.mask).last_hidden_state
        state = self._tap.result(last)
        return [state[row, :count] for row, count in enumerate(counts)]

    def _silence_padding(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        mask = self._padding.mask
        return None if mask is None else (args[0] * mask[:, None, :].to(args[0].dtype),)


def _replace_group_norm(front_end: nn.Module, padding: _Padding) -> None:
    first = next(iter(front_end.conv_layers))  # type: ignore[arg-type]
    stock = getattr(first, "layer_norm", None)
    if isinstance(stock, nn.GroupNorm):
        first.layer_norm = _MaskedGroupNorm(stock, padding)


def _fold_weight_norm(module: nn.Module) -> None:
    """Compute normalised weights once instead of in every pass."""
    for part in module.modules():
        if nn.utils.parametrize.is_parametrized(part, "weight"):
            nn.utils.parametrize.remove_parametrizations(part, "weight")
