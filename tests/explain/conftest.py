"""A planted corpus: a burst of a tone, or one word, is all that tells the class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.encoders.logmel import LogMel
from emofuse.models.build import build_model, seeded
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

CLASSES = ("anger", "happiness", "sadness")
WORDS = {"anger": "furious", "happiness": "lovely", "sadness": "lonely"}
FILLER = ["the", "we", "it", "to", "and", "then", "today", "house", "road", "table"]
HERTZ = {"anger": 600.0, "happiness": 1500.0, "sadness": 3500.0}
RATE, SECONDS, BURST = 16_000, 1.2, 0.25


def sentence(emotion: str, random: np.random.Generator) -> str:
    """Three words that say nothing and one that says it all."""
    words = [*random.choice(FILLER, 3, replace=False), WORDS[emotion]]
    random.shuffle(words)
    return " ".join(words)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the planted corpus: four speakers, three classes, four takes; a manifest."""
    folder = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(0)
    lines = []
    for speaker in range(4):
        for emotion in CLASSES:
            for take in range(4):
                name = f"s{speaker}-{emotion}-{take}"
                start = float(random.uniform(0.05, SECONDS - BURST - 0.05))
                soundfile.write(
                    folder / f"{name}.wav", with_tones([(HERTZ[emotion], start)], random), RATE
                )
                lines.append(
                    {
                        "id": name,
                        "corpus": "planted",
                        "audio": f"{name}.wav",
                        "text": sentence(emotion, random),
                        "emotion": emotion,
                        "speaker": f"s{speaker}",
                        "extra": {"start": start},
                    }
                )
    path = folder / "planted.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def recipe_for(manifest: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "planted",
        "data": {
            "manifest": str(manifest),
            "scheme": {
                "name": "planted",
                "classes": list(CLASSES),
                "vad": {"valence": [1.0, 5.0], "arousal": [1.0, 5.0]},
            },
            "store": str(manifest.parent / "store"),
        },
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.0},
        "trainer": {
            "epochs": 25,
            "batch_size": 12,
            "learning_rate": 5e-3,
            "patience": None,
            "device": "cpu",
            "modality_dropout": 0.2,
        },
        "seeds": [0, 1],
        **changes,
    }


@pytest.fixture(scope="session")
def fleser_run(planted: Path) -> Path:
    """A run of FleSER over frames and words, whose text alone is clean."""
    data = recipe_for(
        planted,
        encoders={
            "audio": {"name": "logmel", "granularity": "frames", "stride": 4},
            "text": {"name": "ngrams", "dim": 64, "granularity": "frames"},
        },
        model={"name": "fleser", "fusion": "cross_attention", "hidden": 16, "heads": 2},
    )
    data["trainer"] |= {"epochs": 6, "learning_rate": 1e-2}
    folder = planted.parent / "fleser"
    train(parse_recipe(data, "planted"), folder)
    return folder


@pytest.fixture(scope="session")
def mlp_run(planted: Path) -> Path:
    """A run over pooled vectors."""
    data = recipe_for(
        planted,
        encoders={
            "audio": {"name": "logmel", "pooling": "mean+std"},
            "text": {"name": "ngrams", "dim": 128},
        },
        model={"name": "mlp", "hidden": 16},
        seeds=[0],
    )
    folder = planted.parent / "mlp"
    train(parse_recipe(data, "planted"), folder)
    return folder


TELLING, DISTRACTING = 1500.0, 3500.0


def with_tones(tones: list[tuple[float, float]], random: np.random.Generator) -> np.ndarray:
    """Noise with short tones: hertz and second of each."""
    wave = 0.02 * random.standard_normal(int(RATE * SECONDS))
    count = int(BURST * RATE)
    for hertz, start in tones:
        first = int(start * RATE)
        tone = np.sin(2 * np.pi * hertz * np.arange(count) / RATE) * np.hanning(count)
        wave[first : first + count] += 0.2 * tone
    return wave.astype(np.float32)


@pytest.fixture(scope="session")
def bursts():
    """Log-mel clips of two classes: values, labels, where the telling and the other burst begin.

    Every clip has a burst at 3,500 Hz, which tells nothing; class 1 has one at 1,500 Hz as well.
    """
    random = np.random.default_rng(1)
    encoder = LogMel(EncoderSpec(name="logmel", granularity="frames"))
    labels = [place % 2 for place in range(64)]
    starts = random.uniform(0.05, SECONDS - BURST - 0.05, (64, 2))
    waves = [
        with_tones([(DISTRACTING, other), (TELLING, start)][: 1 + label], random)
        for label, (start, other) in zip(labels, starts, strict=True)
    ]
    arrays = encoder.encode([Item(str(place), waveform=one) for place, one in enumerate(waves)])
    values = torch.from_numpy(np.stack(arrays))
    return values, torch.tensor(labels), starts


def fit(model, batch: Batch, labels, epochs: int, rate: float):
    """Train a model in the plainest way."""
    model.fit_normalisation(batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    with seeded(0):
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(labels)), 16):
                parts = {
                    name: Sequences(part.values[rows], part.mask[rows])
                    for name, part in batch.modalities.items()
                }
                loss = torch.nn.functional.cross_entropy(model(Batch(parts)).logits, labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return model.eval()


def one_of(values, row: int) -> Batch:
    """Give one clip as a batch."""
    part = values[row : row + 1]
    return Batch({"audio": Sequences(part, torch.ones(part.shape[:2], dtype=torch.bool))})


def whole(values) -> Batch:
    """Give all clips as a batch."""
    return Batch({"audio": Sequences(values, torch.ones(values.shape[:2], dtype=torch.bool))})


@pytest.fixture(scope="session")
def conv_model(bursts):
    """Convolutions and LSTM that learnt to hear the telling burst."""
    values, labels, _ = bursts
    options = {"architecture": "cnn-bilstm", "dropout": 0.0}
    model = build_model("copenhagen", options, ModelSpec({"audio": 64}, 2), 0)
    return fit(model, whole(values[:48]), labels[:48], 8, 1e-3)
