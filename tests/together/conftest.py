from __future__ import annotations

import json

import numpy as np
import pytest
from tests.together.launching import COMMAND
from tests.training.speech import make_corpus, save_encoder, toy_recipe

from emofuse.manifest import Manifest, Utterance

ENCODERS = {
    "audio": {"pooling": "mean+std", "layer": "mean"},
    "text": {"granularity": "frames", "layer": -2},
}


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(COMMAND)
    return path


@pytest.fixture
def two_modalities(tmp_path):
    """Words in two encodings; some utterances lack one; classes uneven; 61 items a fold or so."""
    random = np.random.default_rng(0)
    classes = ("anger", "happiness", "sadness")
    utterances = []
    for number in range(83):
        emotion = classes[int(random.choice(3, p=[0.5, 0.3, 0.2]))]
        words = " ".join(
            [emotion[: int(random.integers(0, 6))], *random.choice(list("abcdefg"), 6)]
        )
        utterances.append(
            Utterance(
                id=f"u{number:02d}",
                corpus="toy",
                text=f"{words} {number}",
                emotion=emotion,
                speaker=f"s{number % 6}",
            )
        )
    Manifest(utterances, tmp_path).save(tmp_path / "two.jsonl")
    return {
        "name": "two",
        "data": {
            "manifest": str(tmp_path / "two.jsonl"),
            "scheme": {"name": "toy", "classes": list(classes)},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 32}},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {
            "epochs": 5,
            "batch_size": 9,  # 5 and 4 a process; the last batch of an epoch is uneven again
            "learning_rate": 5e-3,
            "patience": None,
            "checkpoint_seconds": 0,
            "device": "cpu",
            "workers": 0,
        },
        "seeds": [0],
    }


@pytest.fixture
def frames(two_modalities, tmp_path):
    """Sequences of two modalities; some utterances lack one of them."""
    import soundfile

    random = np.random.default_rng(1)
    listed = []
    for utterance in Manifest.load(tmp_path / "two.jsonl"):
        number = int(utterance.id[1:])
        pitch = 200 + 150 * ("anger", "happiness", "sadness").index(utterance.emotion)
        clock = np.arange(int(16_000 * random.uniform(0.2, 0.5))) / 16_000
        wave = 0.2 * np.sin(2 * np.pi * pitch * clock) + random.normal(size=len(clock)) * 0.05
        soundfile.write(tmp_path / f"{utterance.id}.wav", wave, 16_000)
        changes = {} if number % 14 == 0 else {"audio": f"{utterance.id}.wav"}
        changes |= {"text": None} if number % 7 == 3 else {}
        listed.append(utterance.model_copy(update=changes))
    Manifest(listed, tmp_path).save(tmp_path / "two.jsonl")
    return {
        **two_modalities,
        "encoders": {
            "audio": {"name": "logmel"},
            "text": {"name": "ngrams", "dim": 16},
        },
    }


def plain(folder):
    """Take the dropout out of an encoder: each process would draw it for its own items."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    dropouts = {name: 0.0 for name in config if "drop" in name and name != "layerdrop"}
    path.write_text(json.dumps({**config, **dropouts}))
    return folder


@pytest.fixture
def raw(tmp_path):
    """Tones and words, and encoders that learn with the model; some items lack a modality."""

    def make(kinds, **stage):
        make_corpus(tmp_path)
        encoders = {
            name: {"name": str(plain(save_encoder(kind, tmp_path / kind))), **ENCODERS[name]}
            for name, kind in kinds.items()
        }
        stages = [
            {"name": "head", "epochs": 2},
            {"name": "tune", "kind": "finetune", "epochs": 2, "learning_rate": 2e-3, **stage},
        ]
        return toy_recipe(
            tmp_path, encoders, trainer={"stages": stages, "batch_size": 5, "workers": 0}
        )

    return make
