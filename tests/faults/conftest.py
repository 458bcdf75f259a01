from __future__ import annotations

import numpy as np
import pytest
import soundfile

from emofuse.manifest import Manifest, Utterance

CLASSES = ("anger", "happiness", "sadness")
WORDS = {"anger": "stop furious blame", "happiness": "lovely dance party", "sadness": "rain lost"}


@pytest.fixture
def recipe_data(tmp_path):
    """Words of three classes, in two stages and trained again on train + dev."""
    random = np.random.default_rng(0)
    utterances = []
    for number in range(60):
        emotion = CLASSES[number % 3]
        words = [*random.choice(WORDS[emotion].split(), 2), str(number)]
        utterances.append(
            Utterance(
                id=f"u{number:03d}",
                corpus="toy",
                text=" ".join(words),
                emotion=emotion,
                speaker=f"s{(number // 3) % 5}",
            )
        )
    Manifest(utterances, tmp_path).save(tmp_path / "toy.jsonl")
    return {
        "name": "toy",
        "data": {
            "manifest": str(tmp_path / "toy.jsonl"),
            "scheme": {"name": "toy", "classes": list(CLASSES)},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 256}},
        "model": {"name": "mlp", "hidden": 16},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {
            "epochs": 4,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "patience": None,
            "refit": True,
            "checkpoint_seconds": 0,
            "device": "cpu",
            "workers": 0,
            "stages": [{"name": "head", "freeze": ["projections"]}, {"name": "whole"}],
        },
        "seeds": [0, 1],
    }


@pytest.fixture
def sounds(tmp_path):
    """A manifest of short recordings of different lengths: tones of three classes."""

    def make(count=12, seconds=0.4):
        random = np.random.default_rng(1)
        utterances = []
        for number in range(count):
            length = int(16000 * seconds * (1 + number / count))
            tone = np.sin(np.arange(length) * (0.05 + 0.03 * (number % 3)))
            wave = 0.3 * tone + 0.05 * random.standard_normal(length)
            soundfile.write(tmp_path / f"{number:03d}.wav", wave, 16000)
            utterances.append(
                Utterance(
                    id=f"a{number:03d}",
                    corpus="tones",
                    audio=f"{number:03d}.wav",
                    emotion=CLASSES[number % 3],
                    speaker=f"s{(number // 3) % 4}",
                )
            )
        Manifest(utterances, tmp_path).save(tmp_path / "tones.jsonl")
        return tmp_path / "tones.jsonl"

    return make
