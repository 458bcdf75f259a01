"""One layer of a Transformer, for a sequence that looks at itself or at another."""

from __future__ import annotations

from torch import Tensor, nn

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.dropout import Dropout

__all__ = ["AttentionBlock"]


class AttentionBlock(nn.Module):
    """Attention and a feed-forward part with GELU, each with a residual and a layer norm.

    Args:
        width: size of the tokens.
        heads: heads of the attention.
        inner: size inside the feed-forward part.
        dropout: share dropped of attention weights, of each part's result, and inside.
        norm_first: norm before each part (``x + f(norm(x))``) or after it (``norm(x + f(x))``).
    """

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, norm_first: bool
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = MultiHeadAttention(width, heads=heads, dropout=dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = Dropout(dropout)
        self.feed = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), Dropout(dropout), nn.Linear(inner, width)
        )

    def forward(
        self, values: Tensor, mask: Tensor | None, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let ``values`` look at ``memory``, or at themselves.

        Args:
            values: ``(batch, n, width)``.
            mask: ``(batch, m)`` bool, True on what may be looked at.
            memory: ``(batch, m, width)``; None = ``values``.

        Returns:
            ``(batch, n, width)`` and the attention weights ``(batch, heads, n, m)``.
        """
        queries = self.norm1(values) if self.norm_first else values
        mixed, weights = self.attention(queries, queries if memory is None else memory, mask)
        if self.norm_first:
            values = values + self.drop(mixed)
            return values + self.drop(self.feed(self.norm2(values))), weights
        values = self.norm1(values + self.drop(mixed))
        return self.norm2(values + self.drop(self.feed(values))), weights
