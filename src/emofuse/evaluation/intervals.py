"""Confidence intervals: a percentile bootstrap that draws whole speakers.

Utterances of one speaker resemble each other; drawing utterances one by one would make intervals
too narrow. So whole clusters are drawn, with replacement, as many as there are. A resample is a
sum of per-cluster confusion matrices, so thousands are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.errors import WorkError
from emofuse.evaluation.metrics import METRICS, mean_defined

__all__ = [
    "Clusters",
    "Interval",
    "Unit",
    "bootstrap",
    "cluster_codes",
    "cluster_counts",
    "draw_weights",
    "interval_notes",
]

Unit = Literal["speaker", "dialogue", "utterance"]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

RESAMPLES = 10_000
FEW = 10
CHUNK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """Where a metric lies with 95 % confidence (or another ``level``).

    Attributes:
        low, high: the ends; None where there is a single cluster, which says nothing of spread.
        level: the confidence.
    """

    low: float | None
    high: float | None
    level: float = 0.95


@dataclass(frozen=True, eq=False)
class Clusters:
    """Predictions summed up by what is drawn together.

    Attributes:
        unit: what a cluster is: a speaker, else a dialogue, else a single utterance.
        counts: ``(clusters, seeds, classes, classes)`` confusion counts, rows gold.
    """

    unit: Unit
    counts: Floats

    def __len__(self) -> int:
        return len(self.counts)


def cluster_codes(frame: pd.DataFrame) -> tuple[Unit, Counts]:
    """Number the cluster of every row: its speaker within its corpus, where all rows have one.

    Returns:
        what the clusters are, and ``(rows,)`` numbers from 0. Where any row lacks a speaker all
        rows go by dialogue, and where any lacks that, too, each utterance stands alone.
    """
    unit: Unit = "utterance"
    names: tuple[Unit, ...] = ("speaker", "dialogue")
    for name in names:
        if bool(frame[name].notna().all()):
            unit = name
            break
    column = "id" if unit == "utterance" else unit
    keys = pd.MultiIndex.from_arrays([frame["corpus"].fillna(""), frame[column]])
    codes, _ = pd.factorize(keys, sort=True)
    return unit, codes.astype(np.int64)


def cluster_counts(frame: pd.DataFrame, classes: Sequence[str]) -> Clusters:
    """Sum predictions up by cluster and seed.

    Args:
        frame: predictions (see `evaluation.predictions`).
        classes: class names in order.
    """
    unit, codes = cluster_codes(frame)
    places = {name: place for place, name in enumerate(classes)}
    gold, predicted = (frame[n].map(places).to_numpy(np.int64) for n in ("gold", "predicted"))
    seeds, _ = pd.factorize(frame["seed"], sort=True)
    shape = (int(codes.max()) + 1, int(seeds.max()) + 1, len(classes), len(classes))
    counts = np.zeros(shape)
    np.add.at(counts, (codes, seeds, gold, predicted), 1.0)
    return Clusters(unit, counts)


def bootstrap(
    clusters: Clusters,
    metrics: Sequence[str] = tuple(METRICS),
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Bootstrap the mean over seeds of each metric.

    Every seed is resampled with the same clusters, its metric taken from all its predictions, and
    the metrics averaged over seeds: the interval speaks of other speakers, not of other seeds.

    Args:
        clusters: the predictions.
        metrics: names in `evaluation.metrics.METRICS`.
        resamples: how many times to draw.
        seed: of the draws.
        level: confidence, between 0 and 1.

    Raises:
        WorkError: no resamples, or a level outside (0, 1).
    """
    if resamples < 1 or not 0.0 < level < 1.0:
        raise WorkError(f"bootstrap needs resamples >= 1 and a level in (0, 1), got {level}")
    if len(clusters) < 2:
        return {name: Interval(None, None, level) for name in metrics}
    drawn = resample_metrics(clusters.counts, metrics, resamples, seed)
    tail = (1.0 - level) / 2.0
    ends = {name: np.nanquantile(drawn[name], [tail, 1.0 - tail]) for name in metrics}
    return {name: Interval(float(low), float(high), level) for name, (low, high) in ends.items()}


def resample_metrics(
    counts: Floats, metrics: Sequence[str], resamples: int, seed: int
) -> dict[str, Floats]:
    """Give ``(resamples,)`` values of each metric, averaged over seeds.

    Args:
        counts: ``(clusters, seeds, classes, classes)``.
        metrics: names of metrics.
        resamples: how many draws.
        seed: of the draws.
    """
    patterns, copies = unique_clusters(counts)
    flat = patterns.reshape(len(patterns), -1)
    found: dict[str, list[Floats]] = {name: [] for name in metrics}
    for weights in draw_weights(copies, resamples, np.random.default_rng(seed)):
        matrices = (weights.astype(np.float64) @ flat).reshape(-1, *counts.shape[1:])
        for name in metrics:
            found[name].append(mean_defined(METRICS[name](matrices)))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def unique_clusters(counts: Floats) -> tuple[Floats, Counts]:
    """Merge equal clusters, each with its number of copies.

    Drawing a pattern with probability copies / clusters is the same experiment, and makes the
    bootstrap of thousands of single utterances cheap.
    """
    flat = counts.reshape(len(counts), -1)
    patterns, copies = np.unique(flat, axis=0, return_counts=True)
    return patterns.reshape(-1, *counts.shape[1:]), copies.astype(np.int64)


def draw_weights(copies: Counts, resamples: int, rng: np.random.Generator) -> Iterator[Counts]:
    """Draw how often each cluster occurs in each resample, in blocks ``(block, clusters)``.

    Args:
        copies: ``(clusters,)`` how many equal clusters each stands for.
        resamples: rows in all.
        rng: source of the draws.
    """
    total = int(copies.sum())
    shares = copies / total
    block = max(1, CHUNK // len(copies))
    for start in range(0, resamples, block):
        yield rng.multinomial(total, shares, size=min(block, resamples - start))


def interval_notes(unit: Unit, clusters: int) -> tuple[str, ...]:
    """Say what weakens an interval: too few clusters, or clusters that are no speakers.

    >>> interval_notes("speaker", 4)
    ('only 4 speakers: the interval is coarse and rather too narrow',)
    """
    notes = []
    if unit != "speaker":
        notes.append(f"speakers are not all known: intervals are drawn by {unit}, maybe too narrow")
    if clusters == 1:
        notes.append(f"one {unit} only: its spread is unknown, no interval is given")
    elif clusters < FEW:
        notes.append(f"only {clusters} {unit}s: the interval is coarse and rather too narrow")
    return tuple(notes)
