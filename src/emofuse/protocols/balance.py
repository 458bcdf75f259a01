"""Share groups out so that every part gets its share of every class; every draw from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from emofuse.manifest import Utterance

__all__ = ["choose_groups", "class_counts", "deal", "spread"]

Counts = NDArray[np.float64]
MAX_TRIALS = 256
TRIAL_CELLS = 400_000  # group x trial cells looked at in one search


def class_counts(groups: Iterable[Sequence[Utterance]]) -> Counts:
    """Count classes: ``(groups, classes)``; classes in alphabetical order, no emotion last."""
    listed = list(groups)
    names = sorted({u.emotion or "\uffff" for group in listed for u in group})
    place = {name: column for column, name in enumerate(names)}
    counts = np.zeros((len(listed), len(names)))
    for row, group in enumerate(listed):
        for utterance in group:
            counts[row, place[utterance.emotion or "\uffff"]] += 1
    return counts


def spread(counts: Counts, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Give each group a fold so that folds are alike in classes and size.

    The largest groups go first, each to the fold where it adds least to the sum over classes of
    the squared shares. Every fold gets a group where there are ``k`` groups or more.

    Args:
        counts: ``(groups, classes)`` utterances.
        k: number of folds.
        rng: breaks ties between groups of one size.

    Returns:
        ``(groups,)`` fold of each group.
    """
    weights = 1.0 / np.maximum(counts.sum(axis=0), 1.0) ** 2
    sizes = counts.sum(axis=1)
    size_weight = 1.0 / max(sizes.sum(), 1.0) ** 2
    order = np.lexsort((rng.permutation(len(counts)), -sizes))
    folds = np.zeros((k, counts.shape[1]))
    filled = np.zeros(k)
    assigned = np.zeros(len(counts), dtype=np.intp)
    for group in order:
        cost = (folds * counts[group] * weights).sum(axis=1) + filled * sizes[group] * size_weight
        fold = int(np.lexsort((filled, cost))[0])
        folds[fold] += counts[group]
        filled[fold] += sizes[group]
        assigned[group] = fold
    return assigned


def deal(utterances: Sequence[Utterance], k: int, rng: np.random.Generator) -> list[list[str]]:
    """Deal single utterances into ``k`` hands, class by class, at random.

    Hands differ by at most one utterance, and by at most one utterance of each class.
    """
    by_class: dict[str, list[str]] = {}
    for utterance in sorted(utterances, key=lambda u: u.id):
        by_class.setdefault(utterance.emotion or "", []).append(utterance.id)
    hands: list[list[str]] = [[] for _ in range(k)]
    place = 0
    for name in sorted(by_class):
        ids = by_class[name]
        for item in rng.permutation(len(ids)):
            hands[place % k].append(ids[int(item)])
            place += 1
    return hands


def choose_groups(counts: Counts, share: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose the groups that make a part of about ``share``, at least one, never all.

    Random orders are tried; each is cut where the size is nearest to the share. The best choice
    leaves no class out on either side, is near to the share, and has the classes of the rest.

    Args:
        counts: ``(groups, classes)`` utterances, of two groups or more.
        share: wanted share of all utterances.
        rng: where the orders come from.

    Returns:
        Sorted row numbers of the chosen groups.
    """
    groups, total = len(counts), counts.sum(axis=0)
    trials = int(np.clip(TRIAL_CELLS // (groups * counts.shape[1]), 4, MAX_TRIALS))
    orders = np.stack([rng.permutation(groups) for _ in range(trials)])
    sizes = counts.sum(axis=1)[orders].cumsum(axis=1)[:, :-1]
    cuts = np.abs(sizes - share * total.sum()).argmin(axis=1)
    chosen = [order[: cut + 1] for order, cut in zip(orders, cuts, strict=True)]
    parts = np.stack([counts[rows].sum(axis=0) for rows in chosen])
    return np.sort(chosen[int(_badness(parts, total, share).argmin())])


def _badness(parts: Counts, total: Counts, share: float) -> NDArray[np.float64]:
    rest = total - parts
    have = total > 0
    missing = (parts[:, have] == 0).sum(axis=1) + 4.0 * (rest[:, have] == 0).sum(axis=1)
    off = np.abs(parts.sum(axis=1) / total.sum() - share)
    inside = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1.0)
    outside = rest / np.maximum(rest.sum(axis=1, keepdims=True), 1.0)
    unlike = np.abs(inside - outside).sum(axis=1) / 2
    return np.asarray(missing + 4.0 * off + unlike, dtype=np.float64)
