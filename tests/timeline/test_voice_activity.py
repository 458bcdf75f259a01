"""The detector against recordings whose speech is known, and stretches against a plain twin."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.timeline.conftest import RATE, voice

from emofuse.errors import MissingExtraError, OptionError
from emofuse.media.audio import read_audio
from emofuse.media.silero import SileroDetector, find_silero
from emofuse.media.speech_spans import SpeechSpans
from emofuse.media.voice_activity import LOOKAHEAD, EnergyDetector


def decided(wave, size=RATE, rate=RATE):
    detector = EnergyDetector(rate)
    parts = [detector.feed(wave[n : n + size]) for n in range(0, len(wave), size)]
    return np.concatenate([*parts, detector.finish()])


@pytest.mark.parametrize("level", [1.0, 0.1, 3.0])
@pytest.mark.parametrize("rate", [8000, RATE, 48_000])
def test_finds_voices_at_any_level_and_rate(level, rate):
    quiet = np.zeros(2 * rate, np.float32)
    wave = np.concatenate([quiet, voice(2.0, 140, rate), quiet])
    wave = level * (wave + 1e-4 * np.random.default_rng(0).standard_normal(len(wave)))
    found = decided(wave.astype(np.float32), rate, rate)
    assert found[:190].mean() < 0.02
    assert found[210:390].mean() > 0.8
    assert found[410:].mean() < 0.02


@pytest.mark.parametrize("kind", ["silence", "noise", "hum"])
def test_is_not_taken_in(kind):
    draw = np.random.default_rng(0)
    noise = draw.standard_normal(10 * RATE)
    steady = np.sin(2 * np.pi * 200 * np.arange(10 * RATE) / RATE)
    wave = {"silence": 0 * noise, "noise": 0.1 * noise, "hum": 0.1 * steady + 1e-3 * noise}[kind]
    assert decided(wave.astype(np.float32)).mean() < 0.02


def test_decides_the_same_in_any_chunks_and_looks_no_further_than_it_says():
    wave = np.concatenate([np.zeros(RATE, np.float32), voice(3.0, 120), np.zeros(RATE, np.float32)])
    whole = decided(wave)
    assert (decided(wave, 37) == whole).all()
    detector = EnergyDetector(RATE)
    early = detector.feed(wave[: 3 * RATE])
    assert len(early) >= 300 - round(LOOKAHEAD * 100) - 4
    assert (early == whole[: len(early)]).all()


def plain_spans(frames, bridge, shortest):
    """Stretches of True with gaps under ``bridge`` frames filled; short ones dropped."""
    found = []
    for place in np.flatnonzero(frames):
        if found and place - found[-1][1] < bridge:
            found[-1][1] = place + 1
        else:
            found.append([place, place + 1])
    return [(a, b) for a, b in found if b - a >= shortest]


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 20), st.integers(1, 20))
def test_stretches_against_a_twin(frames, bridge, shortest):
    spans = SpeechSpans(1.0, bridge, shortest, 0.0, 10_000)
    events = [event for frame in frames for event in spans.feed([frame])]
    events += spans.finish(len(frames))
    closed = [(round(one.start), round(one.end)) for one in events if one.closed]
    assert closed == plain_spans(frames, bridge, shortest)
    at_once = SpeechSpans(1.0, bridge, shortest, 0.0, 10_000)
    whole = [*at_once.feed(frames), *at_once.finish(len(frames))]
    assert [one for one in whole if one.closed] == [one for one in events if one.closed]


@pytest.mark.skipif("EMOFUSE_ASSETS" not in os.environ, reason="EMOFUSE_ASSETS is not set")
def test_real_speech_is_found():
    folder = Path(os.environ["EMOFUSE_ASSETS"]) / "data" / "ravdess" / "Actor_01"
    shares = []
    for path in sorted(folder.glob("*.flac"))[:8]:
        found = decided(read_audio(path))
        inside = np.flatnonzero(found)
        assert 0.5 < (inside[-1] - inside[0]) / 100 < 4.0
        shares.append(found[:30].mean())
    assert np.mean(shares) < 0.1  # each begins with a pause


def test_silero_says_what_it_needs(monkeypatch):
    monkeypatch.setattr("emofuse.media.silero.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[silero\]'"):
        find_silero()
    with pytest.raises(OptionError, match="hears 16000 Hz"):
        SileroDetector(8000)


@pytest.mark.skipif(
    find_spec("silero_vad") is None or "EMOFUSE_ASSETS" not in os.environ,
    reason="silero-vad or EMOFUSE_ASSETS is not there",
)
def test_silero_hears_real_speech():
    folder = Path(os.environ["EMOFUSE_ASSETS"]) / "data" / "ravdess" / "Actor_01"
    wave = read_audio(sorted(folder.glob("*.flac"))[0])
    whole = SileroDetector(RATE)
    frames = np.concatenate([whole.feed(wave), whole.finish()])
    inside = np.flatnonzero(frames) * whole.hop
    assert 0.5 < inside[0] < 1.5 < inside[-1] < 3.2
    parts = SileroDetector(RATE)
    pieces = [parts.feed(wave[n : n + 777]) for n in range(0, len(wave), 777)]
    np.testing.assert_array_equal(np.concatenate([*pieces, parts.finish()]), frames)
