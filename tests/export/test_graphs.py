"""Encoders and fusion models as graphs, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import Encoder, EncoderSpec, Item
from emofuse.encoders.onnx_encoders import OnnxEncoder, OnnxSpeech, OnnxText
from emofuse.encoders.onnx_graph import Graph
from emofuse.recognition.exporting.graphs import encoder_graph
from emofuse.recognition.exporting.shrink import shrink

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
    ["layer=mean,pooling=mean+std", "layer=1,granularity=frames,stride=2", "pooling=stats"],
)
def test_whisper(options: str, checkpoint: Callable[[str], Path]) -> None:
    encoder = load_encoder("audio", EncoderSpec.from_text(f"{checkpoint('whisper')}:{options}"))
    graph = exported(encoder)
    for ours, theirs in zip(graph.encode(waves()), encoder.encode(waves()), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert (graph.dim, graph.sample_rate) == (encoder.dim, encoder.sample_rate)


SPEECH = [
    "wav2vec2-group",
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in (
            "wav2vec2-layer",
            "hubert-group",
            "hubert-batch-norm",
            "wavlm-group",
            "wavlm-layer",
            "data2vec-audio",
            "unispeech-sat",
        )
    ),
]


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
