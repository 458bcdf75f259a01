"""Whisper's log-mel spectrogram, in NumPy, at a clip's real length.

As the stock feature extractor computes it without padding (Radford et al. 2022): frames of
``n_fft`` samples about every ``hop``-th one, the ends mirrored, a periodic Hann window, the power
spectrum, triangles of equal area on Slaney's mel scale up to 8 kHz, ``log10`` down to 8 below the
loudest value, ``(x + 4) / 4``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import FloatArray
from emofuse.encoders.logmel import hann_window, power_pairs

__all__ = ["WhisperMel", "slaney_filters"]

HIGHEST = 8000.0  # hertz
LINEAR_TOP, LINEAR_STEP = 1000.0, 200.0 / 3.0  # hertz; a mel below 1 kHz is 66.7 Hz
LOG_STEP = np.log(6.4) / 27.0  # and above it 27 mels are a factor of 6.4
LOWEST_POWER = 1e-10
RANGE = 8.0  # powers of ten below the loudest value
CHUNK = 4096  # frames in one transform


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    top = LINEAR_TOP / LINEAR_STEP
    above = LINEAR_TOP * np.exp(LOG_STEP * (np.maximum(mel, top) - top))
    return np.asarray(np.where(mel < top, mel * LINEAR_STEP, above))


def slaney_filters(bands: int, n_fft: int, sample_rate: int) -> FloatArray:
    """Triangles of equal area on Slaney's mel scale (Auditory Toolbox, 1998).

    Returns:
        ``(n_fft // 2 + 1, bands)``.

    >>> slaney_filters(80, 400, 16000).shape
    (201, 80)
    """
    highest = LINEAR_TOP / LINEAR_STEP + np.log(HIGHEST / LINEAR_TOP) / LOG_STEP
    edges = _hertz(np.linspace(0.0, highest, bands + 2))
    bins = np.linspace(0.0, sample_rate // 2, n_fft // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2])), np.float32)


@lru_cache(maxsize=4)
def _pair_filters(bands: int, n_fft: int, sample_rate: int) -> FloatArray:
    return np.repeat(slaney_filters(bands, n_fft, sample_rate), 2, axis=0)


class WhisperMel:
    """Turns waveforms into Whisper's input.

    Args:
        sample_rate: hertz.
        hop, n_fft: samples.
        bands: mel bands.
    """

    def __init__(self, sample_rate: int, hop: int, n_fft: int, bands: int) -> None:
        self.sample_rate, self.hop, self.n_fft, self.bands = sample_rate, hop, n_fft, bands
        self._window = hann_window(n_fft)
        self._filters = _pair_filters(bands, n_fft, sample_rate)

    def __call__(self, waveform: FloatArray) -> FloatArray:
        """Turn ``(samples,)`` into ``(samples // hop, bands)``; a clip under 25 ms gets zeros."""
        wave = np.asarray(waveform, np.float32)
        if len(wave) < self.n_fft:
            wave = np.pad(wave, (0, self.n_fft - len(wave)))
        padded = np.pad(wave, self.n_fft // 2, mode="reflect")
        framed = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop][:-1]
        energies = np.empty((len(framed), self.bands), np.float32)
        for start in range(0, len(framed), CHUNK):
            part = framed[start : start + CHUNK] * self._window
            energies[start : start + CHUNK] = power_pairs(part, self.n_fft) @ self._filters
        logs = np.log10(np.maximum(energies, np.float32(LOWEST_POWER)))
        logs = np.maximum(logs, logs.max() - np.float32(RANGE))
        return np.asarray((logs + np.float32(4.0)) / np.float32(4.0), np.float32)
