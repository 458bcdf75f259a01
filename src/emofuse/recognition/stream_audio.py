"""Chunks of any size into samples at the model's rate, always the same whatever the chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from emofuse.errors import MediaError, OptionError
from emofuse.recognition.timeline import BLOCK

__all__ = ["Recent", "StreamAudio"]

FloatArray = NDArray[np.float32]
LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # hertz


class StreamAudio:
    """Mixes, gathers blocks of 100 ms and resamples.

    The blocks do not depend on the chunks, and so nothing that follows does.

    Args:
        rate: hertz of the chunks.
        target: hertz wanted.

    Raises:
        OptionError: a rate that no audio has.
    """

    def __init__(self, rate: int, target: int) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise OptionError(f"rate {rate} Hz is not legal: {LOWEST_RATE} to {HIGHEST_RATE}")
        self._block = round(BLOCK * rate)
        self._rest: list[FloatArray] = []
        self._held = 0
        self._resampler: Any = None
        if rate != target:
            self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def feed(self, chunk: NDArray[Any]) -> list[FloatArray]:
        """Take a chunk; give the blocks that are full by now.

        Args:
            chunk: ``(samples,)`` or ``(samples, channels)``, float in [-1, 1] or 16-bit integer.

        Raises:
            MediaError: another shape or type, NaN or infinity.
        """
        mono = _mono(chunk)
        if len(mono):
            self._rest.append(mono)
            self._held += len(mono)
        if self._held < self._block:
            return []
        joined = np.concatenate(self._rest)
        count = len(joined) // self._block
        self._rest = [joined[count * self._block :]]
        self._held = len(self._rest[0])
        blocks = joined[: count * self._block].reshape(count, self._block)
        return [self._resample(block) for block in blocks]

    def finish(self) -> FloatArray:
        """Give what is left."""
        rest = np.concatenate(self._rest) if self._rest else np.zeros(0, np.float32)
        self._rest, self._held = [], 0
        return self._resample(rest, last=True)

    def _resample(self, block: FloatArray, *, last: bool = False) -> FloatArray:
        if self._resampler is None:
            return block
        return np.asarray(self._resampler.resample_chunk(block, last=last), np.float32)


class Recent:
    """The samples that are still needed, known by their place in the stream."""

    def __init__(self) -> None:
        self._parts = np.zeros(0, np.float32)
        self._first = 0

    @property
    def end(self) -> int:
        """Place after the last sample."""
        return self._first + len(self._parts)

    def add(self, samples: FloatArray) -> None:
        """Take the next samples."""
        self._parts = np.concatenate([self._parts, samples])

    def slice(self, start: int, end: int) -> FloatArray:
        """Give a copy of the samples from ``start`` up to ``end``."""
        return self._parts[max(start - self._first, 0) : end - self._first].copy()

    def forget(self, before: int) -> None:
        """Let go of the samples before a place."""
        drop = min(before - self._first, len(self._parts))
        if drop > 0:
            self._parts = self._parts[drop:].copy()
            self._first += drop


def _mono(chunk: NDArray[Any]) -> FloatArray:
    samples = np.asarray(chunk)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fi":
        raise MediaError(
            f"a chunk of shape {samples.shape}, type {samples.dtype} is no audio; give (samples,) "
            "or (samples, channels), float or 16-bit integer"
        )
    if samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise MediaError("the chunk holds NaN or infinity")
    if samples.ndim == 1:
        return samples.copy()
    return samples[:, 0].copy() if samples.shape[1] == 1 else samples.mean(axis=1)
