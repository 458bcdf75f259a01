"""Embeddings on a plane, and figures that do not depend on the plane."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MissingExtraError
from emofuse.explain.clusters import Mean, mean_by_speaker, speaker_codes

__all__ = ["Plane", "project", "silhouette"]

Floats = NDArray[np.float64]
MOST_POINTS = 2000


@dataclass(frozen=True, eq=False)
class Plane:
    """Points on a plane.

    Attributes:
        points: ``(items, 2)``.
        method: ``umap`` or ``tsne``.
        setting: its parameters, in words.
    """

    points: Floats
    method: str
    setting: str


def standardised(values: Floats) -> Floats:
    """Give every column of ``(items, dim)`` mean 0 and spread 1; constant columns become 0."""
    spread = values.std(axis=0)
    found: Floats = (values - values.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    return found


def project(values: Floats, method: Literal["auto", "umap", "tsne"], seed: int) -> Plane:
    """Lay standardised vectors out on a plane.

    Args:
        values: ``(items, dim)``, five items or more.
        method: ``auto`` takes UMAP where it is installed.
        seed: the same seed gives the same points.

    Raises:
        MissingExtraError: UMAP is asked for and not installed.
    """
    table = standardised(values)
    if method != "tsne":
        try:
            return _umap(table, seed)
        except ImportError as error:
            if method == "umap":
                raise MissingExtraError("umap-learn", "explain") from error
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(table) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(table)
    setting = f"t-SNE, perplexity {perplexity:g}, seed {seed}"
    return Plane(points.astype(np.float64), "tsne", setting)


def _umap(table: Floats, seed: int) -> Plane:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba and scikit-learn complain of each other's versions
        from umap import UMAP

        neighbours = min(15, len(table) - 1)
        layout = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
        points = layout.fit_transform(table)
    setting = f"UMAP, {neighbours} neighbours, seed {seed}"
    return Plane(np.asarray(points, np.float64), "umap", setting)


def silhouette(
    values: Floats, labels: Sequence[object], speakers: Sequence[object], resamples: int, seed: int
) -> Mean | None:
    """Give the mean silhouette of labels in the original space, with an interval by speaker.

    1 = tight and far apart, 0 = mixed, below 0 = nearer to another label's items.

    Args:
        values: ``(items, dim)``; columns are standardised first.
        labels: one an item.
        speakers: one an item, for the interval.
        resamples: draws.
        seed: of the draws.

    Returns:
        None where there is one label alone, or every item has its own.
    """
    from sklearn.metrics import silhouette_samples

    names = np.array([str(one) for one in labels])
    kinds = len(set(names.tolist()))
    if not 2 <= kinds < len(names):
        return None
    each = silhouette_samples(standardised(values), names).astype(np.float64)
    _, codes = speaker_codes(speakers)
    return mean_by_speaker(each, codes, resamples, seed)[0]
