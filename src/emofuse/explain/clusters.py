"""Means with intervals that draw whole speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.evaluation.intervals import draw_weights

__all__ = ["Mean", "mean_by_speaker", "speaker_codes"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Mean:
    """A mean and where it lies with 95 % confidence.

    Attributes:
        value: the mean over utterances.
        low, high: ends; None where there are fewer than two clusters.
        clusters: how many speakers (or utterances) were drawn from.
    """

    value: float
    low: float | None
    high: float | None
    clusters: int

    def words(self, digits: int = 3) -> str:
        """Write it as ``0.123 (0.1 to 0.2)``."""
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f} (no interval)"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def numbers(self) -> dict[str, float | int | None]:
        """Give it for JSON."""
        return {"mean": self.value, "low": self.low, "high": self.high, "clusters": self.clusters}


def speaker_codes(speakers: Sequence[object]) -> tuple[str, Codes]:
    """Number speakers; where one is unknown, every utterance stands alone.

    >>> speaker_codes(["b", "a", "b"])[1].tolist()
    [1, 0, 1]
    """
    if all(isinstance(one, str) and one for one in speakers):
        _, codes = np.unique(np.array(speakers, dtype=object).astype(str), return_inverse=True)
        return "speaker", codes.astype(np.int64)
    return "utterance", np.arange(len(speakers), dtype=np.int64)


def mean_by_speaker(
    values: Floats, codes: Codes, resamples: int = 2000, seed: int = 0
) -> list[Mean]:
    """Give the mean of each column with a 95 % percentile bootstrap over clusters.

    Args:
        values: ``(utterances,)`` or ``(utterances, columns)``.
        codes: ``(utterances,)`` cluster numbers from 0.
        resamples: draws.
        seed: of the draws.
    """
    table = values[:, None] if values.ndim == 1 else values
    count = int(codes.max()) + 1
    sums = np.zeros((count, table.shape[1]))
    np.add.at(sums, codes, table)
    sizes = np.bincount(codes, minlength=count).astype(np.float64)
    means = table.mean(axis=0)
    if count < 2:
        return [Mean(float(one), None, None, count) for one in means]
    drawn = np.concatenate(
        [
            (weights @ sums) / (weights @ sizes)[:, None]
            for weights in draw_weights(
                np.ones(count, np.int64), resamples, np.random.default_rng(seed)
            )
        ]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [
        Mean(float(one), float(a), float(b), count)
        for one, a, b in zip(means, low, high, strict=True)
    ]
