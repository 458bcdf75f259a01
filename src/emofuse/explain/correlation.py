"""How much audio and text of the same utterance have to do with one another.

Four measures of two sets of vectors, row by row of the same utterances: cosine and distance of
matched pairs against mismatched ones (where both have the same size), linear CKA (Kornblith et al.
2019) without bias (Song et al. 2012, equation 5), and the first canonical correlation on speakers
that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

__all__ = [
    "Estimate",
    "Kernels",
    "canonical",
    "cka",
    "held_out_cca",
    "jackknife",
    "pair_means",
    "permutation",
    "principal",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
RIDGE = 0.1
FOLDS = 5


@dataclass(frozen=True)
class Estimate:
    """A measure, its interval by speaker and what chance gives.

    Attributes:
        value: on all utterances.
        low, high: 95 %; None where there are fewer than three clusters.
        chance: 95 % quantile over permuted pairings.
        p: share of permuted pairings that reach the value, the own one counted.
    """

    value: float
    low: float | None
    high: float | None
    chance: float
    p: float

    def words(self) -> str:
        """Write value and interval."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (no interval)"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def cka(x: Floats, y: Floats) -> float:
    """Give linear CKA without bias: 0 on average for unrelated rows, 1 for rotated and scaled ones.

    Args:
        x: ``(items, dim)`` with four items or more.
        y: the same items; sizes may differ.
    """
    return _cka_of(_gram(x), _gram(y))


def _gram(x: Floats) -> Floats:
    centred = x - x.mean(axis=0)
    found: Floats = centred @ centred.T
    np.fill_diagonal(found, 0.0)
    return found


def _cka_of(k: Floats, m: Floats) -> float:
    own = _hsic(k, k) * _hsic(m, m)
    return float(_hsic(k, m) / np.sqrt(own)) if own > 0 else 0.0


class Kernels:
    """CKA of two sets of rows, of parts of them and of other pairings, with products taken once.

    The estimator takes row means off by itself, so a part needs no centring of its own.

    Args:
        x, y: ``(items, dim)``.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        self._k, self._m = _gram(x), _gram(y)

    def of_part(self, kept: NDArray[np.bool_]) -> float:
        """Give CKA of some rows."""
        part = np.ix_(kept, kept)
        return _cka_of(self._k[part], self._m[part])

    def paired(self, order: NDArray[np.int64]) -> float:
        """Give CKA with the rows of ``y`` in another order."""
        return _cka_of(self._k, self._m[np.ix_(order, order)])


def _hsic(k: Floats, m: Floats) -> float:
    """The unbiased estimator; both Gram matrices have a diagonal of zeros."""
    n = len(k)
    trace = float((k * m).sum())
    whole = float(k.sum() * m.sum()) / ((n - 1) * (n - 2))
    cross = 2.0 / (n - 2) * float(k.sum(axis=0) @ m.sum(axis=1))
    return (trace + whole - cross) / (n * (n - 3))


def principal(x: Floats, most: int) -> Floats:
    """Give the first principal components of ``(items, dim)``, by themselves, pairs unseen."""
    centred = x - x.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    kept = max(1, min(most, int((sizes > 1e-9 * max(float(sizes[0]), 1e-30)).sum())))
    found: Floats = left[:, :kept] * sizes[:kept]
    return found


def canonical(x: Floats, y: Floats, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """Find the two directions whose projections correlate most (Hotelling 1936), regularised.

    Args:
        x: ``(items, dim)``, centred.
        y: the same items, centred.
        ridge: share of the mean variance that is added to every variance.
    """
    first, second = _inverse_root(x, ridge), _inverse_root(y, ridge)
    left, _, right = np.linalg.svd(first @ (x.T @ y / len(x)) @ second)
    return first @ left[:, 0], second @ right[0]


def _inverse_root(x: Floats, ridge: float) -> Floats:
    covariance = x.T @ x / len(x)
    covariance += np.eye(len(covariance)) * max(
        ridge * np.trace(covariance) / len(covariance), 1e-12
    )
    values, vectors = np.linalg.eigh(covariance)
    found: Floats = (vectors / np.sqrt(values)) @ vectors.T
    return found


def held_out_cca(
    x: Floats,
    y: Floats,
    codes: Codes,
    *,
    ridge: float = RIDGE,
    folds: int = FOLDS,
    seed: int = 0,
) -> float:
    """Give the first canonical correlation on clusters left out of the fit, mean over folds.

    Args:
        x: ``(items, dim)``.
        y: the same items.
        codes: ``(items,)`` cluster numbers; a cluster is wholly in or out.
        ridge: see `canonical`.
        folds: at most so many.
        seed: of how clusters are dealt out.
    """
    clusters = np.unique(codes)
    order = np.random.default_rng(seed).permutation(clusters)
    found = []
    for part in np.array_split(order, min(folds, len(order))):
        out = np.isin(codes, part)
        if out.sum() < 3 or (~out).sum() < 3:
            continue
        means = x[~out].mean(axis=0), y[~out].mean(axis=0)
        a, b = canonical(x[~out] - means[0], y[~out] - means[1], ridge)
        one, two = (x[out] - means[0]) @ a, (y[out] - means[1]) @ b
        spread = one.std() * two.std()
        if spread > 1e-12:
            found.append(float(((one - one.mean()) * (two - two.mean())).mean() / spread))
    return float(np.mean(found)) if found else 0.0


def pair_means(table: Floats, texts: NDArray[np.str_]) -> tuple[Floats, Floats]:
    """Give each utterance's value with its own partner, and its mean with those of other words.

    Args:
        table: ``(items, items)``: row = audio, column = text.
        texts: ``(items,)``; a partner with the same words is no mismatched one.

    Returns:
        Matched and mismatched, ``(items,)``; NaN where all texts are the same.
    """
    other = texts[:, None] != texts[None, :]
    counts = other.sum(axis=1)
    sums = (table * other).sum(axis=1)
    means = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return np.diag(table).copy(), means


def jackknife(
    measure: Callable[[NDArray[np.bool_]], float], codes: Codes
) -> tuple[float | None, float | None]:
    """Give a 95 % interval by leaving out one cluster after the other, with Student's t.

    A bootstrap would draw an utterance twice, and two equal rows are related for no reason: CKA
    and canonical correlation would rise. Leaving out never does that.

    Args:
        measure: of the rows that are kept.
        codes: ``(items,)`` cluster numbers.
    """
    clusters = np.unique(codes)
    count = len(clusters)
    if count < 3:
        return None, None
    left = np.array([measure(codes != one) for one in clusters])
    whole = measure(np.ones(len(codes), dtype=bool))
    error = float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))
    reach = float(student.ppf(0.975, count - 1)) * error
    return whole - reach, whole + reach


def permutation(
    measure: Callable[[NDArray[np.int64]], float], items: int, draws: int, seed: int
) -> tuple[float, Floats]:
    """Give a measure's p-value and its values over permuted pairings.

    Args:
        measure: of an order of the second set's rows.
        items: how many rows.
        draws: how many permutations.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    own = measure(np.arange(items))
    drawn = np.array([measure(random.permutation(items)) for _ in range(draws)])
    return float((1 + (drawn >= own - 1e-12).sum()) / (1 + draws)), drawn
