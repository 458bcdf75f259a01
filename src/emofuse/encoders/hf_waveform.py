"""wav2vec 2.0 and its kin (HuBERT, WavLM, data2vec, UniSpeech): encoders of the waveform.

Batched items give what they give alone. Three places of the stock models let padding in, and are
closed here: the first convolutions take each clip alone (see `hf_frontend`); the convolutions of
the positional embedding see zeros beyond the end, layer by layer; and the attention is masked
whatever the preprocessor says.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from emofuse.encoders.contract import FloatArray
from emofuse.encoders.hf_folder import ModelFolder, read_model
from emofuse.encoders.hf_frontend import ConvFrontEnd
from emofuse.encoders.hf_positions import quicken
from emofuse.encoders.hidden import LayerTap, Wanted
from emofuse.encoders.waveforms import LONGEST_SECONDS, parts_of

__all__ = ["WaveformModel", "fold_weight_norm"]


class _Padding(threading.local):
    """What pads the batch of one thread: None where nothing does.

    Attributes:
        mask: ``(batch, frames)`` bool, True on real frames of the model.
    """

    mask: Tensor | None = None


class WaveformModel:
    """A model of the wav2vec 2.0 kind, read from its folder.

    Args:
        folder: the model.
        wanted: hidden layer, several side by side, or None for the mean of all.
        precision: ``fp32`` or ``bf16``.
        device: where it runs.
    """

    def __init__(self, folder: ModelFolder, wanted: Wanted, precision: str, device: str) -> None:
        settings = folder.settings("preprocessor_config.json")
        self.sample_rate = int(settings.get("sampling_rate", 16_000))
        self._normalise = bool(settings.get("do_normalize", True))
        model = read_model(folder)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = device
        self._front = ConvFrontEnd(model.feature_extractor, device, self._dtype)
        model.feature_extractor = nn.Identity()  # the stock copy of the same weights
        self.frame_rate = self.sample_rate / self._front.hop
        self.prefix = ""
        self.longest = LONGEST_SECONDS * self.sample_rate
        self._shortest = self._front.samples(1)
        self._padding = _Padding()
        fold_weight_norm(model.encoder.pos_conv_embed)
        quicken(model.encoder.pos_conv_embed)
        for module in model.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(self._silence_padding)
        self._tap = LayerTap(model.encoder.layers, wanted)
        self._model = model.to(device, self._dtype)

    @property
    def module(self) -> nn.Module:
        """The model above its convolutions."""
        module: nn.Module = self._model
        return module

    @property
    def layers(self) -> list[nn.Module]:
        """The transformer layers that the result of `forward` depends on."""
        return self._tap.used

    @property
    def above(self) -> list[nn.Module]:
        """The last norm, in models that have it above the layers and where it counts."""
        stable = getattr(self._model.config, "do_stable_layer_norm", False)
        return [self._model.encoder.layer_norm] if stable and self._tap.whole else []

    def frames(self, part: FloatArray) -> int:
        """Count the frames that ``(samples,)`` give."""
        return self._front.frames(len(part))

    def prepare(self, waveform: FloatArray) -> list[FloatArray]:
        """Normalise a clip as its preprocessor does and cut it; one too short gets zeros."""
        return parts_of(
            waveform, normalise=self._normalise, shortest=self._shortest, longest=self.longest
        )

    def forward(self, parts: Sequence[FloatArray]) -> list[Tensor]:
        """Encode clips together into ``(frames, dim)`` float32 each."""
        counts = [self.frames(part) for part in parts]
        padded = min(counts) < max(counts)
        waves = (torch.from_numpy(part).to(self._device) for part in parts)
        kind = torch.device(self._device).type
        with torch.no_grad(), torch.autocast(kind, enabled=False):  # never learns, has its format
            features = pad_sequence([self._front(wave) for wave in waves], batch_first=True)
        hidden = self._model.feature_projection(features)
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


def fold_weight_norm(module: nn.Module) -> None:
    """Compute normalised weights once instead of in every pass."""
    for part in module.modules():
        if nn.utils.parametrize.is_parametrized(part, "weight"):
            nn.utils.parametrize.remove_parametrizations(part, "weight")
