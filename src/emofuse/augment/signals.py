"""Changes of a waveform, as pure functions of ``(samples,)`` float32 arrays.

Pitch and tempo are changed by Signalsmith Stretch (extra ``augment``), resampling is soxr's,
convolution is scipy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

from emofuse.errors import MissingExtraError
from emofuse.media.audio import FloatArray

__all__ = [
    "babble",
    "change_tempo",
    "echo",
    "emphasise",
    "gaussian",
    "mix_at_level",
    "mix_at_snr",
    "pink",
    "respeed",
    "reverberate",
    "room",
    "shift_pitch",
    "white",
]

SEED = 7  # of the phases that Signalsmith Stretch draws
SILENCE = 1e-20  # power below which there is nothing to set a ratio by
TALKERS = 6
SMALLEST = 400  # samples; a shorter clip has no tempo

Generator = np.random.Generator


def change_tempo(wave: FloatArray, rate: int, factor: float) -> FloatArray:
    """Play ``factor`` times as fast at the same pitch.

    Raises:
        MissingExtraError: the extra ``augment`` is not installed.
    """
    return _stretched(wave, rate, factor, 0.0)


def shift_pitch(wave: FloatArray, rate: int, semitones: float) -> FloatArray:
    """Shift the pitch; length and tempo stay.

    Raises:
        MissingExtraError: the extra ``augment`` is not installed.
    """
    return fit(_stretched(wave, rate, 1.0, semitones), len(wave))


def _stretched(wave: FloatArray, rate: int, factor: float, semitones: float) -> FloatArray:
    try:
        from python_stretch import Signalsmith
    except ImportError as error:
        raise MissingExtraError("python-stretch", "augment") from error
    if len(wave) < SMALLEST:
        return wave
    machine: Any = Signalsmith.Stretch(SEED)
    machine.preset(1, float(rate))
    machine.setTransposeSemitones(semitones)
    machine.setTimeFactor(factor)
    found = np.asarray(machine.process(np.ascontiguousarray(wave[None])), np.float32)[0]
    return fit(found, max(1, round(len(wave) / factor)))


def fit(wave: FloatArray, samples: int) -> FloatArray:
    """Cut at the end, or fill up with zeros, to so many samples."""
    if len(wave) >= samples:
        return np.ascontiguousarray(wave[:samples])
    return np.pad(wave, (0, samples - len(wave)))


def respeed(wave: FloatArray, rate: int, factor: float) -> FloatArray:
    """Play ``factor`` times as fast, pitch and all."""
    found = soxr.resample(wave, rate * factor, rate, quality="HQ")
    return np.asarray(found, np.float32) if len(found) else wave


def power(wave: NDArray[np.floating[Any]]) -> float:
    """Mean square."""
    return float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0


def mix_at_snr(
    wave: FloatArray, noise: FloatArray, snr: float, loud: float | None = None
) -> FloatArray:
    """Add noise at a ratio of powers.

    ``y = x + n sqrt(P_x / (P_n 10^(snr / 10)))``; silence stays silence.

    Args:
        wave: ``(samples,)``.
        noise: as long.
        snr: decibels.
        loud: power of the signal; that of the whole ``wave`` unless told.
    """
    loud, hiss = power(wave) if loud is None else loud, power(noise)
    if loud < SILENCE or hiss < SILENCE:
        return wave
    return np.asarray(wave + noise * np.sqrt(loud / (hiss * 10 ** (snr / 10))), np.float32)


def mix_at_level(wave: FloatArray, noise: FloatArray, level: float) -> FloatArray:
    """Add noise of a given root mean square."""
    hiss = power(noise)
    return wave if hiss < SILENCE else np.asarray(wave + noise * (level / hiss**0.5), np.float32)


def gaussian(samples: int, draw: Generator) -> FloatArray:
    """Draw Gaussian white noise."""
    return draw.standard_normal(samples, np.float32)


def white(samples: int, draw: Generator) -> FloatArray:
    """Draw white noise, even over [-1, 1]."""
    return np.asarray(draw.uniform(-1.0, 1.0, samples), np.float32)


def pink(samples: int, draw: Generator) -> FloatArray:
    """Draw noise whose power falls as 1 / f: white noise, its spectrum divided by ``sqrt(f)``."""
    spectrum = np.fft.rfft(draw.standard_normal(samples))
    places = np.arange(len(spectrum), dtype=np.float64)
    spectrum = spectrum / np.sqrt(np.maximum(places, 1.0))
    spectrum[0] = 0.0
    return np.asarray(np.fft.irfft(spectrum, n=samples), np.float32)


def babble(samples: int, draw: Generator, rate: int) -> FloatArray:
    """Draw a murmur: streams of noise, coloured like speech, that swell a few times a second."""
    total = np.zeros(samples)
    seconds = np.arange(samples) / rate
    for _ in range(TALKERS):
        hiss = lfilter([1.0], [1.0, -0.93], draw.standard_normal(samples))
        for centre in draw.uniform((300.0, 1000.0), (800.0, 2500.0)):
            radius = np.exp(-np.pi * 150.0 / rate)
            turn = 2 * radius * np.cos(2 * np.pi * min(centre, 0.45 * rate) / rate)
            hiss = lfilter([1.0 - radius], [1.0, -turn, radius**2], hiss)
        swell = np.sin(2 * np.pi * draw.uniform(2.0, 6.0) * seconds + draw.uniform(0.0, 6.3))
        hiss *= np.clip(0.4 + swell, 0.0, None)
        total += hiss / max(power(hiss) ** 0.5, 1e-12)
    return np.asarray(total, np.float32)


def room(rt60: float, draw: Generator, rate: int) -> FloatArray:
    """Draw a simulated impulse response: the direct sound, then noise that falls 60 dB in ``rt60``.

    Returns:
        ``(samples,)``, the direct sound first with amplitude 1.
    """
    samples = max(2, round(rt60 * rate))
    tail = draw.standard_normal(samples) * 10 ** (-3.0 * np.arange(samples) / samples)
    tail *= 0.7 / max(float(np.sqrt(np.square(tail).sum())), 1e-12)
    tail[0] = 1.0
    return np.asarray(tail, np.float32)


def reverberate(wave: FloatArray, response: FloatArray) -> FloatArray:
    """Convolve with an impulse response from its highest peak on; length and power stay."""
    start = int(np.abs(response).argmax())
    wet = fftconvolve(wave.astype(np.float64), response[start:].astype(np.float64))[: len(wave)]
    loud = power(wet)
    return wave if loud < SILENCE else np.asarray(wet * (power(wave) / loud) ** 0.5, np.float32)


def echo(wave: FloatArray, rate: int, seconds: float, gain: float) -> FloatArray:
    """Add one repetition, ``seconds`` later and ``gain`` times as loud; the length stays."""
    late = round(seconds * rate)
    found = wave.copy()
    if late < len(wave):
        found[late:] += np.float32(gain) * wave[: len(wave) - late]
    return found


def emphasise(wave: FloatArray, rate: int, low: float, high: float, gain: float) -> FloatArray:
    """Multiply the amplitude of the frequencies from ``low`` to ``high`` hertz by ``gain``."""
    spectrum = np.fft.rfft(wave)
    places = np.fft.rfftfreq(len(wave), 1.0 / rate)
    spectrum[(places >= low) & (places < high)] *= gain
    return np.asarray(np.fft.irfft(spectrum, n=len(wave)), np.float32)
