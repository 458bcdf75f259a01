"""Sets of emotions that hold the right one with a chosen probability (split conformal prediction).

Sadinle, Lei and Wasserman, *Least Ambiguous Set-Valued Classifiers with Bounded Error Levels*
(JASA 2019): a class is in the set when its probability is at least ``1 - q``, with ``q`` a quantile
of ``1 - p(right)`` over items held out. The guarantee is for items like these: new speakers can be
harder than the speakers of dev, so coverage on held-out speakers is measured and shown.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.errors import OptionError, WorkError

__all__ = ["conformal_sets", "conformal_threshold", "set_coverage"]


def conformal_threshold(probabilities: ArrayLike, labels: ArrayLike, miss: float = 0.1) -> float:
    """Find the lowest probability that puts a class into the set.

    Args:
        probabilities: ``(items, classes)`` of held-out items.
        labels: ``(items,)`` class numbers.
        miss: share of items whose set may lack the right class, in (0, 1).

    Returns:
        A probability in [0, 1]; 0 (every class, always) where there are too few items for ``miss``.

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
    rank = math.ceil((len(right) + 1) * (1.0 - miss))
    if rank > len(right):
        return 0.0
    return float(np.sort(right)[::-1][rank - 1])


def conformal_sets(probabilities: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Say which classes are in each set, ``(items, classes)``; the likeliest one always is."""
    shares = np.asarray(probabilities, np.float64)
    found = shares >= threshold
    found[np.arange(len(shares)), shares.argmax(axis=1)] = True
    return np.asarray(found, np.bool_)


def set_coverage(sets: NDArray[np.bool_], labels: ArrayLike) -> tuple[float, float]:
    """Share of sets that hold the right class, and the average size of a set."""
    wanted = np.asarray(labels, np.int64)
    covered = sets[np.arange(len(sets)), wanted]
    return float(covered.mean()), float(sets.sum(axis=1).mean())
