"""A Transformer over patches of a spectrogram."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from emofuse.layers.attention_block import AttentionBlock
from emofuse.layers.dropout import Dropout
from emofuse.layers.patches import Positions, cut_patches

__all__ = ["PatchTransformer"]


class PatchTransformer(nn.Module):
    """A class token and the patches of a clip through pre-norm layers of self-attention.

    Args:
        bands: bands of the spectrogram.
        frames: most frames of a clip.
        patch: frames, and bands (None = all), of a patch.
        positions: how a token knows its place.
        dropout: everywhere.
        width, heads, depth: size of a token, heads and layers.
    """

    def __init__(
        self,
        bands: int,
        frames: int,
        patch: tuple[int, int | None],
        positions: Literal["learned", "sinusoid"],
        dropout: float,
        *,
        width: int = 128,
        heads: int = 4,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.patch = patch
        rows = 1 if patch[1] is None else bands // patch[1]
        self.most = max(1, frames // patch[0]) * rows
        self.project = nn.Linear(patch[0] * (patch[1] or bands), width)
        self.token = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = Positions(positions, 1 + -(-frames // patch[0]) * rows, width)
        self.drop = Dropout(dropout)
        self.layers = nn.ModuleList(
            AttentionBlock(width, heads, 4 * width, dropout, norm_first=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.dim = width

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Turn ``(batch, time, bands)`` and ``(batch, time)`` into vectors.

        Returns:
            ``(batch, width)``, and how the class token looks at the patches in the last layer,
            ``(batch, heads, 1, patches)``.
        """
        patches, real = cut_patches(values, mask, *self.patch)
        patches, real = patches[:, : self.most], real[:, : self.most]
        tokens = self.project(patches)
        first = self.token.expand(len(tokens), 1, -1).to(tokens.dtype)
        tokens = self.drop(self.positions(torch.cat([first, tokens], dim=1)))
        real = nn.functional.pad(real, (1, 0), value=True)
        weights = tokens
        for layer in self.layers:
            tokens, weights = layer(tokens, real)
        vector: Tensor = self.norm(tokens[:, 0])
        return vector, weights[:, :, :1, 1:]
