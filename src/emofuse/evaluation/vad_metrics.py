"""Valence, arousal and dominance: concordance, correlation and mean absolute error.

With ``x`` predicted and ``y`` what annotators said, moments over the number of utterances:

* CCC, concordance (Lin 1989): ``2 cov(x, y) / (var x + var y + (mean x - mean y)^2)``;
* Pearson: ``cov(x, y) / sqrt(var x var y)``;
* MAE: mean of ``|x - y|``, on the scale of the label scheme.

Each seed is scored from all its folds at once and the scores are averaged over seeds; intervals
draw speakers. A correlation is undefined where one side never varies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from emofuse.errors import WorkError
from emofuse.evaluation.honesty import Measured
from emofuse.evaluation.intervals import Floats, Interval, cluster_codes
from emofuse.evaluation.metrics import mean_defined
from emofuse.evaluation.predictions import DIMENSIONS, GOLD_VAD, VAD
from emofuse.evaluation.resampling import percentile, resample_sums

__all__ = ["Dimension", "Dimensions", "agreement", "dimensions_of"]

RESAMPLES = 2000
NAMES = ("ccc", "pearson", "mae")


@dataclass(frozen=True)
class Dimension:
    """How well one dimension is told.

    Attributes:
        utterances: different utterances whose value is known.
        ccc, pearson: in [-1, 1]; None where undefined.
        mae: on the scheme's scale.
    """

    utterances: int
    ccc: Measured | None
    pearson: Measured | None
    mae: Measured | None


@dataclass(frozen=True)
class Dimensions:
    """Every dimension that is both predicted and known."""

    dimensions: Mapping[str, Dimension]

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)["dimensions"] if self.dimensions else {}


def agreement(found: ArrayLike, wanted: ArrayLike) -> dict[str, float | None]:
    """Score numbers against numbers: ``ccc``, ``pearson``, ``mae``; None where undefined.

    >>> agreement([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    {'ccc': 1.0, 'pearson': 1.0, 'mae': 0.0}

    Raises:
        WorkError: different lengths, nothing at all, or a value that is not a number.
    """
    x, y = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise WorkError(f"agreement needs two lists of one length, got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise WorkError("agreement was given NaN or infinity")
    values = _measure(_moments(x, y, _centre(x, y)).sum(axis=0)[None])[0]
    return {n: None if np.isnan(v) else float(v) for n, v in zip(NAMES, values, strict=True)}


def _centre(x: Floats, y: Floats) -> float:
    """Where to put zero, so that squares lose no digits; the scores do not depend on it."""
    return float((x.mean() + y.mean()) / 2)


def _moments(x: Floats, y: Floats, centre: float) -> Floats:
    x, y = x - centre, y - centre
    return np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y, np.abs(x - y)])


def _measure(sums: Floats) -> Floats:
    """``(..., 7)`` sums of moments -> ``(..., 3)`` CCC, Pearson, MAE."""
    count = np.where(sums[..., 0] > 0, sums[..., 0], np.nan)
    x, y, xx, yy, xy, error = (sums[..., place] / count for place in range(1, 7))
    var_x, var_y = np.maximum(xx - x * x, 0.0), np.maximum(yy - y * y, 0.0)
    covariance = xy - x * y
    tiny = 1e-12 * (1.0 + np.abs(xx) + np.abs(yy))
    below = var_x + var_y + np.square(x - y)
    ccc = np.where(below > tiny, 2 * covariance / np.where(below > tiny, below, 1.0), np.nan)
    varies = (var_x > tiny) & (var_y > tiny)
    product = np.sqrt(np.where(varies, var_x * var_y, 1.0))
    pearson = np.where(varies, covariance / product, np.nan)
    return np.stack([ccc, pearson, error], axis=-1)


def dimensions_of(
    frame: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0
) -> Dimensions | None:
    """Score every dimension that predictions hold beside its gold value; None where none is."""
    found: dict[str, Dimension] = {}
    for name in DIMENSIONS:
        columns = [VAD + name, GOLD_VAD + name]
        if not set(columns) <= set(frame.columns):
            continue
        known = frame.dropna(subset=columns)
        if len(known):
            found[name] = _dimension(known, columns, resamples, seed)
    return Dimensions(found) if found else None


def _dimension(known: pd.DataFrame, columns: list[str], resamples: int, seed: int) -> Dimension:
    x, y = (known[name].to_numpy(np.float64) for name in columns)
    _, codes = cluster_codes(known)
    seeds, _ = pd.factorize(known["seed"], sort=True)
    moments = _moments(x, y, _centre(x, y))
    sums = np.zeros((int(codes.max()) + 1, int(seeds.max()) + 1, moments.shape[1]))
    np.add.at(sums, (codes, seeds), moments)

    def measure(flat: Floats) -> Floats:
        by_seed = _measure(flat.reshape(len(flat), *sums.shape[1:]))
        return mean_defined(np.moveaxis(by_seed, 1, -1))

    flat = sums.reshape(len(sums), -1)
    values = measure(flat.sum(axis=0)[None])[0]
    drawn = resample_sums(flat, measure, resamples, seed) if len(flat) > 1 else None
    results = [
        None
        if np.isnan(value)
        else Measured(
            float(value),
            Interval(None, None) if drawn is None else percentile(drawn[:, place]),
        )
        for place, value in enumerate(values)
    ]
    return Dimension(len(known.drop_duplicates(["corpus", "id"])), *results)
