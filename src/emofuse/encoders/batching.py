"""Items of like length side by side, so that little is padded."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["make_batches", "split_evenly"]


def make_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group items by length until the padded batch reaches a budget.

    Args:
        lengths: frames of each item.
        budget: frames of a batch, padding counted; a longer item is a batch of its own.

    Returns:
        Item numbers of each batch; every item occurs once.

    >>> make_batches([5, 90, 6, 7], budget=20)
    [[0, 2], [3], [1]]
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda p: lengths[p]):
        if batches and lengths[place] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def split_evenly(length: int, longest: int) -> list[tuple[int, int]]:
    """Cut ``length`` into the fewest equal parts of at most ``longest``.

    >>> split_evenly(10, 4)
    [(0, 4), (4, 7), (7, 10)]
    """
    parts = max(1, -(-length // longest))
    edges = [-(-length * part // parts) for part in range(parts + 1)]
    return [(edges[part], edges[part + 1]) for part in range(parts)]
