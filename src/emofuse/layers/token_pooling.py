"""A sequence into a vector: its first token, or a statistic over its real ones."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from emofuse.layers.pooling import AttentionPooling, masked_max, masked_mean

__all__ = ["TokenPooling", "TokenPoolingKind"]

TokenPoolingKind = Literal["cls", "mean", "max", "min", "attention"]


class TokenPooling(nn.Module):
    """One of ``cls`` (the first token), ``mean``, ``max``, ``min`` and ``attention``.

    Args:
        kind: how to pool.
        dim: feature size.
    """

    def __init__(self, kind: TokenPoolingKind, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.attention = AttentionPooling(dim) if kind == "attention" else None

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Pool ``(batch, time, dim)`` to ``(batch, dim)``.

        Args:
            values: ``(batch, time, dim)``.
            mask: ``(batch, time)`` bool; None = every token counts.
        """
        if self.kind == "cls":
            return values[:, 0]
        if mask is None:
            mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        if self.attention is not None:
            pooled: Tensor = self.attention(values, mask)[0]
            return pooled
        if self.kind == "min":
            return -masked_max(-values, mask)
        return masked_max(values, mask) if self.kind == "max" else masked_mean(values, mask)
