"""Modality dropout: in training, hide a modality now and then, never all of an item's."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["keep_drawn", "keep_modalities"]


def keep_modalities(present: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Draw which modalities of each item stay.

    Each present modality is hidden with probability ``rate``; an item that would lose all it has
    keeps one of them, each as likely as the other.

    Args:
        present: ``(batch, modalities)`` bool.
        rate: probability, in [0, 1].
        generator: source of the draws, on the CPU.

    Returns:
        ``(batch, modalities)`` bool, True only where ``present`` is.

    >>> both = torch.ones(1000, 2, dtype=torch.bool)
    >>> kept = keep_modalities(both, 0.5, torch.Generator().manual_seed(0))
    >>> bool(kept.any(dim=1).all()), bool(kept.all())
    (True, False)
    """
    draws = torch.rand((2, *present.shape), generator=generator).to(present.device)
    return keep_drawn(present, rate, draws)


def keep_drawn(present: Tensor, rate: float, draws: Tensor) -> Tensor:
    """Decide by draws which modalities stay (see `keep_modalities`).

    Args:
        present: ``(..., modalities)`` bool.
        rate: probability, in [0, 1].
        draws: ``(2, ..., modalities)`` in [0, 1): who is hidden, and who is kept in its place.
    """
    kept = present & (draws[0] >= rate)
    order = draws[1].masked_fill(~present, -1.0)
    saved = torch.zeros_like(present).scatter_(-1, order.argmax(dim=-1, keepdim=True), value=True)
    return torch.where(kept.any(dim=-1, keepdim=True), kept, saved & present)
