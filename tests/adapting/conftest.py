"""A bundle with drawn weights that knows the voices of its training, and clips of three."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.timeline.conftest import RATE, make_bundle, voice

from emofuse.models.bundle import CONFIG_NAME
from emofuse.models.voices_note import pack
from emofuse.recognition.recognizer import Recognizer

HALF = 3.0
CLASSES = ("anger", "happiness", "neutral", "sadness")


def knowing(folder: Path, *modalities: str, half: float = HALF) -> Path:
    """Write a bundle that knows where the voices of its training lie (drawn, too)."""
    make_bundle(folder, *modalities)
    config = json.loads((folder / CONFIG_NAME).read_text())
    dim = config["dims"]["audio"]
    random = np.random.default_rng(5)
    mean, moods = random.normal(-2.0, 1.0, dim), random.normal(size=(len(CLASSES), dim))
    config["voices"] = {
        "dim": dim,
        "mean": pack(mean),
        "moods": {name: pack(one) for name, one in zip(CLASSES, moods, strict=True)},
        "half": half,
        "utterances": 40,
        "speakers": 4,
    }
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    return knowing(tmp_path_factory.mktemp("adapting") / "bundle", "audio")


@pytest.fixture(scope="session")
def recognizer(bundle) -> Recognizer:
    return Recognizer.load(bundle)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A folder a speaker: anna has 5 clips, bert 3, carl 1."""
    home = tmp_path_factory.mktemp("clips")
    for number, (name, count) in enumerate({"anna": 5, "bert": 3, "carl": 1}.items()):
        (home / name).mkdir()
        for clip in range(count):
            wave = voice(0.6 + 0.1 * clip, 110 + 60 * number + 9 * clip, seed=10 * number + clip)
            soundfile.write(home / name / f"{clip}.wav", wave, RATE, subtype="FLOAT")
    return home
