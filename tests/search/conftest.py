from __future__ import annotations

import numpy as np
import pytest
from tests.sentences import CLASSES, FILLER, VOCABULARY

from emofuse.manifest import Manifest, Utterance


@pytest.fixture
def make_manifest(tmp_path):
    """Sentences whose words partly tell the emotion; six speakers; a split by speaker."""

    def make(name="toy.jsonl", items=48, seed=0, relabel_test=0):
        random = np.random.default_rng(seed)
        utterances = []
        for number in range(items):
            emotion = CLASSES[number % 3]
            words = [*random.choice(FILLER, 4)]
            if random.random() < 0.6:
                words += [*random.choice(VOCABULARY[emotion].split(), 2)]
            random.shuffle(words)
            speaker = (number // 3) % 6
            split = {4: "dev", 5: "test"}.get(speaker, "train")
            if split == "test":
                emotion = CLASSES[(number + relabel_test) % 3]
            utterances.append(
                Utterance(
                    id=f"u{number:03d}",
                    corpus="toy",
                    text=" ".join(words) + f" {number}",
                    emotion=emotion,
                    speaker=f"s{speaker}",
                    split=split,
                )
            )
        Manifest(utterances, tmp_path).save(tmp_path / name)
        return str(tmp_path / name)

    return make


@pytest.fixture
def recipe_data(make_manifest, tmp_path):
    """A recipe, as read from YAML, that trains on the toy manifest in a second."""
    return {
        "name": "toy",
        "data": {
            "manifest": make_manifest(),
            "scheme": {"name": "toy", "classes": list(CLASSES)},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 64}},
        "model": {"name": "mlp", "hidden": 8},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "patience": None,
            "checkpoint_seconds": 5,
            "device": "cpu",
        },
        "seeds": [0],
    }
