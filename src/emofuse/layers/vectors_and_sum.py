"""The fusion of SERVER (Tran et al., ICIIT 2023): two vectors side by side."""

from __future__ import annotations

import torch
from torch import nn

from emofuse.layers.joined import Joined, Masked

__all__ = ["VectorsAndSum"]


class VectorsAndSum(nn.Module):
    """A projected text vector beside the sum of the audio frames.

    Args:
        text_dim: size of text vectors; tokens are averaged first.
        width: what they are projected to.
    """

    def __init__(self, text_dim: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_dim, width)

    def forward(self, text: Masked, audio: Masked) -> Joined:
        """Fuse; audio frames outside the mask are zeros."""
        words, sound = self.text(text.mean()), audio.values.sum(dim=1)
        embeddings = {"text": words, "audio": sound}
        sizes = {name: one.norm(dim=1) for name, one in embeddings.items()}
        return Joined(torch.cat([words, sound], dim=1), embeddings, sizes, {})
