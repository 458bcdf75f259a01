"""Voices of recordings and streams: causal, whole, by turns, by channel."""

from __future__ import annotations

import numpy as np
import pytest
from tests.timeline.conftest import RATE, recording

from emofuse.encoders.contract import Item
from emofuse.errors import OptionError
from emofuse.recognition.adapting.windows import WindowVoices
from emofuse.recognition.query import Query, Sound
from emofuse.recognition.reading import Loaded
from emofuse.recognition.timeline import TimelineOptions
from emofuse.recognition.timeline_windows import Window
from emofuse.recognition.turns import Turn

CAUSAL = TimelineOptions(adapt="causal", smoothing=0.0, window=1.5, hop=0.5)
WHOLE = TimelineOptions(adapt="recording", smoothing=0.0, window=1.5, hop=0.5)
OFF = TimelineOptions(smoothing=0.0, window=1.5, hop=0.5)


@pytest.fixture(scope="module")
def wave():
    return recording((0.7, 1.2), (1.0, 5.0), (0.8, 3.0), (1.0, 0.9), (0.9, 2.2))


def streamed(recognizer, wave, size, options):
    stream = recognizer.stream(RATE, options)
    found = [s for n in range(0, len(wave), size) for s in stream.feed(wave[n : n + size])]
    return [*found, *stream.finish()]


def close(one, other, limit=1e-4):
    assert [(s.start, s.end, s.emotion, s.speaker) for s in one] == [
        (s.start, s.end, s.emotion, s.speaker) for s in other
    ]
    for a, b in zip(one, other, strict=True):
        far = np.subtract(list(a.probabilities.values()), list(b.probabilities.values()))
        assert np.abs(far).max() < limit


def windows_of(recognizer, wave, options, monkeypatch):
    """What the windows' features are before and after: (window, before, after) in order."""
    seen = []
    inner = recognizer._answerer.answer

    def answer(chunk):
        before = [one.features.get("audio") for one in chunk]
        before = [None if f is None else f.copy() for f in before]
        found = inner(chunk)
        seen.extend(
            (one.query, old, one.features["audio"]) for one, old in zip(chunk, before, strict=True)
        )
        return found

    with monkeypatch.context() as patch:
        patch.setattr(recognizer._answerer, "answer", answer)
        recognizer.timeline((wave, RATE), options)
    return seen


@pytest.mark.parametrize("size", [1600, 7, 50_000])
def test_a_causal_stream_is_the_file_bit_for_bit(recognizer, wave, size):
    chunk = wave[: 4 * RATE] if size == 7 else wave
    whole = recognizer.timeline((chunk, RATE), CAUSAL).segments
    assert tuple(streamed(recognizer, chunk, size, CAUSAL)) == whole
    assert whole
    assert all(one.adapted is not None for one in whole)


def test_a_longer_wait_changes_nothing_but_rounding(recognizer, wave):
    one = recognizer.timeline((wave, RATE), CAUSAL.model_copy(update={"delay": 0.0})).segments
    other = recognizer.timeline((wave, RATE), CAUSAL.model_copy(update={"delay": 60.0})).segments
    close(one, other)
    assert [s.adapted for s in one] == [s.adapted for s in other]


def test_what_is_said_later_does_not_change_what_was_answered(recognizer, wave):
    cut = 7 * RATE
    stream = recognizer.stream(RATE, CAUSAL)
    early = stream.feed(wave[:cut])
    other = recognizer.stream(RATE, CAUSAL)
    assert early
    assert other.feed(wave[:cut]) + other.feed(-wave[:cut][::-1])[:0] == early
    whole = recognizer.timeline((wave, RATE), CAUSAL).segments
    assert tuple(early) == whole[: len(early)]


def test_causal_windows_are_moved_by_what_was_heard_so_far(recognizer, wave, monkeypatch):
    options = CAUSAL.model_copy(update={"moods": "mixed"})
    seen = windows_of(recognizer, wave, options, monkeypatch)
    target, half = recognizer.reference.mean, recognizer.reference.half
    count, total = 0.0, np.zeros_like(target)
    heard = []
    for query, before, after in seen:
        heard.append(query.voice.note.utterances)
        share = heard[-1] - count
        assert 0.0 < share <= 1.0 + 1e-3
        total += share * before[0]
        count += share
        weight = count / (count + half)
        moved = before[0] - weight * (total / count - target)
        np.testing.assert_allclose(after[0], moved, atol=5e-3)
    assert heard == sorted(heard)
    assert seen[0][0].voice.note.utterances == 1.0  # a stretch that is one window


def test_a_recording_is_moved_by_its_mean(recognizer, wave, monkeypatch):
    whole = windows_of(recognizer, wave, WHOLE, monkeypatch)
    offsets = [before[0] - after[0] for _, before, after in whole]
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets[0], np.shape(offsets)), atol=1e-4)
    last = [
        before[0] - after[0]
        for _, before, after in windows_of(recognizer, wave, CAUSAL, monkeypatch)
    ]
    np.testing.assert_allclose(offsets[0], last[-1], atol=1e-4)
    notes = {query.voice.note.utterances for query, _, _ in whole}
    assert len(notes) == 1


def test_overlapping_windows_count_each_second_once(recognizer, wave):
    found = recognizer.timeline((wave, RATE), WHOLE).segments
    speech = sum(one.end - one.start for one in found)
    count = found[-1].adapted.utterances
    # five stretches; those longer than a window count by their length in windows
    assert speech / CAUSAL.window <= count <= speech / CAUSAL.window + 5


def test_off_is_as_before_and_on_is_not(recognizer, wave):
    off = recognizer.timeline((wave, RATE), OFF)
    assert all(one.adapted is None for one in off.segments)
    assert off.segments == recognizer.timeline((wave, RATE), OFF, turns=[Turn(0, 99, "x")]).segments
    for options in (CAUSAL, WHOLE):
        on = recognizer.timeline((wave, RATE), options)
        assert [s.probabilities for s in on.segments] != [s.probabilities for s in off.segments]


def test_turns_are_a_voice_each(recognizer, wave, monkeypatch):
    turns = [Turn(0.0, 7.5, "a"), Turn(7.5, 12.0, "b")]
    seen = []
    inner = recognizer._answerer.answer

    def answer(chunk):
        seen.extend((one.query.start, one.query.voice) for one in chunk)
        return inner(chunk)

    monkeypatch.setattr(recognizer._answerer, "answer", answer)
    recognizer.timeline((wave, RATE), WHOLE, turns=turns)
    names = [None if voice is None else voice.note.speaker for _, voice in seen]
    assert set(names) == {"a", "b", None}
    assert names == sorted(names, key=("a", "b", None).index)
    offsets = {
        name: {id(v) for (_, v), n in zip(seen, names, strict=True) if n == name} for name in names
    }
    assert offsets["a"].isdisjoint(offsets["b"])


def test_each_channel_is_a_voice(recognizer, wave):
    both = np.stack([wave, np.roll(wave, RATE)], axis=1)
    options = WHOLE.model_copy(update={"channels": "each"})
    found = recognizer.timeline((both, RATE), options).segments
    alone = recognizer.timeline((wave, RATE), WHOLE).segments
    mine = [one for one in found if one.channel == 0]
    for one, other in zip(mine, alone, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    assert {one.adapted.speaker for one in found} == {"channel0", "channel1"}


def test_a_known_voice_is_where_a_stream_begins(recognizer, wave):
    clip = Query("x", Sound(wave[: 3 * RATE], RATE))
    profile = recognizer.enrol([clip], "anna")
    fixed = recognizer.timeline((wave, RATE), OFF, voice=profile).segments
    assert {one.adapted.utterances for one in fixed} == {1.0}
    assert {one.adapted.speaker for one in fixed} == {"anna"}
    found = recognizer.timeline((wave, RATE), CAUSAL, voice=profile).segments
    assert found[0].adapted.utterances == pytest.approx(2.0, abs=0.01)
    stream = recognizer.stream(RATE, OFF, voice=profile)
    assert (*stream.feed(wave), *stream.finish()) == fixed
    with pytest.raises(OptionError, match="know no speaker 'anna'"):
        recognizer.timeline((wave, RATE), CAUSAL, voice=profile, turns=[Turn(0, 9, "bert")])


def test_a_stream_hears_no_future(recognizer):
    with pytest.raises(OptionError, match="hears no future"):
        recognizer.stream(RATE, WHOLE)


def test_few_are_warned_of_in_the_timeline(recognizer, wave):
    found = recognizer.timeline((wave[: 5 * RATE], RATE), WHOLE)
    assert any("fewer than" in note for note in found.notes)


def test_a_window_that_failed_counts_for_nobody(recognizer):
    voices = WindowVoices(recognizer.reference, "causal", "x")
    window = Window(0, 10, 0, 10)
    assert voices.hear(window, 10, Loaded(Query("x"), error="no")) is None
    assert voices.hear(window, 10, Loaded(Query("x"))) is None
    one = Loaded(Query("x"))
    encoder = recognizer._encoders.get("audio")
    one.features["audio"] = encoder.encode([Item("x", waveform=np.ones(RATE, np.float32) / 9)])[0]
    assert voices.hear(window, 10, one) == "x"
    assert one.query.voice.note.utterances == 1.0
