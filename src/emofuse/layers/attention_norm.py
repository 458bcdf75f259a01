"""Attention, a projection and a layer norm: the block of 3M-SER, 4M-SER and MemoCMT."""

from __future__ import annotations

from torch import Tensor, nn

from emofuse.layers.attention import MultiHeadAttention

__all__ = ["AttentionNorm"]


class AttentionNorm(nn.Module):
    """``LayerNorm(W a + b)`` with ``a`` what multi-head attention gives.

    Args:
        query_dim: size of the queries.
        width: size of the result.
        memory_dim: size of keys and values; as the queries unless told.
        heads: heads of the attention; they divide ``memory_dim``.
        dropout: share of attention weights dropped in training.
        residual: add what came in. ``inside`` adds the queries to the attention's result, before
            the projection (sizes of queries and memory agree); ``around`` adds them after it
            (sizes of queries and result agree).
    """

    def __init__(
        self,
        query_dim: int,
        width: int,
        memory_dim: int | None = None,
        *,
        heads: int = 8,
        dropout: float = 0.5,
        residual: str = "none",
    ) -> None:
        super().__init__()
        inner = query_dim if memory_dim is None else memory_dim
        self.residual = residual
        self.attention = MultiHeadAttention(
            query_dim, memory_dim, width=inner, heads=heads, dropout=dropout
        )
        self.linear = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, memory: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Let the queries look at the memory.

        Args:
            queries: ``(batch, n, query_dim)``.
            memory: ``(batch, m, memory_dim)``.
            mask: ``(batch, m)`` bool, True on what may be looked at; None = all of it.

        Returns:
            ``(batch, n, width)`` and the attention weights ``(batch, heads, n, m)``.
        """
        found, weights = self.attention(queries, memory, mask)
        if self.residual == "inside":
            found = found + queries
        found = self.linear(found)
        if self.residual == "around":
            found = found + queries
        return self.norm(found), weights
