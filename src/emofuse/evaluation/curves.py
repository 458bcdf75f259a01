"""One class against the rest: ROC and its area, precision against recall and average precision.

* AUC: the probability that an utterance of the class gets a higher probability than another one,
  ties counted half (Mann and Whitney). Undefined where a class is absent, or is all there is.
* AP, average precision: sum over distinct probabilities of the step in recall times the precision
  there; no interpolation (as scikit-learn does).

Each seed is scored from all its folds at once and the scores are averaged over seeds; intervals
draw speakers. Probabilities of different folds are compared with one another, so that a fold whose
model is surer than another's lowers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.evaluation.honesty import Measured, gold_places
from emofuse.evaluation.intervals import Floats, Interval, cluster_codes, draw_weights
from emofuse.evaluation.metrics import mean_defined
from emofuse.evaluation.predictions import PROBABILITY
from emofuse.evaluation.resampling import percentile

__all__ = ["ClassCurve", "Discrimination", "discrimination_of", "weighted_areas"]

RESAMPLES = 1000
POINTS = 101
CELLS = 4_000_000


@dataclass(frozen=True)
class ClassCurve:
    """How well one class is told from the rest.

    Attributes:
        name: of the class; ``mean`` for the mean over classes present.
        auc, ap: area under ROC, and average precision; None where undefined.
        share: share of the class in gold, the AP of guessing.
        roc: ``(false alarms, hits)`` at up to 101 thresholds, all seeds together.
        precision_recall: ``(recall, precision)`` at the same thresholds.
    """

    name: str
    auc: Measured | None
    ap: Measured | None
    share: float
    roc: tuple[tuple[float, float], ...] = ()
    precision_recall: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Discrimination:
    """Every class against the rest, and the mean over the classes present."""

    classes: tuple[ClassCurve, ...]
    mean: ClassCurve

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)


def weighted_areas(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Give AUC and AP under many weightings of the same items.

    Args:
        scores: ``(items,)``.
        positive: ``(items,)`` whether each is of the class.
        weights: ``(draws, items)`` how often each item counts.

    Returns:
        ``(draws, 2)``: AUC and AP, NaN where undefined.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(weights[:, order] * positive[order], axis=1)[:, ends]
    alarms = np.cumsum(weights[:, order] * ~positive[order], axis=1)[:, ends]
    before_hits = np.hstack([np.zeros((len(weights), 1)), hits[:, :-1]])
    before_alarms = np.hstack([np.zeros((len(weights), 1)), alarms[:, :-1]])
    wanted, others = hits[:, -1], alarms[:, -1]
    area = ((alarms - before_alarms) * (hits + before_hits) / 2).sum(axis=1)
    precision = hits / np.maximum(hits + alarms, np.finfo(np.float64).tiny)
    average = ((hits - before_hits) * precision).sum(axis=1)
    found = np.full((len(weights), 2), np.nan)
    np.divide(area, wanted * others, out=found[:, 0], where=(wanted > 0) & (others > 0))
    np.divide(average, wanted, out=found[:, 1], where=wanted > 0)
    return found


def discrimination_of(
    frame: pd.DataFrame, classes: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Discrimination:
    """Score every class against the rest.

    Args:
        frame: checked predictions (see `evaluation.predictions`).
        classes: class names in order.
        resamples: of each interval.
        seed: of the draws.
    """
    labels = gold_places(frame, classes)
    shares = frame[[PROBABILITY + name for name in classes]].to_numpy(np.float64)
    _, codes = cluster_codes(frame)
    seeds, _ = pd.factorize(frame["seed"], sort=True)
    point = np.ones((1, int(codes.max()) + 1))
    found = _areas(shares, labels, (codes, seeds), point)[0]
    drawn = None
    if point.shape[1] > 1:
        rng = np.random.default_rng(seed)
        ones = np.ones(point.shape[1], np.int64)
        blocks = draw_weights(ones, resamples, rng)
        drawn = np.concatenate(
            [_areas(shares, labels, (codes, seeds), w.astype(np.float64)) for w in blocks]
        )
    rows = [
        ClassCurve(
            name,
            _measured(found, drawn, (place, 0)),
            _measured(found, drawn, (place, 1)),
            float((labels == place).mean()),
            *_points(shares[:, place], labels == place),
        )
        for place, name in enumerate(classes)
    ]
    last = len(classes)
    mean = ClassCurve(
        "mean", _measured(found, drawn, (last, 0)), _measured(found, drawn, (last, 1)), 1.0
    )
    return Discrimination(tuple(rows), mean)


def _areas(
    shares: Floats,
    labels: NDArray[np.int64],
    keys: tuple[NDArray[np.int64], NDArray[np.int64]],
    weights: Floats,
) -> Floats:
    """AUC and AP of every class and of their mean, averaged over seeds: ``(draws, k + 1, 2)``."""
    codes, seeds = keys
    block = max(1, CELLS // len(labels))
    parts: list[Floats] = []
    for first in range(0, len(weights), block):
        some = weights[first : first + block]
        by_seed = []
        for seed in range(int(seeds.max()) + 1):
            mine = seeds == seed
            chosen = some[:, codes[mine]]
            by_seed.append(
                np.stack(
                    [
                        weighted_areas(shares[mine, place], labels[mine] == place, chosen)
                        for place in range(shares.shape[1])
                    ],
                    axis=1,
                )
            )
        means = mean_defined(np.stack(by_seed, axis=-1))
        overall = mean_defined(np.moveaxis(means, 1, -1))[:, None]
        parts.append(np.concatenate([means, overall], axis=1))
    return np.concatenate(parts)


def _measured(found: Floats, drawn: Floats | None, place: tuple[int, int]) -> Measured | None:
    value = float(found[place])
    if np.isnan(value):
        return None
    if drawn is None:
        return Measured(value, Interval(None, None))
    return Measured(value, percentile(drawn[:, place[0], place[1]]))


Points = tuple[tuple[float, float], ...]


def _points(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Points, Points]:
    """ROC and precision-recall at up to 101 thresholds, from the strictest."""
    wanted, others = int(positive.sum()), int((~positive).sum())
    if not wanted or not others:
        return (), ()
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, POINTS).astype(int))]
    hits = np.cumsum(positive[order])[ends]
    recall, precision = hits / wanted, hits / (ends + 1)
    alarms = (ends + 1 - hits) / others
    roc = [(0.0, 0.0), *zip(alarms.tolist(), recall.tolist(), strict=True)]
    return tuple(roc), tuple(zip(recall.tolist(), precision.tolist(), strict=True))
