"""Encoders and fusion models as graphs, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, Item
from emofuse.encoders.onnx_encoders import OnnxEncoder, OnnxSpeech, OnnxText
from emofuse.encoders.onnx_graph import Graph
from emofuse.errors import WorkError
from emofuse.models.build import build_model
from emofuse.models.bundle_config import OnnxCheck, OnnxNote
from emofuse.models.contract import ModelSpec
from emofuse.recognition.exporting.graphs import encoder_graph, fusion_graph
from emofuse.recognition.exporting.shrink import shrink
from emofuse.recognition.exporting.trace import trace
from emofuse.recognition.onnx_fusion import OnnxFusion
from emofuse.recognition.torch_fusion import TorchFusion

TEXTS = ("i am so happy !", "sad", "you are not it, are you ?", "i am " * 30)


def exported(encoder: Encoder, precision: str = "fp32") -> OnnxEncoder:
    found = encoder_graph(encoder.modality, encoder)
    assert found is not None
    graph = Graph(shrink(found.model, precision), "test")  # type: ignore[arg-type]
    about = describe_encoder(encoder)
    if found.tokenizer is None:
        return OnnxSpeech(about, encoder.spec, found.note, graph)
    return OnnxText(about, encoder.spec, found.note, graph, found.tokenizer.encode())


def waves(seconds: tuple[float, ...] = (0.005, 0.4, 1.7, 3.0)) -> list[Item]:
    rng = np.random.default_rng(0)
    return [
        Item(f"{s}", waveform=(0.1 * rng.standard_normal(int(16_000 * s))).astype(np.float32))
        for s in seconds
    ]


@pytest.mark.parametrize(
    "options",
    [
        "pooling=mean",
        pytest.param("layer=mean,pooling=mean+std", marks=pytest.mark.slow),
        pytest.param("layer=1,granularity=frames,stride=2", marks=pytest.mark.slow),
        pytest.param("pooling=stats", marks=pytest.mark.slow),
    ],
)
def test_whisper(options: str, checkpoint: Callable[[str], Path]) -> None:
    spec = EncoderSpec.from_text(f"{checkpoint('whisper')}:{options}")
    if options == "pooling=mean":
        spec = spec.model_copy(update={"layer": (1, 2), "trim": 30.0, "level": -23.0})
    encoder = load_encoder("audio", spec)
    graph = exported(encoder)
    for ours, theirs in zip(graph.encode(waves()), encoder.encode(waves()), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert (graph.dim, graph.sample_rate) == (encoder.dim, encoder.sample_rate)


SPEECH = (
    "wav2vec2-group",
    "wav2vec2-layer",
    "hubert-group",
    "hubert-batch-norm",
    "wavlm-group",
    "wavlm-layer",
    "data2vec-audio",
    "unispeech-sat",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPEECH)
def test_waveform(kind: str, checkpoint: Callable[[str], Path]) -> None:
    encoder = load_encoder("audio", EncoderSpec(name=str(checkpoint(kind)), layer="mean"))
    graph = exported(encoder)
    for ours, theirs in zip(graph.encode(waves()), encoder.encode(waves()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) for k in ("bert", "roberta", "distilbert")]
)
def test_text(kind: str, checkpoint: Callable[[str], Path]) -> None:
    encoder = load_encoder("text", EncoderSpec(name=str(checkpoint(kind)), layer=2))
    graph = exported(encoder)
    items = [Item(text[:20], text=text) for text in TEXTS]
    for ours, theirs in zip(graph.encode(items), encoder.encode(items), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert graph.take_warnings() == encoder.take_warnings() != ()
    assert graph.take_warnings() == ()


CHECK = OnnxCheck(on="-", answers=1, tolerance=1.0, largest=0.0, agreement=0.0, agreed=0.0)
DIMS = {"audio": 16, "text": 16}
SLOW = (
    "clipped-linear",
    "late-fusion",
    "fleser",
    "foal-net",
    "four-m-ser",
    "memocmt",
    "copenhagen",
    "vga-fusion",
)


BOTH = ("audio", "text")
FAST = (("linear", ()), ("mlp", BOTH), ("fleser", BOTH))
MODELS = [
    pytest.param(name, frames, marks=() if (name, frames) in FAST else pytest.mark.slow)
    for name in ("linear", "mlp", *SLOW)
    for frames in ((), BOTH)
]


@pytest.mark.parametrize(("name", "frames"), MODELS)
def test_models(name: str, frames: tuple[str, ...]) -> None:
    model = build_model(name, {}, ModelSpec(DIMS, 4), seed=1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found = fusion_graph(model, frames, name)  # type: ignore[arg-type]
    note = OnnxNote(
        source="-", opset=18, weights=found.weights, frames=frames, vad=found.vad, check=CHECK
    )
    onnx = OnnxFusion(Graph(shrink(found.model, "fp32"), name), note, DIMS)  # type: ignore[arg-type]
    plain = TorchFusion(model)
    rng = np.random.default_rng(2)
    kinds: list[tuple[str, ...]] = [("audio", "text")]
    kinds += [] if model.needs() else [("audio",), ("text",)]
    for count in (1, 2, 5):  # alone, and beside others that lack other things
        features = [
            {
                modality: rng.standard_normal(
                    (int(rng.integers(1, 9)) if modality in frames else 1, 16)
                ).astype(np.float32)
                for modality in kinds[row % len(kinds)]
            }
            for row in range(count)
        ]
        one, two = plain.say(features), onnx.say(features)
        np.testing.assert_allclose(two.logits, one.logits, atol=5e-5)
        for modality, weights in two.weights.items():
            np.testing.assert_allclose(weights, one.weights[modality], atol=1e-5)


class _Counting(torch.nn.Module):
    """Makes a number of the batch's size, which a graph then has for good."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * torch.ones(len(values), 1)


def test_a_network_of_one_batch_size_is_refused() -> None:
    with pytest.raises(WorkError, match="it cannot be exported: its graph takes x of one batch"):
        trace(_Counting(), {"x": torch.randn(3, 4)}, ["y"], {"x": {0: "batch"}}, "it")
