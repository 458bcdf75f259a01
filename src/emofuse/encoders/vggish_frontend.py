"""The front end of VGGish: log-mel patches of 96 frames and 64 bands.

16 kHz; frames of 400 samples every 160, weighed by a periodic Hann window; magnitudes of a Fourier
transform of 512 points; 64 triangles between 125 and 7,500 Hz, straight on the HTK mel scale
``1127 ln(1 + f / 700)``; ``ln(mel + 0.01)`` (Hershey et al. 2017, section 3.1).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from emofuse.encoders.contract import FloatArray
from emofuse.encoders.vggish_network import BANDS, FRAMES

__all__ = ["SHORTEST", "mel_weights", "patches"]

WINDOW, HOP, N_FFT = 400, 160, 512
LOWEST, HIGHEST = 125.0, 7500.0  # hertz
OFFSET = 0.01
RATE = 16_000
CHUNK = 8192  # frames in one transform
SHORTEST = WINDOW + (FRAMES - 1) * HOP
"""Samples that one patch takes, 0.975 s."""


def _mel(hertz: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0))


@lru_cache(maxsize=1)
def mel_weights() -> torch.Tensor:
    """Weights ``(257, 64)`` float64 from magnitudes to bands; the bin of 0 Hz has none."""
    bins = _mel(np.arange(N_FFT // 2 + 1) * (RATE / N_FFT))[:, None]
    edges = np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    weights = np.maximum(weights, 0.0)
    weights[0] = 0.0
    return torch.from_numpy(weights)


def patches(waveform: FloatArray, *, released: bool = False, device: str = "cpu") -> FloatArray:
    """Cut a clip into log-mel patches.

    Args:
        waveform: ``(samples,)`` in [-1, 1], 16 kHz.
        released: as the released code does: what is left after the last whole patch is dropped,
            and a clip that fills no patch is filled up with 0, which is louder than silence
            (``ln 0.01 = -4.6``). Otherwise the last patch ends with the clip (and overlaps the one
            before), and a short clip is filled up with silence.
        device: where to compute.

    Returns:
        ``(patches, 96, 64)`` float32, at least one patch.
    """
    shortest = WINDOW if released else SHORTEST
    if len(waveform) < shortest:
        waveform = np.pad(waveform, (0, shortest - len(waveform)))
    energies = _log_mel(waveform, device)
    if len(energies) < FRAMES:
        energies = np.pad(energies, ((0, FRAMES - len(energies)), (0, 0)))
    whole = len(energies) // FRAMES
    cut = energies[: whole * FRAMES].reshape(whole, FRAMES, BANDS)
    if released or len(energies) == whole * FRAMES:
        return cut
    return np.concatenate([cut, energies[None, -FRAMES:]])


def _log_mel(waveform: FloatArray, device: str) -> FloatArray:
    framed = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64, device=device)
    weights = mel_weights().to(device)
    found = np.empty((len(framed), BANDS), np.float32)
    for start in range(0, len(framed), CHUNK):
        frames = torch.from_numpy(framed[start : start + CHUNK].astype(np.float64)).to(device)
        magnitudes = torch.fft.rfft(frames * window, n=N_FFT).abs()
        found[start : start + CHUNK] = torch.log(magnitudes @ weights + OFFSET).cpu().numpy()
    return found
