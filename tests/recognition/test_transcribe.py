"""Words that are heard: what they do to an answer, and the two backends."""

from __future__ import annotations

import itertools
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from emofuse.errors import EncoderError, MissingExtraError, OptionError
from emofuse.media.audio import read_audio
from emofuse.media.text import normalise_text
from emofuse.recognition.answer import Transcript, Word
from emofuse.recognition.query import Query
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.transcribe import LONGEST, load_transcriber, split_at_pauses

ASSETS = os.environ.get("EMOFUSE_ASSETS", "")
needs_whisper = pytest.mark.skipif(not ASSETS, reason="EMOFUSE_ASSETS is not set")


class Ears:
    """Hears the same words in everything."""

    name = "ears"

    def __init__(self, text, confidence):
        self.text, self.confidence = text, confidence
        self.heard = []

    def transcribe(self, waveform, sample_rate):
        self.heard.append((len(waveform), sample_rate))
        word = Word(start=0.0, end=0.1, text=self.text, confidence=self.confidence)
        return Transcript(
            text=self.text, words=(word,), language="en", confidence=self.confidence, model="ears"
        )


@pytest.mark.parametrize("confidence", [1.0, 0.6, 0.0])
def test_doubtful_words_count_for_less(trained, confidence):
    text = "this makes me furious"
    plain = Recognizer.load(trained.bundle)
    both = plain.recognise(trained.audio(3), text)
    audio = plain.recognise(trained.audio(3))
    ears = Ears(text, confidence)
    found = Recognizer.load(trained.bundle, transcriber=ears).recognise(trained.audio(3))
    assert found.transcript.text == text
    assert found.modalities == ("audio", "text")
    for name in plain.classes:
        expected = (
            confidence * both.probabilities[name] + (1 - confidence) * audio.probabilities[name]
        )
        assert found.probabilities[name] == pytest.approx(expected, abs=1e-5)
    assert found.weights["text"] == pytest.approx(confidence * both.weights["text"], abs=1e-5)
    assert sum(found.weights.values()) == pytest.approx(1.0, abs=1e-5)
    assert found.weights["text"] <= both.weights["text"] + 1e-6


def test_given_words_are_believed_and_not_heard(trained):
    ears = Ears("nonsense", 0.1)
    recognizer = Recognizer.load(trained.bundle, transcriber=ears)
    given = recognizer.recognise(trained.audio(3), "so it goes")
    assert ears.heard == []
    assert given.transcript is None
    plain = Recognizer.load(trained.bundle).recognise(trained.audio(3), "so it goes")
    assert given.probabilities == plain.probabilities
    recognizer.recognise_many([Query("a", trained.audio(3)), Query("b", text="only words")])
    assert len(ears.heard) == 1


def test_clips_are_cut_where_they_are_softest():
    draw = np.random.default_rng(0)
    wave = draw.standard_normal(70 * 16_000).astype(np.float32)
    for second in (27, 54):
        wave[round((second - 0.2) * 16_000) : round((second + 0.2) * 16_000)] = 0.0
    parts = split_at_pauses(wave)
    assert [round(a / 16_000) for a, _ in parts] == [0, 27, 54]
    assert parts[0][0] == 0
    assert parts[-1][1] == len(wave)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    assert all(b - a <= LONGEST * 16_000 for a, b in parts)


def test_a_model_that_is_not_at_hand(tmp_path):
    with pytest.raises(EncoderError, match=r"no transcripts from .*give --transcribe the folder"):
        load_transcriber(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match="'bert' model, not Whisper"):
        load_transcriber(str(tmp_path))
    with pytest.raises(OptionError, match="unknown backend 'wisper'"):
        load_transcriber("x", "wisper")


def test_faster_whisper_is_an_extra(monkeypatch):
    monkeypatch.setattr("emofuse.recognition.transcribe.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[asr\]'"):
        load_transcriber("base", "faster-whisper")


def test_faster_whisper_through_a_fake_module(monkeypatch):
    asked = {}

    class Model:
        def __init__(self, name, *, device, device_index, compute_type):
            if name == "none":
                raise RuntimeError("cannot open\nfile")
            asked.update(name=name, device=device, index=device_index)

        def transcribe(self, wave, **options):
            asked.update(options, samples=len(wave))
            word = types.SimpleNamespace
            words = [
                word(start=0.1, end=0.4, word=" Kids", probability=0.5),
                word(start=0.4, end=0.3, word=" talk.", probability=1.5),
            ]
            return iter([word(words=words)]), word(language="de")

    fake = types.ModuleType("faster_whisper")
    fake.WhisperModel = Model
    fake.__spec__ = types.SimpleNamespace(name="faster_whisper")
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    found = load_transcriber("base", "faster-whisper", device="cuda:1").transcribe(
        np.zeros(8000, np.float32), 8000
    )
    assert (found.text, found.language, found.confidence) == ("Kids talk.", "de", 0.75)
    assert (asked["device"], asked["index"], asked["samples"]) == ("cuda", 1, 16_000)
    assert asked["word_timestamps"] is True
    assert found.words[1].end >= found.words[1].start
    with pytest.raises(EncoderError, match="no transcripts from 'none': cannot open;"):
        load_transcriber("none", "faster-whisper")


@needs_whisper
def test_whisper_hears_ravdess():
    ears = load_transcriber(str(Path(ASSETS) / "models" / "whisper-tiny.en"))
    folder = Path(ASSETS) / "data" / "ravdess" / "Actor_01"
    clip = read_audio(sorted(folder.glob("*.flac"))[0])
    found = ears.transcribe(clip, 16_000)
    assert normalise_text(found.text) == "kids are talking by the door"
    assert found.language == "en"
    assert 0.5 < found.confidence <= 1.0
    times = [(word.start, word.end) for word in found.words]
    assert all(0.8 < a < b < 3.0 for a, b in times)
    assert times == sorted(times)
    assert ears.transcribe(np.zeros(16_000, np.float32), 16_000).text == ""
    assert ears.transcribe(np.zeros(0, np.float32), 16_000).words == ()
    with pytest.raises(OptionError, match="English alone"):
        load_transcriber(
            str(Path(ASSETS) / "models" / "whisper-tiny.en"), language="de"
        ).transcribe(clip, 16_000)
