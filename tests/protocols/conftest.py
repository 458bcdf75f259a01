from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emofuse.manifest import Manifest, Utterance

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
SESSION_SIZES = (1085, 1023, 1151, 1031, 1241)  # IEMOCAP, excitement merged: 5,531


@pytest.fixture(scope="session")
def iemocap() -> Manifest:
    """5,531 utterances in IEMOCAP's shape: 5 sessions, 2 speakers each, shared scripts."""
    rng = np.random.default_rng(0)
    utterances = []
    for session, size in enumerate(SESSION_SIZES, start=1):
        for number in range(size):
            gender = "FM"[int(rng.integers(2))]
            dialogue = f"Ses{session:02d}_{'script' if number % 2 else 'impro'}{number % 28:02d}"
            utterances.append(
                Utterance(
                    id=f"{dialogue}_{gender}{number:04d}",
                    corpus="iemocap",
                    text=f"line {number if number % 2 else int(rng.integers(10**6))}",
                    emotion=EMOTIONS[int(rng.choice(4, p=(0.2, 0.296, 0.309, 0.195)))],
                    speaker=f"Ses{session:02d}{gender}",
                    session=str(session),
                    dialogue=dialogue,
                )
            )
    return Manifest(utterances, Path())


@pytest.fixture
def make() -> Callable[..., Manifest]:
    """A small corpus: ``speakers`` x 4 emotions x ``sentences``."""

    def build(
        speakers: int = 6, sentences: int = 5, corpus: str = "toy", prefix: str = ""
    ) -> Manifest:
        return Manifest(
            (
                Utterance(
                    id=f"{prefix}{speaker:02d}-{emotion}-{sentence}",
                    corpus=corpus,
                    text=f"Sentence {sentence}!",
                    emotion=emotion,
                    speaker=f"s{speaker:02d}",
                    session=str(speaker // 2),
                    dialogue=f"d{speaker // 2}.{sentence}",
                )
                for speaker in range(speakers)
                for emotion in EMOTIONS
                for sentence in range(sentences)
            ),
            Path(),
        )

    return build
