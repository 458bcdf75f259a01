"""One modality of VGA-Fusion up to the cross-attention: project, mark, view, let it see itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emofuse.layers.attention_block import AttentionBlock
from emofuse.layers.dropout import Dropout
from emofuse.layers.pooling import masked_mean
from emofuse.layers.views import Views

__all__ = ["Stream", "VGAStream"]

SPREAD = 0.02  # of the modality's vector


class Stream(NamedTuple):
    """Tokens of one modality.

    Attributes:
        tokens: ``(batch, tokens, width)``.
        mask: ``(batch, tokens)`` bool.
        vector: ``(batch, width)``, what the tokens are views of, or None.
        weights: of the self-attention, ``(batch, heads, tokens, tokens)``.
    """

    tokens: Tensor
    mask: Tensor
    vector: Tensor | None
    weights: Tensor


class VGAStream(nn.Module):
    """``encoder(gelu(norm(W x + b)) + e)``, the encoder one post-norm Transformer layer.

    Args:
        dim: feature size.
        width: of the tokens.
        heads: of the self-attention.
        dropout: of every part.
        views: make so many tokens of the first frame; None = the frames are the tokens.
    """

    def __init__(self, dim: int, width: int, heads: int, dropout: float, views: int | None) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(dim, width), nn.LayerNorm(width), nn.GELU(), Dropout(dropout)
        )
        self.mark = nn.Parameter(torch.randn(width) * SPREAD)
        self.views = None if views is None else Views(width, views)
        self.encoder = AttentionBlock(width, heads, 4 * width, dropout, norm_first=False)

    def forward(self, values: Tensor, mask: Tensor) -> Stream:
        """Take in ``(batch, time, dim)`` and ``(batch, time)`` with a real frame in every row."""
        tokens, vector = self.project(values) + self.mark, None
        if self.views is not None:
            vector = tokens[:, 0]
            tokens = self.views(vector)
            mask = mask.new_ones(tokens.shape[:2])
        tokens, weights = self.encoder(tokens, mask)
        return Stream(tokens, mask, vector, weights)

    def gather(self, stream: Stream, tokens: Tensor) -> Tensor:
        """Give ``(batch, width)``: the mean of the tokens, or of the views and their vector."""
        if self.views is None or stream.vector is None:
            return masked_mean(tokens, stream.mask)
        return self.views.gather(tokens, stream.vector)
