from __future__ import annotations

import numpy as np
import pytest
import soundfile
from tests.sentences import CLASSES, toy_sentences

from emofuse.manifest import Manifest, Utterance


@pytest.fixture
def recipe_data(tmp_path):
    """Words of three classes, in two stages and trained again on train + dev."""
    stages = [{"name": "head", "freeze": ["projections"]}, {"name": "whole"}]
    trainer = {"epochs": 4, "refit": True, "workers": 0, "stages": stages}
    return toy_sentences(tmp_path, trainer=trainer, seeds=[0, 1])


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
