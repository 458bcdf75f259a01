"""A toy corpus of tones and words, and tiny encoders, for tests that learn encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tests.encoders.conftest import SPEECH, save_speech, save_text, save_whisper

from emofuse.manifest import Manifest, Utterance

CLASSES = ("anger", "happiness", "sadness")
WORDS = ("i am so", "you are", "it is not")
SIGNS = ("sad !", "happy .", "it ?")


def save_encoder(kind: str, folder: Path) -> Path:
    if kind == "whisper":
        return save_whisper(folder)
    return (save_speech if kind in SPEECH else save_text)(kind, folder)


def make_corpus(root: Path, items: int = 36, speakers: int = 4) -> Manifest:
    """Pitch and words tell three emotions apart; some utterances lack audio, some lack text."""
    random = np.random.default_rng(0)
    utterances = []
    for number in range(items):
        label, speaker = number % 3, number // 3 % speakers
        t = np.arange(int(16_000 * random.uniform(0.1, 0.4))) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * (250 + 600 * label + 20 * speaker) * t)
        name = f"u{number:02d}"
        soundfile.write(root / f"{name}.wav", tone + 0.02 * random.standard_normal(t.size), 16_000)
        utterances.append(
            Utterance(
                id=name,
                corpus="toy",
                audio=None if number % 11 == 5 else f"{name}.wav",
                text=None if number % 11 == 7 else f"{random.choice(WORDS)} {SIGNS[label]}",
                emotion=CLASSES[label],
                speaker=f"s{speaker}",
            )
        )
    manifest = Manifest(utterances, root)
    manifest.save(root / "toy.jsonl")
    return manifest


def toy_recipe(root: Path, encoders: dict[str, Any], **changes: Any) -> dict[str, Any]:
    trainer = {
        "device": "cpu",
        "learning_rate": 1e-2,
        "batch_size": 8,
        "checkpoint_seconds": 0,
        "modality_dropout": 0.2,
        **changes.pop("trainer", {}),
    }
    return {
        "name": "toy",
        "data": {
            "manifest": str(root / "toy.jsonl"),
            "scheme": {"name": "toy", "classes": list(CLASSES)},
            "store": str(root / "store"),
        },
        "encoders": encoders,
        "model": {"name": "mlp", "hidden": 8},
        "protocol": {
            "name": "group-kfold",
            "by": "speaker",
            "k": 2,
            "dev": 0.4,
            "allow": ["audio", "text"],
        },
        "trainer": trainer,
        **changes,
    }
