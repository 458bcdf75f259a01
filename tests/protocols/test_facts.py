"""Leaks that are on record are found again: FleSER's lists, and copies planted among real takes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.corpora.doctor import examine
from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import decode, to_mono
from emofuse.media.fingerprint import Fingerprint, fingerprint, near_pairs, sound_shape
from emofuse.protocols.audit import audit
from emofuse.protocols.build import make_folds

ASSETS = os.environ.get("EMOFUSE_ASSETS")
needs_assets = pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS names no folder")


@pytest.fixture
def data() -> Path:
    return Path(ASSETS or "") / "data"


CLASSES = ("neutral", "happiness", "anger", "sadness")
TRAIN, VAL, TEST = 4407, 551, 551  # rows of FleSER's IEMOCAP lists
TRAIN_TEXTS, TEST_TEXTS = 3797, 528  # different transcripts
SHARED_TEXTS, SHARED_ROWS = 86, 107  # of test, in train to the letter
SPOKEN_TEXTS, SPOKEN_ROWS = 105, 132  # in train by their words
VAL_ROWS, VAL_SPOKEN_ROWS = 98, 131
DIALOGUES = 139


def repeated(texts: list[str], rows: int) -> list[str]:
    """Every text once, and the first ones again until there are so many rows."""
    return [*texts, *(texts[n % len(texts)] for n in range(rows - len(texts)))]


def fleser() -> Manifest:
    """Lists to the facts that were measured on the published ones; the words are made up."""
    shared = [f"Shared line {n}." for n in range(SHARED_TEXTS)]
    cased = [f"Spoken line {n}" for n in range(SPOKEN_TEXTS - SHARED_TEXTS)]
    own = TRAIN_TEXTS - SHARED_TEXTS - len(cased)
    train = repeated([*shared, *cased, *(f"Train line {n}" for n in range(own))], TRAIN)
    written = [f"{text.upper()}{'!' * (1 + n)}" for n, text in enumerate(repeated(cased, 25))]
    fresh = TEST_TEXTS - SHARED_TEXTS - len(written)
    rest = TEST - SHARED_ROWS - len(written)
    test = [
        *repeated(shared, SHARED_ROWS),
        *written,
        *repeated([f"Test line {n}" for n in range(fresh)], rest),
    ]
    val = [
        *repeated(shared, VAL_ROWS),
        *(f"{text}?!" for text in repeated(cased, VAL_SPOKEN_ROWS - VAL_ROWS)),
        *(f"Val line {n}" for n in range(VAL - VAL_SPOKEN_ROWS)),
    ]
    utterances = []
    for split, texts in (("train", train), ("dev", val), ("test", test)):
        for number, text in enumerate(texts):
            who = number % 10
            utterances.append(
                Utterance(
                    id=f"{split}-{number}",
                    corpus="iemocap",
                    text=text,
                    emotion=CLASSES[number * 7 % 4],
                    speaker=f"Ses{1 + who // 2:02d}{'FM'[who % 2]}",
                    session=str(1 + who // 2),
                    dialogue=f"dialogue {number % DIALOGUES}",
                    split=split,  # type: ignore[arg-type]
                )
            )
    return Manifest(utterances, Path())


def test_flesers_lists_share_speakers_and_transcripts() -> None:
    manifest = fleser()
    protocol, folds = make_folds(manifest, {"name": "official"})
    result = audit(manifest, protocol, folds, audio=False)
    (fold,) = result.folds
    assert (fold.sizes["train"], fold.sizes["dev"], fold.sizes["test"]) == (TRAIN, VAL, TEST)
    assert result.speaker_independent == "no"
    assert "SPEAKER-DEPENDENT (10 of 10 test speakers in train" in result.stamp
    test = fold.test
    assert (test["speaker"].shared, test["speaker"].values) == (10, 10)
    assert test["speaker"].by_train == 551
    assert (test["exact text"].by_train, test["exact text"].values) == (107, 528)
    assert test["text"].by_train == 132
    assert (test["dialogue"].shared, test["dialogue"].utterances) == (139, 551)
    assert (fold.dev["exact text"].by_train, fold.dev["text"].by_train) == (98, 131)
    with pytest.raises(ProtocolError, match="551 of 551 test utterances share their dialogue"):
        result.enforce()


def planted(source: Path, target: Path, kind: str) -> Path:
    """Store a recording again: quieter, at another rate, through a codec."""
    gain, rate, form, subtype = {
        "mp3": (0.25, 22_050, "MP3", "MPEG_LAYER_III"),
        "opus": (0.4, 48_000, "OGG", "OPUS"),
        "vorbis": (0.6, 8_000, "OGG", "VORBIS"),
        "ulaw": (0.3, 8_000, "WAV", "ULAW"),
    }[kind]
    samples, before = decode(source)
    loud = gain * samples[:, 0] / max(1e-9, float(np.abs(samples).max()))
    soundfile.write(target, soxr.resample(loud, before, rate), rate, format=form, subtype=subtype)
    return target


def take(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A stand-in for a recording: tones that come and go, and some noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(32_000) / 16_000
    tones = [
        np.sin(2 * np.pi * f * time) * np.clip(np.sin(rng.uniform(2, 25) * time + f), 0, 1)
        for f in rng.uniform(200, 3200, 12)
    ]
    sound = 0.05 * np.sum(tones, axis=0) + 0.002 * rng.standard_normal(32_000)
    return sound.astype(np.float32)


def corpus(root: Path, audio: list[str]) -> Manifest:
    """Files spoken in turn by four speakers."""
    return Manifest(
        (
            Utterance(
                id=name, audio=name, text=f"line {n}", emotion=CLASSES[n % 2], speaker=f"s{n % 4}"
            )
            for n, name in enumerate(audio)
        ),
        root,
    )


@pytest.mark.parametrize("kind", ["mp3", "opus", "vorbis", "ulaw"])
def test_a_planted_copy_is_found_by_audit_and_doctor(kind: str, tmp_path: Path) -> None:
    for number in range(8):
        soundfile.write(tmp_path / f"{number}.wav", take(number), 16_000)
    ending = {"mp3": "mp3", "ulaw": "wav"}.get(kind, "ogg")
    planted(tmp_path / "2.wav", tmp_path / f"zz.{ending}", kind)
    names = [*(f"{n}.wav" for n in range(8)), "spare.wav", f"zz.{ending}"]
    soundfile.write(tmp_path / "spare.wav", take(99), 16_000)
    manifest = corpus(tmp_path, names)
    assert manifest[f"zz.{ending}"].speaker != manifest["2.wav"].speaker
    protocol, folds = make_folds(manifest, {"name": "leave-one-speaker-out"})
    result = audit(manifest, protocol, folds)
    with pytest.raises(ProtocolError, match="are copies of recordings in train or dev"):
        result.enforce()
    assert sum(one.test["near audio"].utterances for one in result.folds) == 2
    assert sum(one.test["audio"].utterances for one in result.folds) == 0
    found = [one for one in examine(manifest).findings if one.kind.startswith("copies")]
    assert len(found) == 1
    assert "stored another way" in found[0].detail
    assert {"2.wav", f"zz.{ending}"} <= set(re.findall(r"[\w.]+", str(found[0])))


@needs_assets
def test_a_copy_planted_among_real_takes(data: Path, tmp_path: Path) -> None:
    """From the command line: EmoDB speakers 03 and 08, one file of 03 handed to 08 as MP3."""
    chosen = [p for p in sorted((data / "emodb").rglob("*.wav")) if p.stem[:2] in ("03", "08")]
    for path in chosen:
        shutil.copy(path, tmp_path / path.name)
    planted(tmp_path / "03a01Fa.wav", tmp_path / "08zz.mp3", "mp3")
    manifest = Manifest(
        (
            Utterance(id=name, audio=name, emotion=CLASSES[n % 2], speaker=name[:2])
            for n, name in enumerate([*(p.name for p in chosen), "08zz.mp3"])
        ),
        tmp_path,
    )
    manifest.save(tmp_path / "list.jsonl")
    words = ["audit", str(tmp_path / "list.jsonl"), "--protocol", "leave-one-speaker-out"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "copies of recordings" in result.output + result.stderr
    assert "03a01Fa.wav" in result.output + result.stderr


@needs_assets
@pytest.mark.slow
def test_real_takes_are_not_called_copies_and_copies_are_always_found(data: Path) -> None:
    """All of EmoDB and RAVDESS: the one pair found is one recording under two names."""
    paths = sorted((data / "emodb").rglob("*.wav")) + sorted((data / "ravdess").rglob("*.flac"))
    assert len(paths) == 535 + 1440
    prints = [fingerprint(path) for path in paths]
    ((first, second),) = near_pairs(prints)
    assert (paths[first].stem, paths[second].stem) == (
        "03-01-03-01-02-01-07",
        "03-01-03-01-02-02-07",
    )
    assert prints[first].digest == prints[second].digest
    other = [n for n in range(len(paths)) if n != second]
    shapes = np.stack([prints[n].shape for n in other])
    alike = shapes @ shapes.T
    np.fill_diagonal(alike, 0.0)
    assert alike.max() < 0.985  # a copy is one from 0.99
    for n in np.random.default_rng(0).choice(len(paths), 40, replace=False):
        samples, rate = decode(paths[n])
        quiet = to_mono(soxr.resample(0.2 * samples, rate, 8_000), 8_000)
        again = Fingerprint("copy", prints[n].seconds, sound_shape(quiet))
        assert near_pairs([prints[n], again]) == [(0, 1)]
