"""Nearest class prototype: the mean embedding of each class, and the distance to it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["class_means", "nearest_logits"]


def class_means(rows: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Average the rows of each class.

    Args:
        rows: ``(items, dim)``.
        labels: ``(items,)`` long.
        classes: how many there are.

    Returns:
        ``(classes, dim)``, zeros where a class has no item, and ``(classes,)`` bool: which have.

    >>> means, known = class_means(torch.tensor([[0.0], [2.0]]), torch.tensor([1, 1]), 2)
    >>> means.flatten().tolist(), known.tolist()
    ([0.0, 1.0], [False, True])
    """
    sums = torch.zeros(classes, rows.shape[1], dtype=rows.dtype, device=rows.device)
    sums.index_add_(0, labels, rows)
    counts = torch.bincount(labels, minlength=classes)
    return sums / counts.clamp_min(1)[:, None], counts > 0


def nearest_logits(
    rows: Tensor,
    prototypes: Tensor,
    known: Tensor,
    distance: str = "euclidean",
    temperature: float = 1.0,
) -> Tensor:
    """Turn distances to prototypes into logits (Snell et al. 2017).

    Args:
        rows: ``(items, dim)``.
        prototypes: ``(classes, dim)``.
        known: ``(classes,)`` bool; a class without a prototype gets minus infinity.
        distance: ``euclidean``: minus the squared distance; ``cosine``: the cosine.
        temperature: what they are divided by.

    Returns:
        ``(items, classes)``.
    """
    if distance == "cosine":
        found = normalize(rows, dim=1) @ normalize(prototypes, dim=1).T
    else:
        found = -(rows[:, None, :] - prototypes[None, :, :]).square().sum(dim=2)
    return (found / temperature).masked_fill(~known, float("-inf"))
