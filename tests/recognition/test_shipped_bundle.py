"""The bundle that comes along: small, whole, right about real clips, deaf to empty words."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emofuse.recognition.loading import find_bundle
from emofuse.recognition.recognizer import Recognizer

FOLDER = find_bundle(None)
assets = os.environ.get("EMOFUSE_ASSETS")
real = pytest.mark.skipif(assets is None, reason="EMOFUSE_ASSETS names no real audio")
MEAN = "mean of the three"
CLIPS = {
    "emodb/wav/03a01Wa.wav": "anger",
    "emodb/wav/16b10Tb.wav": "sadness",
    "emodb/wav/09a02Wb.wav": "anger",
    "ravdess/Actor_10/03-01-05-02-01-01-10.flac": "anger",
    "ravdess/Actor_08/03-01-01-01-02-02-08.flac": "neutral",
}


def entries(part: Any) -> Iterator[list[float]]:
    """Every figure: ``[value, low, high]``, or ``[value]``."""
    if isinstance(part, dict):
        for one in part.values():
            yield from entries(one)
    elif isinstance(part, list) and part and isinstance(part[0], float):
        yield part
    elif isinstance(part, list):
        for one in part:
            yield from entries(one)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


def test_it_is_small_and_whole() -> None:
    files = [file for file in FOLDER.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 16e6
    config = json.loads((FOLDER / "config.json").read_text("utf-8"))
    for name, digest in config["hashes"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert config["encoders"]["audio"]["spec"]["name"] == "openai/whisper-tiny.en"
    assert config["calibration"]["notes"][-1].startswith("fitted leave-one-corpus-out")


def test_its_card_says_what_was_measured_and_what_it_cannot() -> None:
    card = (FOLDER / "README.md").read_text("utf-8")
    figures = json.loads((FOLDER / "figures.json").read_text("utf-8"))
    shown = {name: figures[name] for name in figures if name != "in one corpus"}
    stressed, plain = figures["stress"].values()
    shown["stress"] = {"ours": stressed, "plain": {name: plain[name][MEAN] for name in plain}}
    said = list(entries(shown))
    assert len(said) > 40
    for entry in said:
        around = f" ({entry[1]:.1f} to {entry[2]:.1f})" if len(entry) == 3 else ""
        assert f"{entry[0]:.1f}{around} " in card
    for part in ("## On corpora it never heard", "## What it cannot do", "CC BY-NC-SA 4.0"):
        assert part in card
    ours, theirs = (figures["corpora"][name][MEAN][0] for name in ("left out", "eGeMAPS"))
    assert ours > theirs + 10
    assert ours > 60


def test_it_learned_from_noise_and_codecs() -> None:
    figures = json.loads((FOLDER / "figures.json").read_text("utf-8"))
    stressed, plain = figures["stress"].values()
    hard = [name for name in stressed if name != "clean"]
    assert {name.split()[0] for name in hard} == {"noise", "reverb", "telephone", "codec"}
    gained = [stressed[name][MEAN][0] - plain[name][MEAN][0] for name in hard]
    assert sum(gained) / len(gained) > 0


@real
@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_right_about_plain_cases(recognizer: Recognizer, clip: str) -> None:
    assert recognizer.recognise(Path(str(assets)) / "data" / clip).emotion == CLIPS[clip]


@real
def test_loudness_and_silence_around_change_little(recognizer: Recognizer, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    path = Path(str(assets)) / "data/emodb/wav/03a01Wa.wav"
    wave, rate = soundfile.read(path, dtype="float32")
    changed = tmp_path / "soft.wav"
    quiet = np.zeros(rate, np.float32)
    soundfile.write(changed, np.concatenate([quiet, 0.1 * wave, quiet]), rate, subtype="FLOAT")
    one, other = recognizer.recognise(path), recognizer.recognise(changed)
    assert one.emotion == other.emotion
    for name, share in one.probabilities.items():
        assert other.probabilities[name] == pytest.approx(share, abs=0.1)


@real
@pytest.mark.parametrize("words", ["Der Lappen liegt auf dem Eisschrank.", "zażółć gęślą jaźń"])
def test_words_that_say_nothing_change_little(recognizer: Recognizer, words: str) -> None:
    path = Path(str(assets)) / "data/emodb/wav/03a01Wa.wav"
    alone, spoken = recognizer.recognise(path), recognizer.recognise(path, text=words)
    assert alone.emotion == spoken.emotion
    for name, share in alone.probabilities.items():
        assert spoken.probabilities[name] == pytest.approx(share, abs=0.15)


@real
def test_it_knows_the_voices_of_its_training(recognizer: Recognizer) -> None:
    """Else nobody could adapt it to a speaker (benchmarks/default/voices.py puts them in)."""
    reference = recognizer.reference
    assert reference.mean.shape == (recognizer.config.dims["audio"],)
    assert 0.5 < reference.half < 10.0
    folder = Path(str(assets)) / "data" / "emodb" / "wav"
    clips = sorted(folder.glob("03a0[12]*.wav"))[:6]
    answers = recognizer.recognise_many(clips, voice=recognizer.enrol(clips, "03"))
    assert {one.adapted.utterances for one in answers if one.adapted} == {float(len(clips))}
    plain = recognizer.recognise_many(clips)
    assert [one.probabilities for one in plain] != [one.probabilities for one in answers]
