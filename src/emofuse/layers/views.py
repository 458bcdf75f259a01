"""One vector into several tokens, so that attention over it has something to choose from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Views"]


class Views(nn.Module):
    """``K`` linear maps of one vector, and the way back: ``norm(mean of the tokens + vector)``.

    Args:
        width: size of the vector and of each token.
        count: how many tokens; with 1 an attention over them is as inert as over the vector.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Give ``(batch, count, width)`` of ``(batch, width)``."""
        return torch.stack([one(vectors) for one in self.maps], dim=1)

    def gather(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Give ``(batch, width)`` of the tokens, after whatever mixed them, and the vectors."""
        gathered: Tensor = self.norm(tokens.mean(dim=1) + vectors)
        return gathered
