"""Intervals of anything that is a function of sums: the sums are taken by cluster, then resampled.

A mean, a calibration error, a correlation: each can be had from sums over utterances. A bootstrap
that draws whole speakers needs these sums once a speaker; a resample is a weighted sum of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.evaluation.intervals import Counts, Floats, Interval, draw_weights

__all__ = ["LEAST_DEFINED", "cluster_sums", "percentile", "resample_sums", "sum_intervals"]

LEAST_DEFINED = 0.5
"""An interval needs this share of its resamples to be defined; else there is none."""


def cluster_sums(codes: Counts, values: ArrayLike) -> Floats:
    """Sum rows by cluster: ``(rows, k)`` -> ``(clusters, k)``."""
    rows = np.asarray(values, np.float64)
    sums = np.zeros((int(codes.max()) + 1, rows.shape[1]))
    np.add.at(sums, codes, rows)
    return sums


def resample_sums(
    sums: Floats, measure: Callable[[Floats], Floats], resamples: int, seed: int
) -> Floats:
    """Draw clusters with replacement and measure each draw.

    Args:
        sums: ``(clusters, k)``.
        measure: ``(draws, k)`` sums -> ``(draws, ...)`` values, NaN where undefined.
        resamples: how many draws.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    ones = np.ones(len(sums), np.int64)
    parts = [measure(w.astype(np.float64) @ sums) for w in draw_weights(ones, resamples, rng)]
    return np.concatenate(parts)


def percentile(drawn: Floats, level: float = 0.95) -> Interval:
    """Take the middle ``level`` of drawn values; no interval where too few are defined."""
    known: NDArray[np.float64] = drawn[~np.isnan(drawn)]
    if not len(known) or len(known) < LEAST_DEFINED * len(drawn):
        return Interval(None, None, level)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return Interval(float(low), float(high), level)


def sum_intervals(
    sums: Floats, measure: Callable[[Floats], Floats], resamples: int, seed: int = 0
) -> list[Interval]:
    """Give an interval for each of the values that ``measure`` makes of sums.

    Args:
        sums: ``(clusters, k)``; a single cluster says nothing of spread and gets no interval.
        measure: ``(draws, k)`` -> ``(draws, m)``.
        resamples: how many draws.
        seed: of the draws.
    """
    width = measure(sums.sum(axis=0, keepdims=True)).shape[1]
    if len(sums) < 2:
        return [Interval(None, None)] * width
    drawn = resample_sums(sums, measure, resamples, seed)
    return [percentile(drawn[:, place]) for place in range(width)]
