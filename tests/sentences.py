"""Sentences whose words tell three emotions apart, and a recipe that trains on them in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emofuse.manifest import Manifest, Utterance

CLASSES = ("anger", "happiness", "sadness")
WORDS = {"anger": "stop furious blame", "happiness": "lovely dance party", "sadness": "rain lost"}
VOCABULARY = {
    "anger": "stop shouting never furious enough blame",
    "happiness": "lovely party wonderful dance sunshine laugh",
    "sadness": "alone rain lost goodbye tears grave",
}
"""More words of each, for sentences that only partly tell."""
FILLER = ["the", "we", "is", "it", "to", "and", "then", "today", "house", "road", "table"]


def save_sentences(folder: Path, corpus: str = "toy", seed: int = 0, items: int = 60) -> Path:
    random = np.random.default_rng(seed)
    utterances = []
    for number in range(items):
        emotion = CLASSES[number % 3]
        words = [*random.choice(WORDS[emotion].split(), 2), str(number)]
        utterances.append(
            Utterance(
                id=f"{corpus[0] if corpus != 'toy' else 'u'}{number:03d}",
                corpus=corpus,
                text=" ".join(words),
                emotion=emotion,
                speaker=f"s{(number // 3) % 5}",
            )
        )
    path = folder / f"{corpus}.jsonl"
    Manifest(utterances, folder).save(path)
    return path


def toy_sentences(folder: Path, **changes: Any) -> dict[str, Any]:
    """Give a recipe on fresh sentences; ``trainer`` is added to, other keys are put in place."""
    trainer = {
        "batch_size": 16,
        "learning_rate": 1e-2,
        "patience": None,
        "checkpoint_seconds": 0,
        "device": "cpu",
        **changes.pop("trainer", {}),
    }
    return {
        "name": "toy",
        "data": {
            "manifest": str(save_sentences(folder)),
            "scheme": {"name": "toy", "classes": list(CLASSES)},
            "store": str(folder / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 256}},
        "model": {"name": "mlp", "hidden": 16},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": trainer,
        "seeds": [0],
        **changes,
    }
