"""eGeMAPS descriptors and log-mel cepstra in 425 figures (extra ``opensmile``).

226 figures describe the 25 descriptors of eGeMAPSv02, 100 frames a second. The first ten (loudness,
spectral balance and flux, four cepstra) are taken over loud frames: loudness at least one fifth of
its 95 % quantile. The other fifteen (pitch, jitter, shimmer, harmonics, formants) are taken over
voiced frames, where openSMILE finds a pitch. Fewer than four such frames: over all. The other 199
figures are `cepstral_statistics` of the bands of `logmel`.

openSMILE is free for research and private use only; `Provenance.licence` says so in every bundle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.cepstra import CEPSTRAL_FIGURES, cepstral_statistics
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.egemaps import DESCRIPTORS, EGeMAPS
from emofuse.encoders.logmel import LogMel
from emofuse.encoders.settings import refuse_options
from emofuse.media.audio import SAMPLE_RATE

__all__ = ["Acoustic", "descriptor_statistics"]

SPECTRAL = 10  # the descriptors that are taken over loud frames; the rest over voiced ones
LOUDNESS, PITCH = 0, 10
LOUD = 0.2  # share of the 95 % quantile of loudness
FEWEST = 4  # frames that statistics need
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DESCRIPTOR_FIGURES = DESCRIPTORS * (4 + len(QUANTILES)) + 1

Figures = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Acoustic(Encoder):
    """Statistics of eGeMAPS descriptors and log-mel cepstra: 425 figures, for research alone.

    Args:
        spec: no option counts; the statistics are the pooling.
        device: taken for the sake of the contract; the work is done by the processor.

    Raises:
        MissingExtraError: openSMILE is not installed.
    """

    modality = "audio"
    sample_rate = SAMPLE_RATE
    provenance = EGeMAPS.provenance
    dim = DESCRIPTOR_FIGURES + CEPSTRAL_FIGURES

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "pooling", "dim", "revision", "granularity")
        self.spec = spec
        self._bands = LogMel(EncoderSpec(name="logmel", granularity="frames"), device)
        self._smile = EGeMAPS(EncoderSpec(name="egemaps", granularity="frames"), device)
        self.revision = f"acoustic-1-{self._smile.revision}"

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(1, 425)`` array an item (see `Encoder.encode`)."""
        pairs = zip(self._smile.encode(items), self._bands.encode(items), strict=True)
        return [_join(descriptor_statistics(one), cepstral_statistics(two)) for one, two in pairs]


def descriptor_statistics(frames: FloatArray) -> Figures:
    """Describe eGeMAPS descriptors by 226 figures.

    Args:
        frames: ``(frames, 25)``, at least one frame.

    Returns:
        ``(226,)``: mean, standard deviation and the 5, 25, 50, 75 and 95 % quantiles of the loud
        frames' ten values, then of the voiced frames' fifteen; standard deviation and mean size of
        the step from frame to frame, in the same order; the mean step of the pitch.
    """
    values = frames.astype(np.float64)
    loud = _enough(values[:, LOUDNESS] >= LOUD * np.quantile(values[:, LOUDNESS], 0.95))
    voiced = _enough(values[:, PITCH] > 0)
    spectral, vocal = values[:, :SPECTRAL], values[:, SPECTRAL:]
    rises = _steps(vocal, voiced)
    parts = (
        _levels(spectral[loud]),
        _levels(vocal[voiced]),
        _sizes(_steps(spectral, loud)),
        _sizes(rises),
        rises.mean(axis=0)[:1],
    )
    return np.concatenate(parts)


def _join(*parts: Figures) -> FloatArray:
    return np.concatenate(parts).astype(np.float32)[None, :]


def _enough(mask: Mask) -> Mask:
    return mask if mask.sum() >= FEWEST else np.ones_like(mask)


def _steps(values: Figures, mask: Mask) -> Figures:
    """Steps between neighbours that are both meant; one step of zero where there are none."""
    found = np.diff(values, axis=0)[mask[1:] & mask[:-1]]
    return found if len(found) else np.zeros((1, values.shape[1]))


def _levels(values: Figures) -> Figures:
    quantiles = np.quantile(values, QUANTILES, axis=0)
    return np.concatenate([values.mean(axis=0), values.std(axis=0), quantiles.ravel()])


def _sizes(steps: Figures) -> Figures:
    return np.concatenate([steps.std(axis=0), np.abs(steps).mean(axis=0)])
