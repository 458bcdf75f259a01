"""A small corpus of sounds and sentences, and runs trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.evaluation.label_leak import voiced_signal
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import write_wav
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

LABELS = ("anger", "happiness", "neutral", "sadness")
WORDS = {
    "anger": "stop shouting never furious",
    "happiness": "lovely party dance sun",
    "neutral": "table road house today",
    "sadness": "alone rain lost tears",
}


def make_corpus(folder: Path, items: int = 24, first: int = 0, corpus: str = "toy") -> Path:
    """Sounds whose level and words partly tell the emotion; a speaker says eight."""
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for number in range(first, first + items):
        label, random = LABELS[number % 4], np.random.default_rng(number)
        wave = voiced_signal(random)[: 6000 + 400 * (number % 3)]
        write_wav(folder / f"{number}.wav", wave * 0.1 * (1 + number % 4))
        words = " ".join(random.choice(WORDS[label].split(), 3))
        utterances.append(
            Utterance(
                id=f"u{number:02d}",
                corpus=corpus,
                audio=f"{number}.wav",
                text=f"{words} the end is near now number {number}",
                emotion=label,
                speaker=f"{corpus} s{number // 8}",
            )
        )
    path = folder / "manifest.jsonl"
    Manifest(utterances, folder).save(path)
    return path


def recipe_for(folder: Path, manifest: Path, **changes: Any) -> dict[str, Any]:
    """A recipe that trains on it in a moment."""
    return {
        "name": "toy",
        "data": {"manifest": str(manifest), "scheme": "basic4", "store": str(folder / "store")},
        "encoders": {
            "audio": "logmel:pooling=mean+std",
            "text": {"name": "ngrams", "dim": 128},
        },
        "model": {"name": "mlp", "hidden": 8},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 3, "dev": 0.3},
        "trainer": {"epochs": 4, "batch_size": 8, "device": "cpu", "patience": None},
        "seeds": [0],
        **changes,
    }


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, and runs of both modalities and of each alone."""
    folder = tmp_path_factory.mktemp("stress")
    manifest = make_corpus(folder / "corpus")
    data = recipe_for(folder, manifest)
    train(parse_recipe(data), folder / "both")
    for kept in ("audio", "text"):
        alone = {**data, "encoders": {kept: data["encoders"][kept]}}
        train(parse_recipe(alone), folder / kept)
    return folder
