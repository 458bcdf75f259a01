"""Run the command line in this process, from an empty directory, and see what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.calls import call_emofuse


@dataclass(frozen=True)
class Done:
    """What a call left behind."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Call ``emofuse WORDS...`` from an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("EMOFUSE_DEBUG", raising=False)

    def call(*words: object, stdin: bytes = b"") -> Done:
        return Done(*call_emofuse(capfd, *words, stdin=stdin))

    return call


EMOTIONS = ("anger", "happiness", "neutral", "sadness")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Write a tiny corpus whose pitch and words tell the emotion, and its manifest."""
    rng = np.random.default_rng(0)
    lines = []
    for speaker in range(4):
        for place, emotion in enumerate(EMOTIONS):
            for take in range(3):
                name = f"s{speaker}-{emotion}-{take}"
                rate, seconds = 16_000, 0.4 + 0.1 * take
                t = np.arange(int(rate * seconds)) / rate
                tone = np.sin(2 * np.pi * (110 + 90 * place + 7 * speaker) * t)
                swell = np.interp(t, np.linspace(0, seconds, 8), rng.uniform(0.02, 1.0, 8))
                wave = 0.2 * tone * swell + 0.01 * rng.standard_normal(t.size)
                soundfile.write(tmp_path / f"{name}.wav", wave, rate)
                lines.append(
                    {
                        "id": name,
                        "corpus": "tiny",
                        "audio": f"{name}.wav",
                        "text": f"this is take {take} of {emotion[: 3 + take]}",
                        "emotion": emotion,
                        "speaker": f"s{speaker}",
                    }
                )
    path = tmp_path / "tiny.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path
