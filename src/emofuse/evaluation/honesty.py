"""Whether probabilities, sets and silences hold on test what they promised on dev.

Everything comes from predictions alone, over all folds and seeds at once; intervals draw speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.evaluation.abstention import risk_coverage
from emofuse.evaluation.calibration import (
    BINS,
    ReliabilityBin,
    brier_score,
    calibration_error,
    negative_log_likelihood,
    reliability,
)
from emofuse.evaluation.conformal import conformal_sets, set_coverage
from emofuse.evaluation.intervals import Floats, Interval, cluster_codes
from emofuse.evaluation.predictions import PROBABILITY, SILENCE, THRESHOLD, calibrated_of
from emofuse.evaluation.resampling import cluster_sums, sum_intervals

__all__ = ["Honesty", "Measured", "Quality", "Sets", "Silence", "gold_places", "honesty_of"]

RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Quality:
    """How well probabilities fit.

    Attributes:
        calibration_error: expected calibration error, 15 bins, in [0, 1].
        brier: Brier score, in [0, 2].
        likelihood: negative log-likelihood in nats.
        bins: the reliability diagram.
    """

    calibration_error: Measured
    brier: Measured
    likelihood: Measured
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Sets:
    """What sets of emotions hold.

    Attributes:
        coverage: share of sets that hold the right emotion.
        size: emotions in a set, on average.
        by_class: class -> coverage where it is the right one; None without such utterances.
        by_speaker: coverage of each speaker, lowest first; empty where speakers are unknown.
    """

    coverage: Measured
    size: Measured
    by_class: Mapping[str, float | None]
    by_speaker: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Silence:
    """What comes of leaving the unsure unanswered.

    Attributes:
        answered: share of utterances that is answered.
        risk: share of the answers that is wrong.
        area: average risk over the risk-coverage curve of calibrated confidence; 0 is best.
    """

    answered: Measured
    risk: Measured
    area: float


@dataclass(frozen=True)
class Honesty:
    """Probabilities as the model gave them and as calibrated, sets, silence.

    Attributes:
        raw: of the model's own probabilities.
        calibrated, sets, silence: None where some training held nothing out.
    """

    raw: Quality
    calibrated: Quality | None = None
    sets: Sets | None = None
    silence: Silence | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)


def honesty_of(
    frame: pd.DataFrame, classes: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Honesty:
    """Judge checked predictions (see `evaluation.predictions`).

    Args:
        frame: predictions.
        classes: class names in order.
        resamples: of each interval.
        seed: of the draws.
    """
    labels = gold_places(frame, classes)
    _, codes = cluster_codes(frame)

    def within(values: Floats, measure: Callable[[Floats], Floats]) -> list[Interval]:
        return sum_intervals(cluster_sums(codes, values), measure, resamples, seed)

    raw = frame[[PROBABILITY + name for name in classes]].to_numpy(np.float64)
    calibrated = calibrated_of(frame, classes)
    quality = _quality(raw, labels, within)
    if calibrated is None:
        return Honesty(quality)
    return Honesty(
        quality,
        _quality(calibrated, labels, within),
        _sets(frame, calibrated, labels, classes, within),
        _silence(frame, calibrated, labels, within),
    )


Within = Callable[[Floats, Callable[[Floats], Floats]], list[Interval]]


def gold_places(frame: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int64]:
    """Class number of every row's gold label, ``(rows,)``."""
    places = {name: place for place, name in enumerate(classes)}
    return np.asarray(frame["gold"].map(places), np.int64)


def _quality(shares: Floats, labels: NDArray[np.int64], within: Within) -> Quality:
    rows = np.arange(len(labels))
    confidence = shares.max(axis=1)
    right = (shares.argmax(axis=1) == labels).astype(np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.zeros((len(labels), BINS))
    gaps[rows, bins] = right - confidence
    target = np.zeros_like(shares)
    target[rows, labels] = 1.0
    distance = np.square(shares - target).sum(axis=1)
    surprise = -np.log(np.maximum(shares[rows, labels], np.finfo(np.float64).tiny))
    values = np.column_stack([np.ones(len(labels)), distance, surprise, gaps])

    def measure(sums: Floats) -> Floats:
        count = sums[:, :1]
        error = np.abs(sums[:, 3:]).sum(axis=1, keepdims=True)
        return np.hstack([error, sums[:, 1:3]]) / count

    error, brier, likelihood = within(values, measure)
    return Quality(
        Measured(calibration_error(shares, labels), error),
        Measured(brier_score(shares, labels), brier),
        Measured(negative_log_likelihood(shares, labels), likelihood),
        reliability(shares, labels),
    )


def _ratios(sums: Floats) -> Floats:
    """Columns 1, 2, ... over column 0; NaN where that is 0."""
    below = np.where(sums[:, :1] > 0, sums[:, :1], np.nan)
    return np.asarray(sums[:, 1:] / below)


def _sets(
    frame: pd.DataFrame,
    shares: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    within: Within,
) -> Sets:
    thresholds = frame[[THRESHOLD + name for name in classes]].to_numpy(np.float64)
    sets = conformal_sets(shares, thresholds)
    covered = sets[np.arange(len(labels)), labels]
    coverage, size = set_coverage(sets, labels)
    values = np.column_stack([np.ones(len(labels)), covered, sets.sum(axis=1)])
    coverage_interval, size_interval = within(values, _ratios)
    by_class = {
        name: float(covered[labels == place].mean()) if (labels == place).any() else None
        for place, name in enumerate(classes)
    }
    by_speaker: list[tuple[str, float]] = []
    if bool(frame["speaker"].notna().all()):
        told = frame.assign(covered=covered, corpus=frame["corpus"].fillna(""))
        means = told.groupby(["corpus", "speaker"], as_index=False)["covered"].mean()
        by_speaker = list(zip(means["speaker"], means["covered"].tolist(), strict=True))
    by_speaker.sort(key=lambda pair: (pair[1], pair[0]))
    return Sets(
        Measured(coverage, coverage_interval),
        Measured(size, size_interval),
        by_class,
        tuple(by_speaker),
    )


def _silence(
    frame: pd.DataFrame, shares: Floats, labels: NDArray[np.int64], within: Within
) -> Silence:
    spoken = shares.max(axis=1) >= frame[SILENCE].to_numpy(np.float64)
    wrong = spoken & (shares.argmax(axis=1) != labels)
    (answered,) = within(np.column_stack([np.ones(len(labels)), spoken]), _ratios)
    (risk,) = within(np.column_stack([spoken, wrong]).astype(np.float64), _ratios)
    share = float(spoken.mean())
    mistakes = float(wrong.sum() / spoken.sum()) if spoken.any() else 0.0
    return Silence(
        Measured(share, answered), Measured(mistakes, risk), risk_coverage(shares, labels).area
    )
