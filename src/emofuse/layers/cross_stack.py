"""A query sequence refined by looking, several times, at the same memory."""

from __future__ import annotations

from torch import Tensor, nn

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.dropout import Dropout

__all__ = ["CrossAttentionStack"]


class CrossAttentionStack(nn.Module):
    """Layers of ``q <- LayerNorm(q + Dropout(MHA(q, k, k)))``, all with the same memory ``k``.

    There is no feed-forward part. The attention is as wide as the query, rounded up to a multiple
    of ``heads``. Foal-Net (Li et al., Interspeech 2024), fusion network.

    Args:
        query_dim: size of the queries and of the result.
        memory_dim: size of the memory.
        layers: number of layers.
        heads: attention heads.
        dropout: share of each layer's update dropped in training.
    """

    def __init__(
        self, query_dim: int, memory_dim: int, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        width = -(-query_dim // heads) * heads
        self.attention = nn.ModuleList(
            MultiHeadAttention(query_dim, memory_dim, width=width, heads=heads, outputs=query_dim)
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(query_dim) for _ in range(layers))
        self.dropout = Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the queries.

        Args:
            queries: ``(batch, n, query_dim)``.
            memory: ``(batch, m, memory_dim)``.
            mask: ``(batch, m)`` bool, True on memory that may be looked at.

        Returns:
            ``(batch, n, query_dim)`` and the last layer's weights, ``(batch, heads, n, m)``.
        """
        weights = queries.new_zeros(())
        for attention, norm in zip(self.attention, self.norms, strict=True):
            update, weights = attention(queries, memory, mask)
            queries = norm(queries + self.dropout(update))
        return queries, weights
