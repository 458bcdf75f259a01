"""Paired statistics of two systems on the same utterances, and correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emofuse.evaluation.intervals import Interval, draw_weights, unique_clusters
from emofuse.evaluation.metrics import METRICS

__all__ = ["clustered_mcnemar", "holm", "mcnemar", "paired_interval", "swap_test"]

Floats = NDArray[np.float64]
EXACT = 14
DRAWS = 2**EXACT - 1
SLACK = 1e-12
CHUNK = 4_000_000


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def swap_test(
    first: Floats, second: Floats, metric: str, draws: int = DRAWS, seed: int = 0
) -> tuple[float, bool, float]:
    """Test whether two systems differ, by swapping them within clusters.

    Args:
        first: ``(clusters, classes, classes)`` confusion counts of one system.
        second: the same of the other system, on the same utterances.
        metric: name of the metric.
        draws: random swaps, where there are too many to try all.
        seed: of the random swaps.

    Returns:
        two-sided p-value, whether every swap was tried, and the least p-value possible.
    """
    change = (second - first).reshape(len(first), -1)
    change = change[np.any(change != 0, axis=1)]  # swapping equal clusters changes nothing
    base_first, base_second = first.sum(axis=0), second.sum(axis=0)
    measure = METRICS[metric]
    observed = abs(float(measure(base_first) - measure(base_second)))
    exact = len(change) <= EXACT
    total = 2 ** len(change) if exact else draws
    hits = 0
    rng = np.random.default_rng(seed)
    block = max(1, CHUNK // max(1, len(change)))
    for start in range(0, total, block):
        count = min(block, total - start)
        if exact:
            bits = np.arange(start, start + count)[:, None] >> np.arange(len(change)) & 1
        else:
            bits = rng.integers(0, 2, (count, len(change)), dtype=np.int8)
        moved = (bits.astype(np.float64) @ change).reshape(count, *base_first.shape)
        found = np.abs(measure(base_first + moved) - measure(base_second - moved))
        hits += int(np.count_nonzero(found >= observed - SLACK))
    if exact:
        return hits / total, True, min(1.0, 2.0 / total)
    return (1 + hits) / (1 + total), False, 1.0 / (1 + total)


def paired_interval(
    first: Floats, second: Floats, metric: str, resamples: int, seed: int
) -> Interval:
    """Bootstrap the difference first minus second (95 %) by drawing clusters, the same for both.

    Args:
        first: ``(clusters, classes, classes)`` confusion counts of one system.
        second: the same of the other system, on the same utterances.
        metric: name of the metric.
        resamples: how many draws.
        seed: of the draws.
    """
    if len(first) < 2:
        return Interval(None, None)
    patterns, copies = unique_clusters(np.stack([first, second], axis=1))
    flat = patterns.reshape(len(patterns), -1)
    parts = []
    for weights in draw_weights(copies, resamples, np.random.default_rng(seed)):
        matrices = (weights.astype(np.float64) @ flat).reshape(-1, *patterns.shape[1:])
        values = METRICS[metric](matrices)
        parts.append(values[:, 0] - values[:, 1])
    low, high = np.quantile(np.concatenate(parts), [0.025, 0.975])
    return Interval(float(low), float(high))


def mcnemar(first: Floats, second: Floats) -> tuple[int, int, float]:
    """Test two systems by the utterances that just one of them gets right (McNemar 1947, exact).

    Utterances count as independent of each other, which those of one speaker are not: see
    `clustered_mcnemar`.

    Args:
        first: ``(utterances,)`` how often one system was right, 0 to 1; over one half counts as
            right.
        second: the same of the other system.

    Returns:
        utterances that the first alone, and the second alone, gets right; two-sided p-value.
    """
    from scipy.stats import binomtest

    one, two = first > 0.5, second > 0.5
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    differ = only_first + only_second
    p = float(binomtest(only_first, differ, 0.5).pvalue) if differ else 1.0
    return only_first, only_second, p


def clustered_mcnemar(first: Floats, second: Floats, codes: NDArray[np.int64]) -> float:
    """Test the same with utterances that come in clusters (Durkalski et al. 2003).

    With ``D`` the sum of first minus second over a cluster, ``(sum D)^2 / sum D^2`` is compared
    with chi-squared of one degree of freedom. Fractions (an average over seeds) are welcome. It
    leans on many clusters; with few the swap test is the one to believe.

    Args:
        first: ``(utterances,)`` how often one system was right, 0 to 1.
        second: the same of the other system.
        codes: ``(utterances,)`` number of the cluster.
    """
    from scipy.stats import chi2

    sums = np.bincount(codes, first - second)
    below = float((sums**2).sum())
    return float(chi2.sf(float(sums.sum()) ** 2 / below, 1)) if below > 0 else 1.0
