"""Statistics of log-mel cepstra over the active frames of a clip.

The cepstrum is the orthonormal cosine transform (II) of the 64 log-mel bands of `logmel`, places 0
to 19. Frames within 35 dB of the loudest one are active; all figures are taken over them. Place 0
has no mean, so that a recording's level does not count.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import FloatArray

__all__ = ["CEPSTRAL_FIGURES", "cepstral_statistics", "slope"]

CEPSTRA = 20
ACTIVE_DECIBELS = 35.0
QUANTILES = (0.05, 0.2, 0.8, 0.95)
STEEP = (0.05, 0.95)  # quantiles of the slope
CEPSTRAL_FIGURES = CEPSTRA * (4 + len(QUANTILES) + len(STEEP)) - 1

Figures = NDArray[np.float64]
AnyFloat = TypeVar("AnyFloat", np.float32, np.float64)


def slope(values: NDArray[AnyFloat]) -> NDArray[AnyFloat]:
    """Least-squares slope over five frames, ``(frames, dim)`` to the same; ends are repeated.

    >>> slope(np.arange(7.0)[:, None])[2:5, 0].tolist()
    [1.0, 1.0, 1.0]
    """
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    steps = padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])
    return np.asarray(steps / 10, values.dtype)


def cepstral_statistics(bands: FloatArray) -> Figures:
    """Describe log-mel bands by 199 figures.

    Args:
        bands: ``(frames, 64)`` log energies, at least one frame.

    Returns:
        ``(199,)``: mean (without place 0), standard deviation, the 5, 20, 80 and 95 % quantiles
        about the mean, standard deviation of the slope and of its slope, the 5 and 95 % quantiles
        of the slope.
    """
    from scipy.fft import dct  # takes 15 MB; `slope` does without

    bands = bands.astype(np.float64)
    energy = np.logaddexp.reduce(bands, axis=1)
    active = energy >= energy.max() - ACTIVE_DECIBELS / 10 * np.log(10)
    cepstra = dct(bands, type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    first = slope(cepstra)
    second = slope(first)
    spoken = cepstra[active]
    mean = spoken.mean(axis=0)
    parts = (
        mean[1:],
        spoken.std(axis=0),
        np.quantile(spoken - mean, QUANTILES, axis=0).ravel(),
        first[active].std(axis=0),
        second[active].std(axis=0),
        np.quantile(first[active], STEEP, axis=0).ravel(),
    )
    return np.concatenate(parts)
