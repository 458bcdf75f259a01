from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emofuse.manifest import Manifest, Utterance


def build_corpus(folder: Path, count: int, seconds: float = 0.4) -> Manifest:
    """Noise of different lengths, one file an utterance."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    utterances = []
    for place in range(count):
        samples = int(16000 * seconds * (0.5 + rng.random()))
        soundfile.write(folder / f"{place:03d}.wav", rng.normal(size=samples) * 0.1, 16000)
        utterances.append(
            Utterance(
                id=f"u{place:03d}",
                corpus="noise",
                audio=f"{place:03d}.wav",
                text=f"sentence number {place % 5}",
                emotion="anger",
            )
        )
    return Manifest(utterances, folder)


@pytest.fixture
def corpus(tmp_path: Path) -> Manifest:
    return build_corpus(tmp_path / "corpus", 12)


@pytest.fixture
def make_corpus() -> Callable[..., Manifest]:
    return build_corpus
