"""Waveform transforms: what they do to a tone, to power, to length; and that draws replay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emofuse.augment import signals
from emofuse.augment.draw import Band, Draw, Echo, Gain, Noise, Pitch, Reverb, Speed, Stretch
from emofuse.augment.policy import AugmentOptions, draw_view
from emofuse.augment.replay import apply_step, drop_words, replay
from emofuse.augment.sources import Sources, looped
from emofuse.augment.styles import DOCUMENTED, Style
from emofuse.errors import MediaError, MissingExtraError, OptionError, ProtocolError
from emofuse.media.audio import write_wav

RATE = 16_000
Wave = NDArray[np.float32]


def tone(hertz: float = 300.0, seconds: float = 2.0) -> Wave:
    times = np.arange(int(seconds * RATE)) / RATE
    return np.asarray(0.1 * np.sin(2 * np.pi * hertz * times), np.float32)


def peak(wave: Wave) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(spectrum.argmax() * RATE / len(wave))


def decibels(signal: Wave, noise: Wave) -> float:
    return float(10 * np.log10(signals.power(signal) / signals.power(noise)))


@pytest.mark.parametrize("semitones", [-4.0, 3.0])
def test_pitch_moves_the_tone_and_keeps_the_length(semitones: float) -> None:
    found = signals.shift_pitch(tone(), RATE, semitones)
    assert len(found) == 2 * RATE
    assert peak(found) == pytest.approx(300 * 2 ** (semitones / 12), rel=0.01)


@pytest.mark.parametrize("rate", [0.7, 1.25])
def test_tempo_keeps_the_tone_and_changes_the_length(rate: float) -> None:
    found = signals.change_tempo(tone(), RATE, rate)
    assert len(found) == round(2 * RATE / rate)
    assert peak(found) == pytest.approx(300, rel=0.01)


def test_speed_changes_both() -> None:
    found = signals.respeed(tone(), RATE, 1.2)
    assert len(found) == pytest.approx(2 * RATE / 1.2, abs=2)
    assert peak(found) == pytest.approx(360, rel=0.01)


@pytest.mark.parametrize("samples", [1, 399, 400, 401, 2000])
def test_short_clips_survive_everything(samples: int) -> None:
    wave = tone()[:samples]
    for step in (
        Stretch(rate=1.3),
        Pitch(semitones=2),
        Speed(rate=1.1),
        Noise(colour="pink", snr=10),
        Noise(colour="babble", snr=10),
        Reverb(rt60=0.3),
        Echo(seconds=0.02, gain=0.3),
        Band(low=0, high=300, gain=1.5),
        Gain(decibels=6),
    ):
        found = apply_step(step, wave, Sources(), RATE)
        assert len(found) >= 1
        assert found.dtype == np.float32
        assert bool(np.isfinite(found).all())


@pytest.mark.parametrize("colour", ["white", "gaussian", "pink", "babble"])
@pytest.mark.parametrize("snr", [0.0, 15.0])
def test_noise_has_its_ratio(colour: str, snr: float) -> None:
    wave = tone()
    step = Noise.model_validate({"colour": colour, "snr": snr, "seed": 4})
    found = apply_step(step, wave, Sources(), RATE)
    assert decibels(wave, found - wave) == pytest.approx(snr, abs=0.01)
    assert np.array_equal(found, apply_step(step, wave, Sources(), RATE))
    level = Noise.model_validate({"colour": colour, "level": 0.005})
    hiss = apply_step(level, wave, Sources(), RATE) - wave
    assert signals.power(hiss) ** 0.5 == pytest.approx(0.005, rel=1e-3)


def test_silence_stays_silence() -> None:
    silence = np.zeros(RATE, np.float32)
    assert not apply_step(Noise(colour="white", snr=5), silence, Sources(), RATE).any()
    assert not apply_step(Reverb(rt60=0.3), silence, Sources(), RATE).any()


def test_pink_falls_by_three_decibels_an_octave() -> None:
    noise = signals.pink(1 << 18, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [float(power[low : 2 * low].mean()) for low in (256, 1024, 4096, 16384)]
    drops = 10 * np.log10(np.array(octaves[:-1]) / np.array(octaves[1:]))
    np.testing.assert_allclose(drops, 10 * np.log10(4), atol=0.7)


def test_a_room_decays_in_its_time_and_keeps_power_and_length() -> None:
    response = signals.room(0.5, np.random.default_rng(0), RATE)
    tail = np.cumsum(response[1:][::-1].astype(float) ** 2)[::-1]
    energy = 10 * np.log10(tail / tail[0])
    assert int(np.argmax(energy < -30)) / RATE == pytest.approx(0.25, rel=0.15)
    wave = tone() * np.repeat([1, 0], RATE).astype(np.float32)
    found = signals.reverberate(wave, response)
    assert len(found) == len(wave)
    assert signals.power(found) == pytest.approx(signals.power(wave), rel=1e-3)
    assert signals.power(found[RATE + 800 : RATE + 4000]) > 0


def test_echo_and_band_are_linear_and_exact() -> None:
    wave = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    late = signals.echo(wave, RATE, 0.02, 0.3)
    np.testing.assert_allclose(late[320:], wave[320:] + 0.3 * wave[:-320], rtol=1e-5, atol=1e-6)
    assert np.array_equal(late[:320], wave[:320])
    loud = np.fft.rfft(signals.emphasise(wave, RATE, 0, 300, 1.5)) / np.fft.rfft(wave)
    np.testing.assert_allclose(np.abs(loud[1:299]), 1.5, rtol=1e-3)
    np.testing.assert_allclose(np.abs(loud[301:-1]), 1.0, rtol=1e-3)


@pytest.mark.parametrize("policy", ["basic", "random", "class", "class-code"])
@pytest.mark.parametrize("label", ["anger", "happiness", "neutral", "sadness", "fear"])
def test_a_record_replays_bit_for_bit(policy: str, label: str) -> None:
    options = AugmentOptions.parse({"policy": policy, "seed": 3})
    wave = tone(seconds=1.0)
    for view in range(3):
        draw = draw_view(options, "u1", view, label)
        again = Draw.parse(json.loads(draw.model_dump_json()))
        assert again == draw == draw_view(options, "u1", view, label)
        assert again.audio_digest() == draw.audio_digest()
        assert replay(again, wave).tobytes() == replay(draw, wave).tobytes()


def test_draws_differ_by_seed_utterance_and_view_alone() -> None:
    options = AugmentOptions(policy="basic")
    first = draw_view(options, "a", 0, None)
    others = [
        draw_view(options, "b", 0, None),
        draw_view(options, "a", 1, None),
        draw_view(AugmentOptions(policy="basic", seed=1), "a", 0, None),
    ]
    digests = {one.audio_digest() for one in (first, *others)}
    assert len(digests) == 4
    assert draw_view(options, "a", 0, "anger").steps == first.steps


def test_the_documented_policy_is_the_documented_one() -> None:
    drawn = {
        name: [draw_view(AugmentOptions(policy="class"), f"u{i}", 0, name) for i in range(200)]
        for name in DOCUMENTED
    }
    kinds = {name: {tuple(s.kind for s in d.steps) for d in found} for name, found in drawn.items()}
    assert kinds == {
        "anger": {("pitch",)},
        "happiness": {("stretch", "pitch", "noise")},
        "sadness": {("reverb", "noise")},
        "neutral": {("noise",)},
    }
    pitches = [s.semitones for d in drawn["anger"] for s in d.steps if isinstance(s, Pitch)]
    assert -3 <= min(pitches) < -2.8
    assert 2.8 < max(pitches) <= 3
    rooms = [s.rt60 or 0 for d in drawn["sadness"] for s in d.steps if isinstance(s, Reverb)]
    assert 0.2 <= min(rooms) < max(rooms) <= 0.6
    ratios = {"happiness": (5, 15), "sadness": (10, 20), "neutral": (15, 25)}
    for name, (low, high) in ratios.items():
        found = [s.snr or 0 for d in drawn[name] for s in d.steps if isinstance(s, Noise)]
        assert low <= min(found) < max(found) <= high
    assert {len(d.masks) for d in drawn["anger"]} == {4}
    assert {len(d.masks) for d in drawn["neutral"]} == {2}
    assert max(m.size for d in drawn["anger"] for m in d.masks if m.axis == "time") == 40
    assert max(m.size for d in drawn["neutral"] for m in d.masks if m.axis == "band") == 6


def test_random_has_the_same_styles_whatever_the_label() -> None:
    options = AugmentOptions(policy="random")
    styles = [draw_view(options, f"u{i}", 0, "anger").style for i in range(400)]
    counts = {name: styles.count(name) for name in DOCUMENTED}
    assert all(60 < count < 140 for count in counts.values())
    assert styles[:50] == [draw_view(options, f"u{i}", 0, "sadness").style for i in range(50)]


def test_the_codes_sad_is_slow_and_lacks_its_lowest_bands() -> None:
    draw = draw_view(AugmentOptions(policy="class-code"), "u", 0, "sadness")
    rates = [step.rate for step in draw.steps if isinstance(step, Stretch)]
    assert len(rates) == 2
    assert 0.6 <= rates[1] <= 0.8
    assert draw.masks[-1].axis == "band"
    assert draw.masks[-1].place == 0.0


def test_only_training_items_and_only_where_it_is_on() -> None:
    options = AugmentOptions(policy="class")
    for part in ("dev", "test"):
        with pytest.raises(ProtocolError, match=f"'u' is in {part}: augmentation is for training"):
            draw_view(options, "u", 0, "anger", part=part)
    with pytest.raises(OptionError, match="needs a label"):
        draw_view(options, "u", 0, None)
    with pytest.raises(OptionError, match="off"):
        draw_view(AugmentOptions(), "u", 0, "anger")
    assert AugmentOptions(policy="class").notes()
    assert not AugmentOptions(policy="random").notes()


def test_own_styles() -> None:
    style = Style(gain=(3.0, 3.0), speed=(0.9, 0.9))
    options = AugmentOptions(policy="class", styles={"Angry": style})
    assert [s.kind for s in draw_view(options, "u", 0, "anger").steps] == ["speed", "gain"]
    assert not draw_view(options, "u", 0, "fear").steps
    with pytest.raises(OptionError, match="does not read 'styles'"):
        AugmentOptions.parse({"policy": "basic", "styles": {"anger": {}}})
    with pytest.raises(OptionError, match="no range"):
        AugmentOptions.parse({"policy": "class", "styles": {"anger": {"pitch": [3, -3]}}})


def test_lines_and_codecs_are_drawn_last_and_within_their_ranges() -> None:
    style = Style(gain=(1.0, 2.0), telephone=("a", "mu"), codec=("mp3", "opus"), kbits=(10.0, 30.0))
    options = AugmentOptions(policy="random", styles={"line": style})
    draws = [draw_view(options, f"u{i}", 0, None).steps for i in range(60)]
    assert {tuple(s.kind for s in steps) for steps in draws} == {("gain", "telephone", "codec")}
    assert {steps[1].law for steps in draws} == {"a", "mu"}
    rates = {name: {s[2].kbits for s in draws if s[2].name == name} for name in ("mp3", "opus")}
    assert rates["mp3"] == {8.0, 16.0, 24.0, 32.0}  # the nearest that MP3 knows
    assert all(10.0 <= one <= 30.0 for one in rates["opus"])
    assert len(rates["opus"]) > 10
    with pytest.raises(OptionError, match="no range"):
        AugmentOptions.parse({"policy": "random", "styles": {"a": {"kbits": [30, 8]}}})


def test_words_are_left_out_but_never_all() -> None:
    options = AugmentOptions(word_dropout=0.5)
    text = "one two three four five six"
    found = [drop_words(draw_view(options, f"u{i}", 0, None, text=text), text) for i in range(300)]
    share = np.mean([len(one.split()) for one in found]) / 6
    assert 0.45 < share < 0.6
    assert all(found)
    assert all(word in text.split() for one in found for word in one.split())
    assert draw_view(options, "u", 0, None, text="word").words == ()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    for name in ("musan/noise/a.wav", "musan/noise/sub/b.wav", "musan/speech/c.wav", "ir/d.wav"):
        write_wav(tmp_path / name, random.uniform(-0.5, 0.5, 3000).astype(np.float32))
    return tmp_path / "musan", tmp_path / "ir"


def test_recorded_noises_and_rooms(folders: tuple[Path, Path]) -> None:
    noise, responses = folders
    sources = Sources(noise, responses)
    assert sources.noises == ("a.wav", "sub/b.wav")
    options = AugmentOptions(policy="class", noise=str(noise), responses=str(responses))
    happy = draw_view(options, "u", 0, "happiness").steps[-1]
    sad = draw_view(options, "u", 0, "sadness").steps[0]
    assert isinstance(happy, Noise)
    assert isinstance(sad, Reverb)
    assert happy.file in sources.noises
    assert (sad.file, sad.rt60) == ("d.wav", None)
    wave = tone()
    found = apply_step(happy, wave, sources, RATE)
    assert decibels(wave, found - wave) == pytest.approx(happy.snr or 0, abs=0.01)
    assert apply_step(sad, wave, sources, RATE).shape == wave.shape
    with pytest.raises(MediaError, match=r"set augment\.noise"):
        apply_step(happy, wave, Sources(), RATE)
    with pytest.raises(MediaError, match="has changed"):
        apply_step(happy.model_copy(update={"sha256": "0" * 16}), wave, sources, RATE)
    with pytest.raises(MediaError, match="leaves the folder"):
        apply_step(happy.model_copy(update={"file": "../speech/c.wav"}), wave, sources, RATE)
    with pytest.raises(MediaError, match="is missing"):
        apply_step(happy.model_copy(update={"file": "gone.wav"}), wave, sources, RATE)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    options = AugmentOptions(policy="class", noise=str(tmp_path))
    with pytest.raises(MediaError, match="holds no audio"):
        draw_view(options, "u", 0, "happiness")


def test_a_short_noise_is_looped() -> None:
    short = np.arange(5, dtype=np.float32)
    assert looped(short, 7, 0.6).tolist() == [3, 4, 0, 1, 2, 3, 4]


def test_a_record_of_other_transforms_is_refused() -> None:
    draw = draw_view(AugmentOptions(policy="basic"), "u", 0, None).model_copy(
        update={"version": 99}
    )
    with pytest.raises(MediaError, match="version 99"):
        replay(draw, tone())


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[augment\]'"):
        signals.shift_pitch(tone(), RATE, 2.0)
    assert len(signals.respeed(tone(), RATE, 1.1))
