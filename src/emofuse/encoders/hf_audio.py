"""Any Hugging Face speech encoder, by hub name or local folder.

A clip is encoded at its real length: nothing is padded to a fixed window, and what pads a batch
never reaches the result. Items are bucketed by length. A clip longer than the model takes (30 s for
Whisper, 60 s for the others, whose cost grows with the square of the length) is cut into equal
parts that are encoded by themselves and joined.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from emofuse.encoders.adapted import folder_provenance
from emofuse.encoders.batching import make_batches
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.hf_folder import ModelFolder, find_folder
from emofuse.encoders.hidden import choose_layer, layers_wide
from emofuse.encoders.pooling import pooled_dim, reduced
from emofuse.encoders.precision import resolve_precision
from emofuse.encoders.settings import heard_waveform, refuse_options
from emofuse.encoders.workers import parallel_map
from emofuse.errors import EncoderError, OptionError

__all__ = ["HFSpeech", "SpeechModel", "load_audio"]

CPU_FRAMES = 400  # frames of a batch, padding counted: enough to keep one core busy
GPU_FRAMES = 60_000
WAVEFORM_MODELS = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")


class SpeechModel(Protocol):
    """What the architectures differ in.

    Attributes:
        sample_rate: hertz.
        frame_rate: frames a second.
        longest: samples that one pass takes.
        prefix: what the names of `module` begin with in the folder's weights.
    """

    sample_rate: int
    frame_rate: float
    longest: int
    prefix: str

    @property
    def module(self) -> torch.nn.Module:
        """The weights that `forward` uses above the convolutions."""

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The transformer layers that the result of `forward` depends on, the lowest first."""

    @property
    def above(self) -> list[torch.nn.Module]:
        """What the result depends on above the last layer."""

    def prepare(self, waveform: FloatArray) -> list[FloatArray]:
        """Turn a clip of any length into inputs of one pass each."""

    def frames(self, part: FloatArray) -> int:
        """Count the frames that an input gives."""

    def forward(self, parts: Sequence[FloatArray]) -> list[torch.Tensor]:
        """Encode inputs together into ``(frames, dim)`` float32 each."""


def load_audio(spec: EncoderSpec, device: str = "cpu") -> Encoder:
    """Find a speech encoder; its weights are read when it first encodes.

    Raises:
        OptionError: a layer or option that the encoder does not have.
        EncoderError: the model cannot be found, or is of an architecture not known here.
    """
    return HFSpeech(spec, find_folder(spec), device)


class HFSpeech(Encoder):
    """A speech encoder of the Hugging Face hub, frozen.

    Args:
        spec: what of it; every option but ``dim`` and ``pooling: cls`` counts.
        folder: where it lies.
        device: where it runs.

    Attributes:
        wanted: hidden layer, several side by side, or None for the mean of all.
    """

    modality = "audio"
    reentrant = True

    def __init__(self, spec: EncoderSpec, folder: ModelFolder, device: str = "cpu") -> None:
        refuse_options(spec, "dim", strides=True, speech=True)
        if spec.pooling == "cls":
            raise OptionError(f"{spec.name} has no cls token; legal: mean, mean+std, max, stats")
        self.spec, self.folder, self.revision = spec, folder, folder.revision
        self.precision = resolve_precision(spec, device)
        self.provenance = folder_provenance(folder)
        self._device = device
        self.wanted = choose_layer(spec, _layer_count(folder))
        self._model: SpeechModel | None = None
        width = int(folder.config.get("d_model") or folder.config["hidden_size"])
        pooled = spec.granularity == "pooled"
        width *= layers_wide(self.wanted)
        self.dim = pooled_dim(spec.pooling, width) if pooled else width
        rate = int(folder.settings("preprocessor_config.json").get("sampling_rate", 16_000))
        self.sample_rate = rate
        self.frame_rate = None if pooled else rate / _stride(folder) / spec.stride

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(frames, dim)`` or ``(1, dim)`` array an item (see `Encoder.encode`)."""
        model = self.open()
        waves = [self.heard(item) for item in items]
        prepared = parallel_map(model.prepare, waves)
        owners = [place for place, parts in enumerate(prepared) for _ in parts]
        found = self._run(model, [part for parts in prepared for part in parts])
        joined: list[list[FloatArray]] = [[] for _ in items]
        for owner, frames in zip(owners, found, strict=True):
            joined[owner].append(frames)
        whole = [frames[0] if len(frames) == 1 else np.concatenate(frames) for frames in joined]
        return [reduced(frames, self.spec) for frames in whole]

    def _run(self, model: SpeechModel, parts: Sequence[FloatArray]) -> list[FloatArray]:
        budget = CPU_FRAMES if torch.device(self._device).type == "cpu" else GPU_FRAMES
        lengths = [model.frames(part) for part in parts]

        def encode(batch: list[int]) -> list[FloatArray]:
            states = model.forward([parts[place] for place in batch])
            return [state.cpu().numpy() for state in states]

        def cost(batch: list[int]) -> float:
            return float(sum(lengths[place] for place in batch))

        batches = make_batches(lengths, budget)
        with warnings.catch_warnings():
            # WavLM hands PyTorch a boolean mask beside a float bias, which works but is frowned on.
            warnings.filterwarnings("ignore", message=".*mismatched.*mask.*")
            results = parallel_map(encode, batches, self._device, cost)
        found: list[FloatArray] = [np.empty((0, 0), np.float32)] * len(parts)
        for batch, arrays in zip(batches, results, strict=True):
            for place, array in zip(batch, arrays, strict=True):
                found[place] = array
        return found

    def heard(self, item: Item) -> FloatArray:
        """Give an item's waveform as the model hears it: trimmed and levelled as the spec says."""
        return heard_waveform(item, self.spec, self.sample_rate)

    def open(self) -> SpeechModel:
        """Give the model, whose weights are read at the first call.

        Raises:
            EncoderError: they cannot be read.
        """
        if self._model is None:
            if self.folder.kind == "whisper":
                from emofuse.encoders.hf_whisper import WhisperModel

                self._model = WhisperModel(self.folder, self.wanted, self.precision, self._device)
            else:
                from emofuse.encoders.hf_waveform import WaveformModel

                self._model = WaveformModel(self.folder, self.wanted, self.precision, self._device)
        return self._model


def _layer_count(folder: ModelFolder) -> int:
    if folder.kind == "whisper":
        return int(folder.config["encoder_layers"])
    if folder.kind in WAVEFORM_MODELS:
        return int(folder.config["num_hidden_layers"])
    legal = ", ".join((*WAVEFORM_MODELS, "whisper"))
    raise EncoderError(
        f"{folder.name} is a {folder.kind or 'nameless'!r} model, not a speech encoder known here; "
        f"legal model types: {legal}"
    )


def _stride(folder: ModelFolder) -> int:
    """Samples from one frame to the next."""
    if folder.kind == "whisper":
        return 2 * int(folder.settings("preprocessor_config.json").get("hop_length", 160))
    return int(np.prod(folder.config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))))
