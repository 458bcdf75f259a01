"""A projection with a non-linear correction, as in CLIP-like models."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from emofuse.layers.dropout import Dropout

__all__ = ["ResidualProjection"]


class ResidualProjection(nn.Module):
    """``LayerNorm(e + Dropout(W2 GELU(e)))`` with ``e = W1 x``; neither map has a bias.

    Args:
        dim: size of the input.
        width: size of the result.
        dropout: share of the correction dropped in training.
    """

    def __init__(self, dim: int, width: int = 512, dropout: float = 0.5) -> None:
        super().__init__()
        self.first = nn.Linear(dim, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Project ``(..., dim)`` to ``(..., width)``."""
        first = self.first(values)
        projected: Tensor = self.norm(first + self.dropout(self.second(functional.gelu(first))))
        return projected
