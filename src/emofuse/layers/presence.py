"""What stands in the place of a modality that an utterance lacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.layers.branches import surely_all

__all__ = ["AbsentToken"]


class AbsentToken(nn.Module):
    """One learned frame in the place of a sequence that is not there.

    Used before the first layer that mixes frames, with modality dropout in training: the model then
    answers with any subset of its modalities, and says which it had.

    Args:
        dim: feature size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(dim) / dim**0.5)

    def forward(
        self, values: Tensor | None, mask: Tensor | None, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fill in.

        Args:
            values: ``(batch, time, dim)``, or None where the whole batch lacks the modality.
            mask: ``(batch, time)`` bool.
            size: number of items, for a batch that lacks the modality.

        Returns:
            ``(batch, time, dim)``, a mask with at least one True a row, and presence ``(batch,)``.
        """
        if values is None or mask is None:
            device = self.token.device
            there = torch.ones(size, 1, dtype=torch.bool, device=device)
            return self.token.expand(size, 1, -1), there, ~there[:, 0]
        present = mask.any(dim=1)
        if surely_all(present):
            return values, mask, present
        first = torch.zeros_like(mask)
        first[:, 0] = ~present
        return torch.where(first[..., None], self.token, values), mask | first, present
