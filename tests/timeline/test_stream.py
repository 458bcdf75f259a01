"""A stream and a file give the same segments, whatever the chunks, in bounded time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.timeline.conftest import RATE, make_bundle, recording

from emofuse.errors import MediaError, OptionError
from emofuse.recognition.recognizer import Recognizer
from emofuse.recognition.timeline import LONGEST_STRETCH, Segment, TimelineOptions


def streamed(recognizer, wave, sizes, rate=RATE, options=None):
    """Segments, each with the seconds of audio that were in when it came out."""
    stream = recognizer.stream(rate, options)
    found: list[tuple[Segment, float]] = []
    place = turn = 0
    while place < len(wave):
        size = sizes[turn % len(sizes)]
        found += [
            (one, min(place + size, len(wave)) / rate)
            for one in stream.feed(wave[place : place + size])
        ]
        place, turn = place + size, turn + 1
    return found + [(one, len(wave) / rate) for one in stream.finish()]


@pytest.fixture(scope="module")
def wave():
    return recording((0.7, 1.2), (1.0, 6.5), (0.8, 31.0), (2.0, 0.5))


@pytest.fixture(scope="module")
def from_file(recognizer, wave, tmp_path_factory):
    path = tmp_path_factory.mktemp("w") / "wave.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    return recognizer.timeline(path)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=st.lists(st.integers(1, 60_000).map(lambda n: max(n, 37)), min_size=1, max_size=6))
def test_any_chunks_give_the_segments_of_the_file(recognizer, wave, from_file, sizes):
    found = streamed(recognizer, wave, sizes)
    assert tuple(one for one, _ in found) == from_file.segments


def test_at_another_rate(recognizer):
    wave = recording((0.5, 2.0), (0.8, 4.5), rate=44_100)
    whole = recognizer.timeline((wave, 44_100)).segments
    assert len(whole) >= 2
    for sizes in ([441], [100_000], [4410, 7]):
        assert tuple(one for one, _ in streamed(recognizer, wave, sizes, 44_100)) == whole


def test_another_delay_changes_nothing_but_rounding(recognizer, wave, from_file):
    late = [one for one, _ in streamed(recognizer, wave, [RATE], options=TimelineOptions(delay=30))]
    assert [(a.start, a.end, a.emotion) for a in late] == [
        (a.start, a.end, a.emotion) for a in from_file.segments
    ]
    for one, other in zip(late, from_file.segments, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_segments_are_out_in_bounded_time(recognizer, wave, delay):
    options = TimelineOptions(delay=delay)
    found = streamed(recognizer, wave, [1600], options=options)
    bound = recognizer.stream(RATE, options).latency
    assert bound == options.latency()
    waits = [heard - one.end for one, heard in found[:-1]]
    assert max(waits) <= bound
    assert max(waits) >= delay  # it does wait for company
    assert all(one.seconds <= options.longest + options.window for one, _ in found)


def test_segments_are_in_order_and_apart(from_file, wave):
    segments = from_file.segments
    assert len(segments) >= 5
    for one, other in itertools.pairwise(segments):
        assert one.start < one.end <= other.start < other.end
    assert segments[-1].end <= len(wave) / RATE
    for one in segments:
        assert sum(one.probabilities.values()) == pytest.approx(1.0)
        assert one.confidence == one.probabilities[one.emotion] == max(one.probabilities.values())
        assert one.weights == pytest.approx({"audio": 1.0})


def test_speech_without_a_pause_is_cut_but_not_torn(recognizer):
    wave = recording((0.5, 2 * LONGEST_STRETCH + 3.0))
    found = recognizer.timeline((wave, RATE), TimelineOptions(longest=600.0, smoothing=60.0))
    assert len(found.segments) == 1
    assert found.segments[0].seconds == pytest.approx(2 * LONGEST_STRETCH + 3.0, abs=0.4)


def test_integers_and_channels_are_taken(recognizer, wave):
    plain = [one for one, _ in streamed(recognizer, wave, [8000])]
    pairs = np.stack([wave, wave], axis=1)
    assert [one for one, _ in streamed(recognizer, pairs, [8000])] == plain
    integers = np.round(wave * 32768).astype(np.int16)
    again = streamed(recognizer, integers, [8000])
    floats = streamed(recognizer, integers.astype(np.float32) / 32768, [8000])
    assert again == floats


def test_what_is_no_chunk(recognizer):
    stream = recognizer.stream(RATE)
    assert stream.feed(np.zeros(0, np.float32)) == []
    with pytest.raises(MediaError, match="no audio"):
        stream.feed(np.zeros((2, 2, 2), np.float32))
    with pytest.raises(MediaError, match="NaN"):
        stream.feed(np.array([0.0, np.nan], np.float32))
    assert stream.finish() == []
    assert stream.finish() == []
    with pytest.raises(OptionError, match="finished"):
        stream.feed(np.zeros(10, np.float32))
    with pytest.raises(OptionError, match="rate 0 Hz"):
        recognizer.stream(0)


def test_a_model_of_text_alone_needs_ears(tmp_path):
    recognizer = Recognizer.load(make_bundle(tmp_path / "b", "text"))
    with pytest.raises(OptionError, match="--transcribe"):
        recognizer.stream(RATE)


def test_memory_of_a_stream_is_bounded(recognizer):
    stream = recognizer.stream(RATE)
    wave = recording((3.0, 20.0))
    held = []
    for _ in range(4):
        for place in range(0, len(wave), RATE):
            stream.feed(wave[place : place + RATE])
            held.append(len(stream._recent._parts) / RATE)
    assert max(held) < 15.0
