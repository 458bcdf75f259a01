"""Lines, codecs and levels, against what a textbook says of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate, welch

from emofuse.augment.activity import active_power, active_share
from emofuse.augment.channels import clip, telephone, transcode, truncate
from emofuse.augment.draw import (
    Clip,
    Codec,
    Gain,
    Noise,
    Talker,
    Telephone,
    Truncate,
    Voices,
    steps_digest,
)
from emofuse.augment.replay import apply_step
from emofuse.augment.sources import Sources
from emofuse.errors import MediaError
from emofuse.evaluation.label_leak import voiced_signal
from emofuse.media.audio import write_wav
from emofuse.storage import sha256_file

RATE = 16_000


@pytest.fixture
def voice():
    return voiced_signal(np.random.default_rng(3))[: 2 * RATE].astype(np.float32)


def decibels(power: float) -> float:
    return 10 * float(np.log10(power))


def test_active_level_does_not_count_pauses():
    tone = np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE).astype(np.float32) * 0.3
    gaps = np.concatenate([np.zeros(3 * RATE, np.float32), tone, np.zeros(5 * RATE, np.float32)])
    whole = decibels(float(np.mean(gaps**2)))
    assert decibels(active_power(tone, RATE)) == pytest.approx(decibels(0.045), abs=0.1)
    assert decibels(active_power(gaps, RATE)) == pytest.approx(decibels(0.045), abs=0.4)
    assert whole < decibels(0.045) - 4  # what setting noise by the whole would go by
    assert active_share(gaps, RATE) == pytest.approx(4 / 12, abs=0.04)


def test_active_level_moves_with_gain_alone(voice):
    quiet = decibels(active_power(voice * 0.01, RATE))
    assert quiet == pytest.approx(decibels(active_power(voice, RATE)) - 40, abs=1e-3)
    assert active_power(np.zeros(RATE, np.float32), RATE) == 0.0
    assert active_power(np.zeros(0, np.float32), RATE) == 0.0


@pytest.mark.parametrize("snr", [20.0, 10.0, 5.0, 0.0])
@pytest.mark.parametrize("colour", ["white", "pink"])
def test_ratio_of_active_speech_is_the_one_asked_for(voice, snr, colour):
    paused = np.concatenate([voice, np.zeros(3 * RATE, np.float32)])
    mixed = apply_step(Noise(colour=colour, snr=snr, seed=1, by="active"), paused, Sources(), RATE)
    hiss = float(np.mean((mixed - paused).astype(np.float64) ** 2))
    assert decibels(active_power(paused, RATE) / hiss) == pytest.approx(snr, abs=0.02)


def test_babble_is_made_of_the_voices_at_the_ratio(tmp_path, voice):
    talkers = []
    for number in range(3):
        other = voiced_signal(np.random.default_rng(10 + number))[:9000] * 0.1 * (number + 1)
        write_wav(tmp_path / f"{number}.wav", other.astype(np.float32))
        digest = sha256_file(tmp_path / f"{number}.wav")[:16]
        talkers.append(Talker(file=f"{number}.wav", sha256=digest, offset=0.2 * number))
    step = Voices(talkers=tuple(talkers), snr=5.0, by="whole")
    sources = Sources(voices=tmp_path)
    mixed = apply_step(step, voice, sources, RATE)
    noise = (mixed - voice).astype(np.float64)
    assert decibels(float(np.mean(voice.astype(np.float64) ** 2) / np.mean(noise**2))) == (
        pytest.approx(5.0, abs=0.02)
    )
    assert np.array_equal(mixed, apply_step(step, voice, sources, RATE))
    other = talkers[1].model_copy(update={"sha256": "0" * 16})
    step = step.model_copy(update={"talkers": (talkers[0], other)})
    with pytest.raises(MediaError, match="has changed since"):
        apply_step(step, voice, sources, RATE)


@pytest.mark.parametrize("law", ["mu", "a", "linear"])
def test_telephone_keeps_its_band_alone(law):
    noise = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32) * 0.1
    heard = telephone(noise, RATE, law)
    assert len(heard) == len(noise)
    places, density = welch(heard, RATE, nperseg=1024)
    _, before = welch(noise, RATE, nperseg=1024)

    def change(low, high):
        band = (places >= low) & (places <= high)
        return decibels(density[band].mean() / before[band].mean())

    assert change(500, 3000) == pytest.approx(0.0, abs=0.6)
    assert change(20, 120) < -15
    assert change(4200, 7500) < -30


def test_companding_costs_what_g711_costs():
    """Signal to quantisation noise of G.711 lies near 38 dB over a wide range of levels."""
    tone = np.sin(2 * np.pi * 1013 * np.arange(2 * RATE) / RATE).astype(np.float32)
    for level in (0.5, 0.05):
        clean = telephone(tone * level, RATE, "linear")[2000:-2000]
        for law in ("mu", "a"):
            error = telephone(tone * level, RATE, law)[2000:-2000] - clean
            ratio = decibels(float(np.mean(clean**2) / np.mean(error**2)))
            assert 33 < ratio < 44


@pytest.mark.parametrize(("name", "kbits"), [("opus", 24), ("opus", 6), ("mp3", 64), ("mp3", 16)])
def test_codecs_keep_length_and_place(voice, name, kbits):
    found = transcode(voice, RATE, name, kbits)
    assert len(found) == len(voice)
    likeness = correlate(found, voice, mode="full", method="fft")
    assert abs(int(likeness.argmax()) - (len(voice) - 1)) <= 2
    assert np.array_equal(found, transcode(voice, RATE, name, kbits))


def test_fewer_bits_cost_more(voice):
    def error(name, kbits):
        return float(np.mean((transcode(voice, RATE, name, kbits) - voice) ** 2))

    assert error("opus", 6) > error("opus", 12) > error("opus", 48)
    assert error("mp3", 16) > error("mp3", 32) > error("mp3", 96)


def test_clip_cuts_flat_and_truncate_cuts_off(voice):
    cut = clip(voice, 6.0)
    limit = np.abs(voice).max() * 10 ** (-0.3)
    assert np.abs(cut).max() == pytest.approx(limit, rel=1e-6)
    below = np.abs(voice) < limit
    assert np.array_equal(cut[below], voice[below])
    assert np.array_equal(truncate(voice, 0.25, 0.0), voice[: len(voice) // 4])
    assert np.array_equal(truncate(voice, 0.25, 1.0), voice[-(len(voice) // 4) :])
    assert len(truncate(voice[:100], 0.01, 0.0)) == 100  # nothing shorter than 10 ms is made


@pytest.mark.parametrize(
    "step", [Gain(decibels=0), Truncate(keep=1.0), Clip(decibels=0)], ids=lambda step: step.kind
)
def test_nothing_done_is_nothing_changed(voice, step):
    assert apply_step(step, voice, Sources(), RATE).tobytes() == voice.tobytes()


@pytest.mark.parametrize("samples", [1, 50, 400])
def test_the_shortest_clips_pass_through(samples):
    wave = np.full(samples, 0.1, np.float32)
    for step in (Telephone(), Codec(name="opus", kbits=12), Codec(name="mp3", kbits=32)):
        assert apply_step(step, wave, Sources(), RATE).shape == (samples,)


def test_a_noise_by_the_whole_is_filed_as_before_there_was_a_choice():
    """Features of runs that were augmented earlier are found again."""
    plain = Noise(colour="white", snr=10, seed=1)
    assert steps_digest((plain,)) == "211775beb69ed449590d3629db6a3431"
    assert steps_digest((plain,)) != steps_digest((plain.model_copy(update={"by": "active"}),))


def test_a_noise_that_is_remembered_is_the_same_noise(tmp_path, voice):
    write_wav(tmp_path / "n.wav", np.random.default_rng(5).standard_normal(5000).astype("f4") * 0.1)
    once = Sources(noise=tmp_path)
    digest = once.digest("noise", "n.wav")
    for snr in (20.0, 0.0, 20.0):
        step = Noise(colour="file", file="n.wav", sha256=digest, snr=snr, offset=0.3, by="active")
        fresh = apply_step(step, voice, Sources(noise=tmp_path), RATE)
        assert np.array_equal(apply_step(step, voice, once, RATE), fresh)
    made = []
    for key in (*range(40), 39, 0):
        once.recall(key, lambda key=key: made.append(key) or np.full(2, key, np.float32))
    assert made == [*range(40), 0]  # the last is at hand, the first was let go
