"""Foretell emotions from single words: naive Bayes, cross-validated, no weights, no grammar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["foretell"]


def foretell(
    texts: Sequence[str], labels: Sequence[int], folds: Sequence[int]
) -> NDArray[np.int64]:
    """Answer each text from the words of the other folds; every class weighs the same.

    Args:
        texts: words with blanks between.
        labels: class numbers, from 0.
        folds: fold of each text, from 0.

    Returns:
        ``(texts,)`` class numbers; the commonest class where no word is known.

    >>> foretell(["so good", "so bad", "good", "bad"], [0, 1, 0, 1], [0, 0, 1, 1]).tolist()
    [0, 1, 0, 1]
    """
    place: dict[str, int] = {}
    rows = [
        np.array([place.setdefault(word, len(place)) for word in sorted(set(text.split()))], int)
        for text in texts
    ]
    target, fold = np.asarray(labels), np.asarray(folds)
    shape = (int(fold.max()) + 1, len(place), int(target.max()) + 1)
    counts = np.zeros(shape)
    for row, label, number in zip(rows, target, fold, strict=True):
        counts[number, row, label] += 1
    seen = np.zeros((shape[0], shape[2]))
    np.add.at(seen, (fold, target), 1)
    answers = np.zeros(len(texts), dtype=np.int64)
    total, everyone = counts.sum(axis=0), seen.sum(axis=0)
    for number in range(shape[0]):
        learnt, many = total - counts[number], everyone - seen[number]
        weight = np.log((learnt + 0.5) / (many + 1.0))
        weight[learnt.sum(axis=1) == 0] = 0.0
        tie = 1e-9 * many  # of equal classes the commonest
        for item in np.flatnonzero(fold == number):
            answers[item] = int((weight[rows[item]].sum(axis=0) + tie).argmax())
    return answers
