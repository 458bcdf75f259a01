"""What goes into a model of the wav2vec 2.0 kind, in NumPy, whatever runs the model."""

from __future__ import annotations

import numpy as np

from emofuse.encoders.batching import split_evenly
from emofuse.encoders.contract import FloatArray

__all__ = ["LONGEST_SECONDS", "normalised", "parts_of"]

LONGEST_SECONDS = 60  # of one pass, whose cost grows with the square of the length


def normalised(wave: FloatArray) -> FloatArray:
    """Bring ``(samples,)`` to mean 0 and variance 1, as the preprocessor of wav2vec 2.0 does."""
    return np.asarray((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7), np.float32)


def parts_of(wave: FloatArray, *, normalise: bool, shortest: int, longest: int) -> list[FloatArray]:
    """Cut a clip into parts of one pass.

    Args:
        wave: ``(samples,)``.
        normalise: bring it to mean 0 and variance 1 before.
        shortest: samples that a pass needs; a clip with fewer gets zeros behind.
        longest: samples that a pass takes.
    """
    wave = normalised(wave) if normalise else wave
    wave = np.pad(wave, (0, max(0, shortest - len(wave))))
    parts = split_evenly(len(wave), longest)
    return [np.ascontiguousarray(wave[start:end], dtype=np.float32) for start, end in parts]
