"""A bundle with drawn weights and recordings of bursts: quick, and never the same answer twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.labels import get_scheme
from emofuse.models.build import build_model, parse_model_options
from emofuse.models.bundle import BundleConfig, DataNote, ModelNote, write_bundle
from emofuse.models.contract import ModelSpec
from emofuse.recognition.recognizer import Recognizer

RATE = 16_000
SPECS = {"audio": "logmel:pooling=mean+std", "text": "ngrams:dim=64"}


def make_bundle(folder: Path, *modalities: str, seed: int = 3) -> Path:
    """Write a bundle whose weights are drawn, not learnt."""
    scheme = get_scheme("basic4")
    encoders = {
        name: describe_encoder(load_encoder(name, EncoderSpec.from_text(SPECS[name]), "cpu"))
        for name in modalities
    }
    dims = {name: int(str(encoders[name]["dim"])) for name in modalities}
    options = parse_model_options("late-fusion", {"hidden": 8}).model_dump(mode="json")
    model = build_model("late-fusion", {"hidden": 8}, ModelSpec(dims, len(scheme.classes)))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in model.parameters():
            part.copy_(torch.randn(part.shape, generator=draw) * 0.4)
    config = BundleConfig(
        model=ModelNote(name="late-fusion", options=options),
        dims=dims,
        scheme=scheme,
        encoders=encoders,
        data=DataNote(corpora=("none",), licences={"none": "CC0-1.0"}),
        trained_with_dropout=True,
    )
    write_bundle(folder, model, config)
    return folder


@pytest.fixture(scope="session")
def recognizer(tmp_path_factory) -> Recognizer:
    return Recognizer.load(make_bundle(tmp_path_factory.mktemp("b") / "bundle", "audio"))


@pytest.fixture(scope="session")
def both(tmp_path_factory) -> Recognizer:
    folder = make_bundle(tmp_path_factory.mktemp("b") / "bundle", "audio", "text")
    return Recognizer.load(folder)


def voice(seconds: float, pitch: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A buzz with moving formants, four syllables a second: what a detector takes for speech."""
    time = np.arange(round(seconds * rate)) / rate
    draw = np.random.default_rng(seed)
    wave = np.zeros(len(time))
    for harmonic in range(1, 20):
        peak = 600 + 300 * np.sin(2 * np.pi * 0.7 * time + seed)
        gain = np.exp(-(((harmonic * pitch - peak) / 500) ** 2)) + 0.02
        wave += gain * np.sin(2 * np.pi * harmonic * pitch * time + draw.uniform(0, 6))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    return (0.1 * wave * syllables).astype(np.float32)


def recording(*parts: tuple[float, float], rate: int = RATE, noise: float = 3e-4) -> np.ndarray:
    """Pauses and voices in turn: (seconds of pause, seconds of voice) each, then a pause."""
    draw = np.random.default_rng(1)
    pieces = []
    for number, (pause, speech) in enumerate(parts):
        pieces += [
            np.zeros(round(pause * rate), np.float32),
            voice(speech, 110 + 47 * number, rate, number),
        ]
    pieces.append(np.zeros(rate, np.float32))
    wave = np.concatenate(pieces)
    return (wave + noise * draw.standard_normal(len(wave))).astype(np.float32)
