from __future__ import annotations

import numpy as np
import pytest

from emofuse.manifest import Manifest, Utterance

CLASSES = ("anger", "happiness", "sadness")
WORDS = {"anger": "stop furious blame", "happiness": "lovely dance party", "sadness": "rain lost"}


@pytest.fixture
def recipe_data(tmp_path):
    """FleSER on words and sounds of its own, small enough to train in a second."""
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
        "encoders": {"text": {"name": "ngrams", "dim": 64}},
        "model": {"name": "fleser", "hidden": 16, "heads": 2},
        "objective": [{"name": "cross-entropy"}, {"name": "supcon", "of": "text", "weight": 0.1}],
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {
            "epochs": 5,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "patience": None,
            "checkpoint_seconds": 0,
            "device": "cpu",
        },
        "seeds": [0],
    }
