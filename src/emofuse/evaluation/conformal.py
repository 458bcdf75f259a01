"""Sets of emotions that hold the right one with a chosen probability (split conformal prediction).

Sadinle, Lei and Wasserman, *Least Ambiguous Set-Valued Classifiers with Bounded Error Levels*
(JASA 2019): a class is in the set when its probability is at least ``1 - q``, with ``q`` a quantile
of ``1 - p(right)`` over items held out. Two promises are to be had:

* *by utterance*: for utterances like those held out. New speakers can be harder than the speakers
  of dev, so coverage on held-out speakers is measured and shown;
* *by speaker*: for an utterance of a new speaker, each speaker held out counting the same however
  much they say (Lee, Barber and Willett, *Distribution-free inference with hierarchical data*,
  2023). It needs ``1 / miss - 1`` speakers or more; with fewer every set holds every class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.errors import OptionError, WorkError

__all__ = ["class_thresholds", "conformal_sets", "conformal_threshold", "set_coverage"]

SLACK = 1e-12


def conformal_threshold(
    probabilities: ArrayLike,
    labels: ArrayLike,
    miss: float = 0.1,
    groups: ArrayLike | None = None,
) -> float:
    """Find the lowest probability that puts a class into the set.

    Args:
        probabilities: ``(items, classes)`` of held-out items.
        labels: ``(items,)`` class numbers.
        miss: share of items whose set may lack the right class, in (0, 1).
        groups: ``(items,)`` numbers of the speakers, for the promise by speaker; None = by
            utterance.

    Returns:
        A probability in [0, 1]; 0 (every class, always) where there are too few items, or
        speakers, for ``miss``.

    Raises:
        OptionError: ``miss`` is not between 0 and 1.
        WorkError: there are no items.
    """
    if not 0.0 < miss < 1.0:
        raise OptionError(f"miss = {miss} is not between 0 and 1")
    shares = np.asarray(probabilities, np.float64)
    if not len(shares):
        raise WorkError("conformal sets need held-out items")
    right = shares[np.arange(len(shares)), np.asarray(labels, np.int64)]
    names = np.arange(len(right)) if groups is None else np.asarray(groups)
    _, codes, sizes = np.unique(names, return_inverse=True, return_counts=True)
    weights = 1.0 / ((len(sizes) + 1) * sizes[codes])
    order = np.argsort(-right, kind="stable")
    enough = np.cumsum(weights[order]) >= 1.0 - miss - SLACK
    return float(right[order][int(enough.argmax())]) if enough.any() else 0.0


def class_thresholds(
    probabilities: ArrayLike,
    labels: ArrayLike,
    miss: float = 0.1,
    groups: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Find a threshold for each class from its own items: the promise then holds class by class.

    Returns:
        ``(classes,)``; 0 where a class has too few held-out items.
    """
    shares, wanted = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if not len(shares):
        raise WorkError("conformal sets need held-out items")
    names = None if groups is None else np.asarray(groups)
    found = np.zeros(shares.shape[1])
    for place in range(shares.shape[1]):
        mine = wanted == place
        if mine.any():
            who = None if names is None else names[mine]
            found[place] = conformal_threshold(shares[mine], wanted[mine], miss, who)
    return found


def conformal_sets(probabilities: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Say which classes are in each set, ``(items, classes)``; the likeliest one always is.

    Args:
        probabilities: ``(items, classes)``.
        threshold: one, one a class ``(classes,)``, or one an item and class.
    """
    shares = np.asarray(probabilities, np.float64)
    found = shares >= np.asarray(threshold, np.float64)
    found[np.arange(len(shares)), shares.argmax(axis=1)] = True
    return np.asarray(found, np.bool_)


def set_coverage(sets: NDArray[np.bool_], labels: ArrayLike) -> tuple[float, float]:
    """Share of sets that hold the right class, and the average size of a set."""
    wanted = np.asarray(labels, np.int64)
    covered = sets[np.arange(len(sets)), wanted]
    return float(covered.mean()), float(sets.sum(axis=1).mean())
