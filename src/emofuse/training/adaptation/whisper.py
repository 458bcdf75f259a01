"""Whisper's encoder, of which the upper layers learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.encoders.contract import FloatArray
from emofuse.encoders.hf_folder import ModelFolder, read_model
from emofuse.encoders.hf_whisper import WhisperModel
from emofuse.training.adaptation.network import AudioAdapting

__all__ = ["WhisperAdapting"]


class WhisperAdapting(AudioAdapting):
    """Whisper's encoder at a clip's real length; the decoder stays as it is, and beside it.

    Convolutions and positions stay, too, and so does what the adapted folder transcribes with:
    its decoder was not trained for the changed encoder.

    Args:
        folder, frozen: see `Adapting`.
        device: where it runs.
    """

    def __init__(self, folder: ModelFolder, frozen: int | None, device: str) -> None:
        super().__init__(folder, frozen, ("whisper",), device)
        self.sample_rate = self._whisper.sample_rate

    def _read(self, folder: ModelFolder, device: str) -> Any:
        layers = int(folder.config["encoder_layers"])
        self._whisper = WhisperModel(folder, layers, "fp32", device)
        model = read_model(folder)
        model.encoder = self._whisper.module
        return model.requires_grad_(False).to(device)

    def layers(self) -> list[nn.Module]:
        """Give the transformer layers of the encoder."""
        return self._whisper.layers

    def above(self) -> Iterable[nn.Module]:
        """The last norm."""
        return self._whisper.above

    def prepare(self, wave: FloatArray) -> FloatArray:
        """Leave a recording as it is: its spectrogram is computed clip by clip."""
        return np.ascontiguousarray(wave, dtype=np.float32)

    def forward(self, clips: Sequence[FloatArray]) -> Tensor:
        """Turn clips of ``(samples,)`` into ``(clips, dim)``: the mean of the last hidden layer.

        A clip of more than 30 s goes through in parts of equal length.
        """
        parts = [self._whisper.prepare(clip) for clip in clips]
        states = iter(self._whisper.forward([part for one in parts for part in one]))
        frames = [torch.cat([next(states) for _ in one]) for one in parts]
        return torch.stack([one.mean(dim=0) for one in frames])
