"""A sequence into a vector, by its mask."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from emofuse.layers.branches import surely_all

__all__ = [
    "AttentionPooling",
    "Pooling",
    "PoolingKind",
    "masked_max",
    "masked_mean",
    "zero_absent",
    "zero_padding",
]

PoolingKind = Literal["mean", "max", "attention"]


def zero_absent(vectors: Tensor, present: Tensor) -> Tensor:
    """Put zeros where an item is absent; where none is, give what was given, uncopied.

    Args:
        vectors: ``(batch, dim)``.
        present: ``(batch,)`` bool.
    """
    return vectors if surely_all(present) else vectors.masked_fill(~present[:, None], 0.0)


def zero_padding(values: Tensor, mask: Tensor) -> Tensor:
    """Put zeros into the padding; where there is none, give what was given, uncopied.

    Args:
        values: ``(batch, time, dim)``.
        mask: ``(batch, time)`` bool.
    """
    return values if surely_all(mask) else values.masked_fill(~mask[..., None], 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average the real frames.

    Args:
        values: ``(batch, time, dim)``; padding may hold any finite number.
        mask: ``(batch, time)`` bool.

    Returns:
        ``(batch, dim)``; zeros where an item has no real frame.
    """
    if values.shape[1] == 1:
        return zero_absent(values[:, 0], mask[:, 0])
    shares = mask.to(values.dtype) / mask.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.bmm(shares[:, None, :], values)[:, 0]


def masked_max(values: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value of each feature over the real frames (shapes as `masked_mean`)."""
    lowest = torch.finfo(values.dtype).min
    highest = values.masked_fill(~mask[..., None], lowest).amax(dim=1)
    return highest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


class AttentionPooling(nn.Module):
    """Average the real frames by weights that one learned vector gives them.

    Args:
        dim: feature size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool.

        Returns:
            ``(batch, dim)`` and the weights ``(batch, time)``, which sum to 1 over real frames;
            both are zeros where an item has none.
        """
        clean = zero_padding(values, mask)
        scores = self.score(clean).squeeze(-1)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=1).masked_fill(~mask, 0.0)
        return torch.einsum("bt,btd->bd", weights, clean), weights


class Pooling(nn.Module):
    """One of ``mean``, ``max`` and ``attention``; a sequence of one frame is that frame.

    Args:
        kind: how to pool.
        dim: feature size.
    """

    def __init__(self, kind: PoolingKind, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.attention = AttentionPooling(dim) if kind == "attention" else None

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pool ``(batch, time, dim)`` to ``(batch, dim)``, with attention weights if there are."""
        if self.attention is not None:
            pooled, weights = self.attention(values, mask)
            return pooled, weights
        if values.shape[1] == 1:
            return zero_absent(values[:, 0], mask[:, 0]), None
        pool = masked_max if self.kind == "max" else masked_mean
        return pool(values, mask), None
