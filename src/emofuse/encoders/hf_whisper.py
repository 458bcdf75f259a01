"""Whisper's encoder at a clip's real length.

The stock model takes 30 s whatever the clip holds. Here the log-mel spectrogram is that of the real
samples (as the stock extractor computes it without padding), the positions are the first ones, and
frames that pad a batch are zeroed before each convolution and masked in the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad

from emofuse.encoders.batching import split_evenly
from emofuse.encoders.contract import FloatArray
from emofuse.encoders.hf_folder import ModelFolder, read_model
from emofuse.encoders.hidden import LayerTap, Wanted
from emofuse.encoders.whisper_mel import WhisperMel
from emofuse.errors import EncoderError

__all__ = ["WhisperModel", "read_spectrum"]


class WhisperModel:
    """Whisper's encoder, read from its folder.

    Args:
        folder: the model.
        wanted: hidden layer, several side by side, or None for the mean of all.
        precision: ``fp32`` or ``bf16``.
        device: where it runs.
    """

    def __init__(self, folder: ModelFolder, wanted: Wanted, precision: str, device: str) -> None:
        self.prefix = "encoder."
        self._spectrum = read_spectrum(folder)
        self.sample_rate = self._spectrum.sample_rate
        self.frame_rate = self.sample_rate / (2 * self._spectrum.hop)
        encoder = _read_encoder(folder)
        self.longest = 2 * self._spectrum.hop * int(encoder.config.max_source_positions)
        self._scale = float(encoder.embed_scale)
        self._tap = LayerTap(encoder.layers, wanted)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = device
        self._encoder = encoder.to(device, self._dtype)

    @property
    def module(self) -> nn.Module:
        """The encoder."""
        module: nn.Module = self._encoder
        return module

    @property
    def layers(self) -> list[nn.Module]:
        """The transformer layers that the result of `forward` depends on."""
        return self._tap.used

    @property
    def above(self) -> list[nn.Module]:
        """The last norm, where the result depends on it."""
        return [self._encoder.layer_norm] if self._tap.whole else []

    def prepare(self, waveform: FloatArray) -> list[FloatArray]:
        """Turn a clip into log-mel spectrograms ``(frames, bands)`` of at most 30 s each."""
        parts = split_evenly(len(waveform), self.longest)
        return [self._spectrum(waveform[a:b]) for a, b in parts]

    def frames(self, part: FloatArray) -> int:
        """Count the frames that a spectrogram gives: every second one."""
        return (len(part) - 1) // 2 + 1

    def forward(self, parts: Sequence[FloatArray]) -> list[Tensor]:
        """Encode spectrograms together into ``(frames, dim)`` float32 each."""
        lengths = [len(part) for part in parts]
        mels = torch.zeros(len(parts), parts[0].shape[1], max(lengths))
        for row, part in enumerate(parts):
            mels[row, :, : len(part)] = torch.from_numpy(part.T)
        counts = [self.frames(part) for part in parts]
        padded = min(lengths) < max(lengths)
        mask = self._mask(counts)[:, None, None, :] if min(counts) < max(counts) else None
        mels = mels.to(self._device, self._dtype)
        state = self.states(mels, lengths if padded else None, mask)
        return [state[row, :count] for row, count in enumerate(counts)]

    def states(
        self, mels: Tensor, lengths: Sequence[int] | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Run the network.

        Args:
            mels: ``(batch, bands, frames)``.
            lengths: frames of each, where some are padded.
            mask: ``(batch, 1, 1, frames out)`` bool, where some are padded.

        Returns:
            ``(batch, frames out, dim)`` float32 of the hidden layer that is wanted.
        """
        hidden = self._front(mels, lengths)
        for layer in self._encoder.layers:
            output = layer(hidden, mask)
            hidden = output[0] if isinstance(output, tuple) else output
        return self._tap.result(self._encoder.layer_norm(hidden))

    def _front(self, mels: Tensor, lengths: Sequence[int] | None) -> Tensor:
        values = gelu(_convolve(self._encoder.conv1, mels))
        if lengths is not None:
            values = values * self._mask(lengths)[:, None, :].to(values.dtype)
        values = gelu(_convolve(self._encoder.conv2, values)).transpose(1, 2)
        positions: Tensor = self._encoder.embed_positions.weight[: values.shape[1]]
        return values + positions

    def _mask(self, lengths: Sequence[int]) -> Tensor:
        steps = torch.arange(max(lengths), device=self._device)
        return steps[None, :] < torch.tensor(lengths, device=self._device)[:, None]


def _convolve(conv: nn.Conv1d, values: Tensor) -> Tensor:
    """Apply a convolution of kernel 3 and padding 1 to ``(batch, channels, time)``.

    On a processor it is a product of matrices: PyTorch keeps what it compiled for each shape that
    a convolution has seen, up to hundreds of megabytes where clips have all lengths.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.as_tensor(conv(values))
    time, step = values.shape[2], conv.stride[0]
    padded = pad(values, (1, 1)).transpose(1, 2)
    windows = torch.cat([padded[:, k : k + time : step] for k in range(3)], dim=2)
    return linear(windows, conv.weight.permute(0, 2, 1).flatten(1), conv.bias).transpose(1, 2)


def _read_encoder(folder: ModelFolder) -> Any:
    """Read the encoder alone: the decoder is neither built nor held in memory."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    names = {r"^(model\.)?encoder\.": ""}
    return read_model(folder, WhisperEncoder, key_mapping=names, attn_implementation="sdpa")


def read_spectrum(folder: ModelFolder) -> WhisperMel:
    """Give the spectrogram that a folder's preprocessor describes.

    Raises:
        EncoderError: there is no ``preprocessor_config.json``, or it is damaged.
    """
    settings = folder.settings("preprocessor_config.json")
    keys = {"sampling_rate": 16_000, "hop_length": 160, "n_fft": 400, "feature_size": 80}
    sizes = [settings.get(name, usual) for name, usual in keys.items()]
    if not settings or not all(isinstance(one, int) and one > 0 for one in sizes):
        raise EncoderError(
            f"{folder.path} has no readable preprocessor_config.json; get the complete checkpoint"
        )
    return WhisperMel(*sizes)
