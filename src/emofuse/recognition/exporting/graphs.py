"""Encoders and fusion models as ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.encoders.contract import Encoder, Item
from emofuse.encoders.hf_audio import HFSpeech
from emofuse.encoders.hf_folder import read_model
from emofuse.encoders.hf_text import HFText
from emofuse.encoders.hf_whisper import WhisperModel, read_spectrum
from emofuse.encoders.hidden import LayerTap, Wanted
from emofuse.encoders.onnx_encoders import STATES
from emofuse.encoders.onnx_graph import OnnxEncoderNote
from emofuse.encoders.waveforms import LONGEST_SECONDS
from emofuse.errors import WorkError
from emofuse.manifest import Modality
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.recognition.exporting.trace import trace

__all__ = ["EncoderGraph", "FusionGraph", "encoder_graph", "fusion_graph"]

FORMULAS = ("acoustic", "egemaps", "logmel", "ngrams", "prosody")
"""Encoders that compute without PyTorch, beside the graphs."""


@dataclass(frozen=True)
class EncoderGraph:
    """An encoder, exported.

    Attributes:
        note: what the graph takes.
        model: `onnx.ModelProto`.
        tokenizer: ``tokenizer.json``, of a text encoder.
    """

    note: OnnxEncoderNote
    model: Any
    tokenizer: str | None = None


@dataclass(frozen=True)
class FusionGraph:
    """A fusion model, exported.

    Attributes:
        model: `onnx.ModelProto`.
        weights: modalities whose weights it gives, in its order.
        vad: whether it gives valence, arousal and dominance.
    """

    model: Any
    weights: tuple[Modality, ...]
    vad: bool


def encoder_graph(modality: Modality, encoder: Encoder) -> EncoderGraph | None:
    """Export an encoder; None where it is a formula that computes without PyTorch.

    Raises:
        WorkError: it is of a kind that is not exported.
    """
    name = f"the {modality} encoder {encoder.spec.name}"
    file = f"encoder.{modality}.onnx"
    if isinstance(encoder, HFText):
        return _text(encoder, file, name)
    if isinstance(encoder, HFSpeech):
        if encoder.folder.kind == "whisper":
            return _whisper(encoder, file, name)
        return _waveform(encoder, file, name)
    if encoder.spec.name in FORMULAS:
        return None
    raise WorkError(
        f"{name} cannot be exported; what can: Hugging Face speech and text encoders, "
        f"{', '.join(FORMULAS)}"
    )


class _Whisper(nn.Module):
    def __init__(self, model: WhisperModel) -> None:
        super().__init__()
        self.module = model.module
        self._states = model.states

    def forward(self, mels: Tensor) -> Tensor:
        return self._states(mels)


def _whisper(encoder: HFSpeech, file: str, name: str) -> EncoderGraph:
    model = WhisperModel(encoder.folder, encoder.wanted, "fp32", "cpu")
    mel = read_spectrum(encoder.folder)
    graph = trace(
        _Whisper(model),
        {"mels": torch.zeros(2, mel.bands, 100)},
        (STATES,),
        {"mels": {0: "batch", 2: "time"}},
        name,
    )
    note = OnnxEncoderNote(
        kind="whisper",
        file=file,
        sample_rate=mel.sample_rate,
        longest=model.longest,
        hop=mel.hop,
        n_fft=mel.n_fft,
        bands=mel.bands,
    )
    return EncoderGraph(note, graph)


class _Waveform(nn.Module):
    """A stock model of the wav2vec 2.0 kind on clips of one length: there is no padding."""

    def __init__(self, model: Any, wanted: Wanted) -> None:
        super().__init__()
        self.model = model
        self._tap = LayerTap(model.encoder.layers, wanted)

    def forward(self, waveforms: Tensor) -> Tensor:
        features = self.model.feature_extractor(waveforms).transpose(1, 2)
        hidden = self.model.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self._tap.result(self.model.encoder(hidden).last_hidden_state)


def _waveform(encoder: HFSpeech, file: str, name: str) -> EncoderGraph:
    from emofuse.encoders.hf_frontend import ConvFrontEnd
    from emofuse.encoders.hf_waveform import fold_weight_norm

    folder = encoder.folder
    settings = folder.settings("preprocessor_config.json")
    model = read_model(folder)
    fold_weight_norm(model.encoder.pos_conv_embed)
    shortest = ConvFrontEnd(model.feature_extractor, "cpu", torch.float32).samples(1)
    rate = encoder.sample_rate
    graph = trace(
        _Waveform(model, encoder.wanted),
        {"waveforms": torch.randn(2, rate)},
        (STATES,),
        {"waveforms": {0: "batch", 1: "samples"}},
        name,
    )
    note = OnnxEncoderNote(
        kind="waveform",
        file=file,
        sample_rate=rate,
        longest=LONGEST_SECONDS * rate,
        shortest=shortest,
        normalise=bool(settings.get("do_normalize", True)),
    )
    return EncoderGraph(note, graph)


class _Text(nn.Module):
    def __init__(self, encoder: HFText) -> None:
        super().__init__()
        self.module = encoder.open()
        self._encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        return self._encoder.run(tokens, torch.ones_like(tokens))


def _text(encoder: HFText, file: str, name: str) -> EncoderGraph:
    encoder.open().float()
    tokenizer = encoder.tokenizer_json()
    ids = encoder.tokens(Item("text", text="what is said here"))
    graph = trace(
        _Text(encoder),
        {"tokens": torch.tensor([ids, ids[::-1]])},
        (STATES,),
        {"tokens": {0: "batch", 1: "length"}},
        name,
    )
    note = OnnxEncoderNote(
        kind="text", file=file, longest=encoder.longest, tokenizer="tokenizer.json"
    )
    return EncoderGraph(note, graph, tokenizer)


class _Fusion(nn.Module):
    """A fusion model that takes tensors and gives tensors."""

    def __init__(self, model: FusionModel, frames: Sequence[str], said: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self._frames, self._said = tuple(frames), said

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        output = self.model(_batch(self.model, inputs, self._frames))
        found = [output.logits]
        if self._said:
            found.append(torch.stack([output.weights[name] for name in self._said], dim=1).float())
        if output.vad is not None:
            found.append(output.vad)
        return tuple(found)


def fusion_graph(model: FusionModel, frames: Sequence[Modality], name: str) -> FusionGraph:
    """Export a fusion model.

    Args:
        model: on the processor.
        frames: modalities that enter as sequences.
        name: of the model, for messages.

    Raises:
        WorkError: PyTorch makes no graph of it.
    """
    model.eval()
    inputs: dict[str, Tensor] = {}
    free: dict[str, Mapping[int, str]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for modality, dim in model.spec.dims.items():
            long = modality in frames
            inputs[modality] = torch.randn(3, 5, dim) if long else torch.randn(3, dim)
            there = torch.ones((3, 5) if long else (3,), dtype=torch.bool)
            there[-1] = len(model.spec.dims) == 1 or modality in model.needs()
            inputs[f"{modality}_mask"] = there
            axes = {0: "batch", 1: f"{modality}_time"} if long else {0: "batch"}
            free[modality] = free[f"{modality}_mask"] = axes
    with torch.no_grad():
        output = model(_batch(model, tuple(inputs.values()), frames))
    names: dict[str, Modality] = {"audio": "audio", "text": "text", "video": "video"}
    said = tuple(names[n] for n in model.spec.dims if n in output.weights)
    outputs = [
        "logits",
        *(["weights"] if said else []),
        *(["vad"] if output.vad is not None else []),
    ]
    graph = trace(_Fusion(model, frames, said), inputs, outputs, free, f"model {name!r}")
    return FusionGraph(graph, said, output.vad is not None)


def _batch(model: FusionModel, inputs: Sequence[Tensor], frames: Sequence[str]) -> Batch:
    """Give values and masks, in turn for each modality, as a model takes them."""
    parts = {}
    for place, name in enumerate(model.spec.dims):
        values, mask = inputs[2 * place], inputs[2 * place + 1]
        if name not in frames:
            values, mask = values[:, None], mask[:, None]
        parts[name] = Sequences(values, mask)
    return Batch(parts)
