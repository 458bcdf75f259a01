"""Metrics by formula, from confusion matrices: one matrix or thousands of resamples at once.

With ``K[g, p]`` the number of utterances of class ``g`` recognised as class ``p``:

* recall of class ``c``: ``K[c, c] / sum(K[c, :])``, undefined where gold lacks the class;
* F1 of class ``c``: ``2 K[c, c] / (sum(K[c, :]) + sum(K[:, c]))``, undefined where the class is
  neither in gold nor predicted;
* UA, unweighted average recall: mean of the defined recalls;
* WA, weighted average recall = accuracy: ``trace(K) / sum(K)``;
* WF1: mean of F1 weighted by the class's count in gold;
* MF1: mean of the defined F1 (a class that is predicted but not in gold counts 0; one that is in
  neither does not count), as scikit-learn does when it is given no label list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.errors import WorkError

__all__ = [
    "CLASS_METRICS",
    "METRICS",
    "METRIC_NAMES",
    "Scores",
    "confusion_matrix",
    "mean_defined",
    "scores",
    "scores_of",
]

Floats = NDArray[np.float64]


def recalls(confusion: Floats) -> Floats:
    """Recall of each class, ``(..., classes, classes)`` -> ``(..., classes)``; NaN = undefined."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def precisions(confusion: Floats) -> Floats:
    """Precision of each class, ``(..., classes)``; NaN where the class is never predicted."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-2))


def f1_scores(confusion: Floats) -> Floats:
    """F1 of each class, ``(..., classes)``; NaN where a class is in neither gold nor predicted."""
    both = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return _ratio(2.0 * np.diagonal(confusion, axis1=-2, axis2=-1), both)


def unweighted_average_recall(confusion: Floats) -> Floats:
    """UA of each matrix, ``(..., classes, classes)`` -> ``(...)``."""
    return mean_defined(recalls(confusion))


def accuracy(confusion: Floats) -> Floats:
    """WA of each matrix, ``(...)``."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def weighted_f1(confusion: Floats) -> Floats:
    """WF1 of each matrix, ``(...)``."""
    support = confusion.sum(axis=-1)
    f1 = np.nan_to_num(f1_scores(confusion), nan=0.0)
    return _ratio((f1 * support).sum(axis=-1), support.sum(axis=-1))


def macro_f1(confusion: Floats) -> Floats:
    """MF1 of each matrix, ``(...)``."""
    return mean_defined(f1_scores(confusion))


METRICS: Mapping[str, Callable[[Floats], Floats]] = {
    "ua": unweighted_average_recall,
    "wa": accuracy,
    "wf1": weighted_f1,
    "mf1": macro_f1,
}
"""Metric name -> function of confusion matrices ``(..., classes, classes)``."""

METRIC_NAMES: Mapping[str, str] = {
    "ua": "unweighted average recall",
    "wa": "accuracy (weighted average recall)",
    "wf1": "support-weighted F1",
    "mf1": "macro F1",
}
"""Metric name -> what it is, in words."""


CLASS_METRICS: Mapping[str, Callable[[Floats], Floats]] = {
    "recall": recalls,
    "precision": precisions,
    "f1": f1_scores,
}
"""Name -> function of confusion matrices that gives one value a class, ``(..., classes)``."""


@dataclass(frozen=True, eq=False)
class Scores:
    """How well predictions fit gold labels.

    Attributes:
        ua: unweighted average recall over the classes present in gold.
        wa: accuracy.
        wf1: F1 weighted by the counts in gold.
        mf1: mean F1 over the classes present in gold or predicted.
        recall, precision, f1: one value a class; None where it is undefined.
        confusion: ``(classes, classes)`` counts; rows are gold, columns predicted.
    """

    ua: float
    wa: float
    wf1: float
    mf1: float
    recall: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    confusion: NDArray[np.int64]

    @property
    def support(self) -> tuple[int, ...]:
        """Utterances of each class in gold."""
        return tuple(int(n) for n in self.confusion.sum(axis=1))

    @property
    def absent(self) -> tuple[int, ...]:
        """Index of every class that gold lacks; it has no recall and does not count in UA."""
        return tuple(place for place, count in enumerate(self.support) if count == 0)

    def __getitem__(self, metric: str) -> float:
        return float(METRICS[metric](self.confusion.astype(np.float64)))


def scores(gold: ArrayLike, predicted: ArrayLike, n_classes: int) -> Scores:
    """Score all predictions of a test set at once.

    Args:
        gold: ``(n,)`` class index of each utterance.
        predicted: ``(n,)`` class index recognised.
        n_classes: length of the fixed class list.

    Raises:
        WorkError: nothing to score, different lengths, or an index outside the class list.

    >>> found = scores([0, 0, 1, 1], [0, 1, 1, 1], n_classes=3)
    >>> found.ua, found.wa, found.recall, found.absent
    (0.75, 0.75, (0.5, 1.0, None), (2,))
    """
    return scores_of(confusion_matrix(gold, predicted, n_classes))


def scores_of(confusion: NDArray[np.int64]) -> Scores:
    """Score a confusion matrix of counts, ``(classes, classes)``, rows gold.

    Raises:
        WorkError: the matrix is empty.
    """
    if not confusion.sum():
        raise WorkError("there are no predictions to score")
    matrix = confusion.astype(np.float64)
    return Scores(
        **{name: float(metric(matrix)) for name, metric in METRICS.items()},
        recall=_defined(recalls(matrix)),
        precision=_defined(precisions(matrix)),
        f1=_defined(f1_scores(matrix)),
        confusion=confusion,
    )


def confusion_matrix(gold: ArrayLike, predicted: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Count ``(classes, classes)`` pairs of gold (rows) and predicted (columns) indices.

    Raises:
        WorkError: different lengths, or an index outside the class list.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], n_classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    rows, columns = _indices(gold, n_classes, "gold"), _indices(predicted, n_classes, "predicted")
    if len(rows) != len(columns):
        raise WorkError(f"{len(rows)} gold labels but {len(columns)} predictions")
    counts = np.bincount(rows * n_classes + columns, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def _indices(values: ArrayLike, n_classes: int, what: str) -> NDArray[np.int64]:
    found = np.asarray(values)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise WorkError(f"{what} must be a list of whole numbers, got {found.dtype} {found.shape}")
    outside = found[(found < 0) | (found >= n_classes)]
    if outside.size:
        raise WorkError(f"{what} holds class {outside[0]}; legal: 0 to {n_classes - 1}")
    return found.astype(np.int64)


def _ratio(above: Floats, below: Floats) -> Floats:
    result = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _defined(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)
