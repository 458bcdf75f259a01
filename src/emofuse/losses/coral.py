"""CORAL: the covariances of two corpora's embeddings made equal (Sun & Saenko 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from emofuse.losses.alignment import Alignment
from emofuse.losses.embedding import wide

__all__ = ["CORAL", "coral", "covariance"]


def covariance(rows: Tensor) -> Tensor:
    """Sample covariance ``(dim, dim)`` (n - 1 below) of ``(n, dim)``, ``n`` at least 2."""
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / (len(rows) - 1)


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Give ``|C_s - C_t|_F^2 / (4 dim^2)``; 0 where a sample has fewer than two items.

    Args:
        source: ``(n, dim)``.
        target: ``(m, dim)``.

    >>> float(coral(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]])))
    9.0
    """
    if min(len(source), len(target)) < 2:
        return (source.sum() + target.sum()) * 0.0
    with torch.autocast(source.device.type, enabled=False):
        apart = covariance(wide(source)) - covariance(wide(target))
        return apart.square().sum() / (4.0 * source.shape[1] ** 2)


class CORAL(Alignment):
    """The distance of both corpora's covariances (see `coral`)."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the weighted distance; see `Alignment.forward`."""
        return self.strength * coral(source, target)
