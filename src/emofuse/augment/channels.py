"""What a line, a codec or a microphone does to a waveform, as pure functions.

Companding and codecs are libsndfile's (G.711, Opus, LAME), filters are scipy's, resampling is
soxr's. All keep the length but `truncate`.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, correlate, sosfiltfilt

from emofuse.augment.signals import fit
from emofuse.errors import MediaError
from emofuse.media.audio import FloatArray

__all__ = ["clip", "telephone", "transcode", "truncate"]

LINE_RATE = 8_000  # hertz of a telephone line
CODEC_RATE = 16_000  # hertz that codecs are given
SMALLEST = 160  # samples that are left of a cut clip: 10 ms at 16 kHz
LONGEST_DELAY = 2_400  # samples that a codec may be late
SHORTEST = 0.1  # seconds; a codec is given silence after a shorter clip


def telephone(
    wave: FloatArray,
    rate: int,
    law: Literal["mu", "a", "linear"] = "mu",
    band: tuple[float, float] = (300.0, 3400.0),
) -> FloatArray:
    """Send over a telephone line: band-pass without delay, 8 kHz, 8 bits a sample.

    Args:
        wave: ``(samples,)``; what leaves [-1, 1] is cut, as a line does.
        rate: hertz.
        law: companding.
        band: hertz.
    """
    if len(wave) < SMALLEST:
        return wave
    filters = butter(4, band, btype="bandpass", fs=LINE_RATE, output="sos")
    narrow = soxr.resample(wave, rate, LINE_RATE, quality="HQ") if rate != LINE_RATE else wave
    narrow = sosfiltfilt(filters, np.asarray(narrow, np.float64), padtype="constant")
    if law != "linear":
        subtype = "ULAW" if law == "mu" else "ALAW"
        narrow = _through(np.asarray(narrow, np.float32), LINE_RATE, "WAV", subtype)
    found = soxr.resample(narrow, LINE_RATE, rate, quality="HQ") if rate != LINE_RATE else narrow
    return fit(np.asarray(found, np.float32), len(wave))


def transcode(
    wave: FloatArray, rate: int, name: Literal["opus", "mp3"], kbits: float
) -> FloatArray:
    """Code with loss and decode again, in place (no delay) and at the old length.

    Args:
        wave: ``(samples,)``; what leaves [-1, 1] is cut.
        rate: hertz.
        name: the codec.
        kbits: thousand bits a second.

    Raises:
        MediaError: libsndfile was built without the codec.
    """
    given = soxr.resample(wave, rate, CODEC_RATE, quality="HQ") if rate != CODEC_RATE else wave
    given = fit(given, max(len(given), round(SHORTEST * CODEC_RATE)))
    if name == "opus":
        level = (256.0 - kbits) / 250.0  # libsndfile: 0 = 256 kbit/s, 1 = 6 kbit/s
        found = _through(given, CODEC_RATE, "OGG", "OPUS", compression_level=level)
    else:
        level = min((160.0 - kbits) / 152.0, 0.9999)  # 0 = 160 kbit/s, 1 = 8 kbit/s
        kind: dict[str, float | str] = {
            "compression_level": max(level, 0.0),
            "bitrate_mode": "CONSTANT",
        }
        found = _aligned(_through(given, CODEC_RATE, "MP3", "MPEG_LAYER_III", **kind), given)
    if rate != CODEC_RATE:
        found = soxr.resample(found, CODEC_RATE, rate, quality="HQ")
    return fit(np.asarray(found, np.float32), len(wave))


def _aligned(found: FloatArray, given: FloatArray) -> FloatArray:
    """Take out an encoder's delay, which the lowest bit rates of LAME leave no room to note."""
    if len(found) <= len(given):
        return found
    likeness = correlate(found, given, mode="full", method="fft")[len(given) - 1 :]
    return found[int(likeness[:LONGEST_DELAY].argmax()) :]


def _through(
    wave: FloatArray, rate: int, container: str, subtype: str, **options: float | str
) -> FloatArray:
    """Write into memory and read back."""
    stream = io.BytesIO()
    safe = np.clip(wave, -1.0, 1.0)
    try:
        soundfile.write(stream, safe, rate, format=container, subtype=subtype, **options)
        stream.seek(0)
        found, _ = soundfile.read(stream, dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise MediaError(
            f"libsndfile cannot code {subtype} here ({error}); upgrade soundfile"
        ) from error
    return np.asarray(found, np.float32)


def clip(wave: FloatArray, decibels: float) -> FloatArray:
    """Cut everything flat that is louder than ``decibels`` below the highest peak."""
    limit = float(np.abs(wave).max(initial=0.0)) * 10.0 ** (-decibels / 20.0)
    return np.asarray(np.clip(wave, -limit, limit), np.float32)


def truncate(wave: FloatArray, keep: float, place: float) -> FloatArray:
    """Keep a share of the length, from ``place`` (0 = the beginning, 1 = the end).

    At least 10 ms are left.
    """
    samples = min(len(wave), max(SMALLEST, round(keep * len(wave))))
    start = round(place * (len(wave) - samples))
    return np.ascontiguousarray(wave[start : start + samples])
