"""Silence cut, one level: what stays the same when a recording is made otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.media.conditioning import condition

RATE = 16_000


@pytest.fixture
def speech() -> np.ndarray:
    random = np.random.default_rng(0)
    swell = 0.6 + 0.4 * np.sin(np.arange(RATE) / 900)
    return (0.05 * swell * random.normal(size=RATE)).astype(np.float32)


@pytest.mark.parametrize("gain", [0.01, 0.3, 4.0])
def test_loudness_of_the_recording_does_not_matter(speech: np.ndarray, gain: float) -> None:
    one = condition(speech, RATE, trim=35, level=-23)
    other = condition(np.float32(gain) * speech, RATE, trim=35, level=-23)
    np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    assert 10 * np.log10(np.mean(np.square(one, dtype=np.float64))) == pytest.approx(-23, abs=1.0)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.0), (0.0, 1.0), (1.0, 2.0)])
def test_silence_around_does_not_matter(speech: np.ndarray, before: float, after: float) -> None:
    hiss = np.random.default_rng(1).normal(scale=1e-5, size=4 * RATE).astype(np.float32)
    left, right = round(before * RATE), round(after * RATE)
    padded = np.concatenate([hiss[:left], speech, hiss[:right]])
    heard = condition(padded, RATE, trim=35, level=-23)
    plain = condition(speech, RATE, trim=35, level=-23)
    assert 0 <= len(heard) - len(plain) <= 0.16 * RATE
    start = int(np.argmax(np.correlate(heard, plain[:2000], "valid")))
    np.testing.assert_allclose(heard[start : start + len(plain)], plain, rtol=0.02, atol=1e-4)


def test_a_pause_inside_stays(speech: np.ndarray) -> None:
    paused = np.concatenate([speech, np.zeros(RATE, np.float32), speech])
    assert len(condition(paused, RATE, trim=35)) > 2.9 * RATE


@pytest.mark.parametrize("samples", [0, 1, 100, 401, 5000])
def test_silence_and_short_clips_come_back_as_they_are(samples: int) -> None:
    silent = np.zeros(samples, np.float32)
    np.testing.assert_array_equal(condition(silent, RATE, trim=35, level=-23), silent)
    short = np.full(samples, 0.1, np.float32)
    heard = condition(short, RATE, trim=35, level=-20)
    assert len(heard) == samples
    np.testing.assert_allclose(heard, 0.1, rtol=1e-5)


def test_nothing_asked_nothing_done(speech: np.ndarray) -> None:
    np.testing.assert_array_equal(condition(speech, RATE), speech)
