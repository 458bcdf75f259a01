"""Exports of real weights on real speech, and of encoders that learned in their run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.export.conftest import write_drawn
from tests.export.test_export import call
from tests.training.speech import make_corpus, save_encoder, toy_recipe

from emofuse.manifest import Manifest
from emofuse.media.audio import read_audio
from emofuse.models.bundle_config import read_config
from emofuse.recognition.query import Query, Sound
from emofuse.recognition.recognizer import Recognizer
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

ASSETS = Path(os.environ.get("EMOFUSE_ASSETS", "/nowhere"))
WHISPER, SPOKEN = ASSETS / "models" / "whisper-tiny.en", ASSETS / "data" / "ravdess"
needs_assets = pytest.mark.skipif(
    not (WHISPER.is_dir() and SPOKEN.is_dir()), reason="EMOFUSE_ASSETS has no Whisper or no RAVDESS"
)
RATE = 16_000


def largest(first: Recognizer, second: Recognizer, queries: list[Query]) -> float:
    """Greatest difference of a probability."""
    gaps = [0.0]
    pairs = zip(first.recognise_many(queries), second.recognise_many(queries), strict=True)
    for one, two in pairs:
        assert (one.error, two.error) == (None, None)
        gaps += [abs(one.probabilities[n] - two.probabilities[n]) for n in one.probabilities]
    return max(gaps)


@pytest.mark.slow
@needs_assets
def test_whisper_on_real_speech_of_many_lengths(tmp_path: Path) -> None:
    """RAVDESS at its own 48 kHz, and pieces of it from 30 ms to 70 s (three passes)."""
    encoders = {"audio": f"{WHISPER}:layer=mean,pooling=mean+std"}
    plain = write_drawn(tmp_path / "run" / "bundle", encoders, "linear")
    few = ["--audio", SPOKEN, "--utterances", "8"]
    assert call(["export", tmp_path / "run", "-o", tmp_path / "o", *few]) == 0
    assert call(["export", tmp_path / "o", "-o", tmp_path / "h", "--precision", "fp16", *few]) == 0
    assert call(["export", tmp_path / "h", "-o", tmp_path / "i", "--int8", *few]) == 0
    files = sorted(SPOKEN.rglob("*.flac"))[::60]
    speech = np.concatenate([read_audio(file, RATE) for file in files])
    lengths = [round(RATE * seconds) for seconds in (0.03, 0.3, 1.0, 2.7, 9.1, 29.99, 30.01, 70.0)]
    pieces = [
        speech[start : start + n]
        for n, start in zip(lengths, range(8000, 40_000, 4000), strict=True)
    ]
    queries = [Query(file.name, file) for file in files]
    queries += [Query(str(len(one)), Sound(one, RATE)) for one in pieces]
    assert {len(one) for one in pieces} == set(lengths)
    fp32, fp16, int8 = (Recognizer.load(tmp_path / name) for name in ("o", "h", "i"))
    torch = Recognizer.load(plain)
    assert largest(torch, fp32, queries) < 1e-4
    assert largest(torch, fp16, queries) < 1e-4  # these weights are published in 16 bits
    assert 1e-4 < largest(torch, int8, queries) < 0.25
    check = read_config(tmp_path / "i").onnx
    assert check is not None
    assert check.precision == "int8"
    assert check.source == read_config(tmp_path / "o").onnx.source  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
def test_encoders_that_learned_in_the_run(tmp_path: Path, lora: bool) -> None:
    """What they learned is in the graphs; neither they nor what they came from is looked for."""
    make_corpus(tmp_path)
    for kind in ("whisper", "bert"):
        save_encoder(kind, tmp_path / kind)
    encoders = {
        "audio": {"name": str(tmp_path / "whisper"), "layer": "mean", "pooling": "mean+std"},
        "text": {"name": str(tmp_path / "bert")},
    }
    tune = {"name": "tune", "kind": "finetune", "epochs": 1, "learning_rate": 1e-2}
    tune |= {"lora": {"rank": 2}} if lora else {"freeze_layers": 1}
    stages = [{"name": "head", "epochs": 1}, tune]
    recipe = parse_recipe(toy_recipe(tmp_path, encoders, trainer={"stages": stages}))
    run = train(recipe, tmp_path / "run")
    assert read_config(run.bundle).encoders_local
    manifest = Manifest.load(tmp_path / "toy.jsonl")
    queries = [
        Query(one.id, one.audio and manifest.path(one.audio), text=one.text)
        for one in list(manifest)[:6]
    ]
    assert call(["export", run.folder, "-o", tmp_path / "onnx"]) == 0
    before = Recognizer.load(run.folder).recognise_many(queries)
    for kind in ("whisper", "bert", "run"):
        shutil.rmtree(tmp_path / kind)
    assert read_config(tmp_path / "onnx").encoders_local == {}
    after = Recognizer.load(tmp_path / "onnx").recognise_many(queries)
    for one, two in zip(before, after, strict=True):
        assert two.error is None
        assert two.probabilities == pytest.approx(one.probabilities, abs=1e-4)


def test_the_bundle_that_comes_along_in_8_bits(tmp_path: Path, capfd) -> None:
    assert call(["export", "default"]) == 2
    assert "-o FOLDER" in capfd.readouterr().err
    assert call(["export", "default", "-o", tmp_path / "i", "--int8", "--utterances", "6"]) == 0
    said = capfd.readouterr()
    assert "ONNX (fp16) against ONNX (int8)" in said.out + said.err
    small, plain = Recognizer.load(tmp_path / "i"), Recognizer.load()
    wave = 0.1 * np.sin(np.cumsum(0.05 + 0.02 * np.sin(np.arange(40_000) / 900)))
    assert 0 < largest(plain, small, [Query("a", Sound(wave, RATE), text="oh no")]) < 0.25
    assert call(["export", tmp_path / "i", "-o", tmp_path / "again", "--precision", "fp32"]) == 1
    assert "in 8 bits already" in capfd.readouterr().err
    assert not (tmp_path / "again").exists()
