"""A Hugging Face encoder whose upper layers learn, and the head it learns through."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from emofuse.encoders.contract import FloatArray
from emofuse.encoders.hf_folder import ModelFolder, quiet_transformers, read_model
from emofuse.encoders.hf_frontend import ConvFrontEnd
from emofuse.errors import EncoderError, OptionError
from emofuse.layers import masked_mean

__all__ = [
    "AUDIO",
    "TEXT",
    "WAVEFORM",
    "Adapting",
    "AudioAdapting",
    "SpeechAdapting",
    "TextAdapting",
    "check_kind",
    "make_head",
]

WAVEFORM = ("hubert", "wav2vec2", "wavlm")
AUDIO = (*WAVEFORM, "whisper")
TEXT = ("bert", "roberta")
MOST_TOKENS = 128


def make_head(dim: int, outputs: int, *, hidden: bool) -> nn.Sequential:
    """Make what stands on the encoder: Linear, ReLU, Linear; or one Linear."""
    if not hidden:
        return nn.Sequential(nn.Linear(dim, outputs))
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, outputs))


def check_kind(folder: ModelFolder, kinds: Sequence[str]) -> None:
    """Make sure that adaptation knows an architecture.

    Raises:
        EncoderError: it does not.
    """
    if folder.kind not in kinds:
        raise EncoderError(
            f"{folder.name} is a {folder.kind or 'nameless'!r} model; adaptation knows "
            f"{', '.join(kinds)} for this modality"
        )


class Adapting(nn.Module, ABC):
    """An encoder of which the layers from ``frozen`` on learn.

    All below stays as it is and in evaluation mode, so that neither its dropout nor any running
    statistic moves.

    Args:
        folder: the model.
        frozen: number of lowest layers that stay; None = half of them.
        kinds: architectures that are known.
        device: where it runs.

    Attributes:
        model: the Hugging Face model.
        dim: size of what it gives.
        learning: the modules that learn.

    Raises:
        EncoderError: another architecture, or weights that cannot be read.
        OptionError: more frozen layers than there are.
    """

    def __init__(
        self, folder: ModelFolder, frozen: int | None, kinds: Sequence[str], device: str = "cpu"
    ) -> None:
        super().__init__()
        check_kind(folder, kinds)
        self.model: Any = self._read(folder, device)
        layers = self.layers()
        self.frozen = len(layers) // 2 if frozen is None else frozen
        if self.frozen >= len(layers):
            raise OptionError(
                f"freeze_layers {self.frozen}: {folder.name} has {len(layers)} layers, so that "
                f"nothing would learn; legal: 0 to {len(layers) - 1}"
            )
        self.learning = [*layers[self.frozen :], *self.above()]
        for module in self.learning:
            module.requires_grad_(True)
        self.dim = int(self.model.config.hidden_size)

    def _read(self, folder: ModelFolder, device: str) -> Any:
        """Read the weights."""
        del device
        return read_model(folder)

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Give the transformer layers, the lowest first."""

    def above(self) -> Iterable[nn.Module]:
        """Give what lies above the last layer."""
        return ()

    def train(self, mode: bool = True) -> Adapting:
        """Set the mode of what learns; the rest stays in evaluation mode."""
        super().train(False)
        self.training = mode
        for module in self.learning:
            module.train(mode)
        return self

    def learnt(self) -> dict[str, nn.Parameter]:
        """Name the parameters that learn."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device


class AudioAdapting(Adapting):
    """An encoder of sound: clips in, one mean vector each out.

    Attributes:
        sample_rate: hertz.
    """

    sample_rate: int

    @abstractmethod
    def prepare(self, wave: FloatArray) -> FloatArray:
        """Get a whole recording ready, before any stretch is drawn from it."""


class SpeechAdapting(AudioAdapting):
    """HuBERT, wav2vec 2.0 or WavLM: clips in, one mean vector each out.

    The convolutions take each clip by itself, positions see zeros beyond a clip's end, and the
    attention is masked, as when the encoder is used. Layers are never skipped and no frame is
    masked in training.

    Args:
        folder, frozen: see `Adapting`.
        device: where it runs.
    """

    def __init__(self, folder: ModelFolder, frozen: int | None, device: str) -> None:
        super().__init__(folder, frozen, WAVEFORM)
        settings = folder.settings("preprocessor_config.json")
        self.sample_rate = int(settings.get("sampling_rate", 16_000))
        self.normalises = bool(settings.get("do_normalize", True))
        self._mask: Tensor | None = None
        for module in self.model.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(self._silence_padding)
        self.to(device)
        self._front = ConvFrontEnd(self.model.feature_extractor, device, torch.float32)

    def layers(self) -> list[nn.Module]:
        """Give the transformer layers."""
        return list(self.model.encoder.layers)

    def above(self) -> Iterable[nn.Module]:
        """The last norm, in models that have it above the layers."""
        stable = getattr(self.model.config, "do_stable_layer_norm", False)
        return (self.model.encoder.layer_norm,) if stable else ()

    def prepare(self, wave: FloatArray) -> FloatArray:
        """Bring a whole recording to mean 0 and deviation 1, where the model wants that."""
        if self.normalises:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        shortest = self._front.samples(1)
        if len(wave) < shortest:
            wave = np.pad(wave, (0, shortest - len(wave)))
        return np.ascontiguousarray(wave, dtype=np.float32)

    def forward(self, clips: Sequence[FloatArray]) -> Tensor:
        """Turn clips of ``(samples,)`` into ``(clips, dim)``."""
        with torch.no_grad():
            frames = [self._front(torch.from_numpy(clip).to(self.device)) for clip in clips]
            counts = torch.tensor([len(one) for one in frames], device=self.device)
            padded = pad_sequence(frames, batch_first=True)
            hidden = self.model.feature_projection(padded)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        mask = torch.arange(hidden.shape[1], device=self.device)[None, :] < counts[:, None]
        self._mask = None if bool(mask.all()) else mask
        with warnings.catch_warnings():
            # WavLM hands PyTorch a boolean mask beside a float bias, which works but is frowned on.
            warnings.filterwarnings("ignore", message=".*mismatched.*mask.*")
            last = self.model.encoder(hidden, attention_mask=self._mask).last_hidden_state
        self._mask = None
        return masked_mean(last, mask)

    def _silence_padding(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        mask = self._mask
        return None if mask is None else (args[0] * mask[:, None, :].to(args[0].dtype),)


class TextAdapting(Adapting):
    """BERT or RoBERTa: texts in, the mean or the first of their tokens out.

    Args:
        folder, frozen: see `Adapting`.
        device: where it runs.
        pooling: ``mean`` or ``cls``.
    """

    def __init__(
        self, folder: ModelFolder, frozen: int | None, device: str, pooling: str = "mean"
    ) -> None:
        super().__init__(folder, frozen, TEXT)
        self.pooling = pooling
        self._tokenizer = _read_tokenizer(folder)
        positions = int(self.model.config.max_position_embeddings)
        if folder.kind == "roberta":  # counts positions from its padding number on
            positions -= int(self.model.config.pad_token_id or 0) + 1
        self._longest = min(MOST_TOKENS, positions, int(self._tokenizer.model_max_length))
        self.to(device)

    def layers(self) -> list[nn.Module]:
        """Give the transformer layers."""
        return list(self.model.encoder.layer)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into ``(texts, dim)``; one longer than the model takes, or 128, is cut."""
        found = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        )
        mask = found["attention_mask"].to(self.device)
        last: Tensor = self.model(
            input_ids=found["input_ids"].to(self.device), attention_mask=mask
        ).last_hidden_state
        return last[:, 0] if self.pooling == "cls" else masked_mean(last, mask.bool())


def _read_tokenizer(folder: ModelFolder) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"the tokenizer of {folder.path} cannot be loaded: {reason}") from error
