"""Tell whether two recordings are one: the same samples, or the same sound stored another way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.media.audio import SAMPLE_RATE, decode, to_mono

__all__ = ["Fingerprint", "fingerprint", "near_pairs", "sample_hash", "sound_shape"]

FloatArray = NDArray[np.float32]
WINDOW, HOP = 400, 160  # samples at 16 kHz: 25 ms, 10 ms
BLOCK = 4096  # frames in memory at once
BANDS, SLOTS = 16, 48
LOW, HIGH = 150.0, 3400.0  # hertz: what 8 kHz copies and codecs leave alone
FLOOR = 1e-3  # of the loudest cell: noise that a codec adds lies below (-60 dB)
ALIKE = 0.99
LENGTH_TOLERANCE = (0.12, 0.03)  # seconds, share: encoders pad


@dataclass(frozen=True)
class Fingerprint:
    """What a recording is recognised by.

    Attributes:
        digest: hash of the decoded samples; equal only where every sample is.
        seconds: length.
        shape: ``(768,)`` float32 of norm 1: how the energy of 16 bands moves over 48 equal
            stretches of time, without level; zeros where there is nothing to recognise.
    """

    digest: str
    seconds: float
    shape: FloatArray


def sample_hash(samples: FloatArray) -> str:
    """Hash decoded samples ``(samples, channels)``; the container does not count."""
    return hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()


def fingerprint(path: Path, start: float | None = None, end: float | None = None) -> Fingerprint:
    """Take the fingerprint of a file, or of a slice of it.

    Raises:
        MediaError: the file cannot be read.
    """
    samples, rate = decode(path, start, end)
    shape = sound_shape(np.nan_to_num(to_mono(samples, rate, SAMPLE_RATE)))
    return Fingerprint(sample_hash(samples), samples.shape[0] / rate, shape)


def sound_shape(mono: FloatArray) -> FloatArray:
    """Draw how the energy of a sound moves over time and bands.

    Args:
        mono: ``(samples,)`` finite, at 16 kHz.

    Returns:
        ``(768,)`` of norm 1, the same at any level; zeros for silence and for less than 35 ms.
    """
    blank: FloatArray = np.zeros(BANDS * SLOTS, np.float32)
    if mono.size < WINDOW + HOP:
        return blank
    bands = _band_energy(mono)
    slots = np.linspace(0, len(bands), SLOTS + 1)
    sums = np.vstack([np.zeros((1, BANDS)), bands.cumsum(axis=0)])
    cells = np.stack([np.interp(slots, np.arange(len(sums)), column) for column in sums.T])
    energy = np.diff(cells, axis=1)
    if not 0.0 < energy.max() < np.inf:
        return blank
    logs = np.log(energy.clip(0.0) / energy.max() + FLOOR)
    logs -= logs.mean()
    norm = float(np.linalg.norm(logs))
    return (logs.ravel() / norm).astype(np.float32) if norm > 1e-6 else blank


def _band_energy(mono: FloatArray) -> NDArray[np.float64]:
    """Energy of each band in each frame, ``(frames, bands)``."""
    edges = np.round(np.geomspace(LOW, HIGH, BANDS + 1) * WINDOW / SAMPLE_RATE).astype(int)
    edges = np.maximum(edges, edges[0] + np.arange(BANDS + 1))
    taper = np.hanning(WINDOW).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP]
    blocks = []
    for first in range(0, len(frames), BLOCK):
        spectrum = np.fft.rfft(frames[first : first + BLOCK] * taper, axis=1)[:, : edges[-1]]
        power = spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2
        blocks.append(np.add.reduceat(power, edges[:-1], axis=1))
    return np.concatenate(blocks)


def near_pairs(prints: Sequence[Fingerprint], alike: float = ALIKE) -> list[tuple[int, int]]:
    """Find recordings that are one sound: alike in length and in shape, or equal in samples.

    Args:
        prints: fingerprints.
        alike: least cosine between two shapes.

    Returns:
        Pairs of places ``(i, j)``, ``i < j``.
    """
    order = sorted(range(len(prints)), key=lambda place: prints[place].seconds)
    lengths = np.array([prints[place].seconds for place in order])
    shapes = (
        np.stack([prints[place].shape for place in order])
        if order
        else np.zeros((0, BANDS * SLOTS), np.float32)
    )
    seconds, share = LENGTH_TOLERANCE
    reach = np.searchsorted(lengths, lengths + np.maximum(seconds, share * lengths), side="right")
    found: set[tuple[int, int]] = set()
    block = 256
    for first in range(0, len(order), block):
        last = min(first + block, len(order))
        end = int(reach[last - 1])
        rows, columns = np.nonzero(shapes[first:last] @ shapes[first:end].T >= alike)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column < reach[first + row] - first:
                a, b = order[first + row], order[first + column]
                found.add((min(a, b), max(a, b)))
    first_with: dict[str, int] = {}
    for place, one in enumerate(prints):
        twin = first_with.setdefault(one.digest, place)
        if twin != place:
            found.add((twin, place))
    return sorted(found)
