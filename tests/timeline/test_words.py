"""A timeline with ears: words go to windows and segments, stream and file agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.timeline.conftest import RATE, make_bundle, recording

from emofuse.recognition.answer import Transcript, Word
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.timeline import TimelineOptions


class Ears:
    """Hears a numbered word every half second, as sure as it is told."""

    name = "ears"

    def __init__(self, confidence=1.0):
        self.confidence = confidence

    def transcribe(self, waveform, sample_rate):
        count = int(2 * len(waveform) / sample_rate)
        words = tuple(
            Word(start=n / 2, end=n / 2 + 0.4, text=f"w{n}", confidence=self.confidence)
            for n in range(count)
        )
        text = " ".join(word.text for word in words)
        return Transcript(
            text=text, words=words, language="en", confidence=self.confidence, model="ears"
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("b") / "bundle", "audio", "text")


def test_every_word_is_said_once_and_in_its_segment(folder):
    wave = recording((0.7, 2.2), (1.0, 9.0), (2.0, 31.0))
    recognizer = Recognizer.load(folder, transcriber=Ears())
    options = TimelineOptions(smoothing=0.0)
    found = recognizer.timeline((wave, RATE), options)
    assert (found.language, found.transcriber) == ("en", "ears")
    for one in found.segments:
        assert one.text == " ".join(word.text for word in one.words)
        assert all(one.start - 1e-6 <= (w.start + w.end) / 2 <= one.end for w in one.words)
    words = [word for one in found.segments for word in one.words]
    assert [w.start for w in words] == sorted(w.start for w in words)
    assert len(words) >= 2 * found.speech_seconds - 6
    assert any(one.weights.get("text", 0.0) > 0.0 for one in found.segments)
    stream = recognizer.stream(RATE, options)
    streamed = [s for n in range(0, len(wave), 777) for s in stream.feed(wave[n : n + 777])]
    assert tuple(streamed + stream.finish()) == found.segments
    assert stream.latency == options.latency(transcribed=True)


def test_words_that_are_nothing_worth_change_nothing(folder):
    wave = (recording((0.7, 2.2), (1.0, 7.0)), RATE)
    deaf = Recognizer.load(folder).timeline(wave).segments
    doubted = Recognizer.load(folder, transcriber=Ears(0.0)).timeline(wave).segments
    assert len(deaf) == len(doubted)
    for one, other in zip(deaf, doubted, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert other.weights["text"] == pytest.approx(0.0, abs=1e-6)
    sure = Recognizer.load(folder, transcriber=Ears(1.0)).timeline(wave).segments
    assert [one.probabilities for one in sure] != [one.probabilities for one in deaf]


def test_a_model_of_words_alone_has_a_timeline_with_ears(tmp_path):
    recognizer = Recognizer.load(make_bundle(tmp_path / "b", "text"), transcriber=Ears())
    found = recognizer.timeline((recording((0.7, 2.2), (1.0, 7.0)), RATE))
    assert found.segments
    assert all(set(one.weights) == {"text"} for one in found.segments)
