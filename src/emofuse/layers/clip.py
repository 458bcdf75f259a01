"""Sequences of at most so many frames: a part of each longer one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["crop_frames", "fix_length"]


def crop_frames(
    values: Tensor, mask: Tensor, most: int, *, random: bool = False
) -> tuple[Tensor, Tensor]:
    """Keep at most ``most`` frames of each item: its middle, or a part drawn for each item.

    Args:
        values: ``(batch, time, dim)``; real frames come first.
        mask: ``(batch, time)`` bool.
        most: largest number of frames.
        random: draw where the part begins (torch's own generator of the processor).

    Returns:
        Values, zeros outside the mask, and mask, of ``min(time, most)`` frames.
    """
    if values.shape[1] > most:
        spare = (mask.sum(dim=1) - most).clamp_min(0)
        if random:
            draws = torch.rand(len(mask)).to(mask.device)
            starts = torch.minimum((draws * (spare + 1)).long(), spare)
        else:
            starts = spare // 2
        places = starts[:, None] + torch.arange(most, device=mask.device)
        mask = mask.gather(1, places)
        values = values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))
    return values.masked_fill(~mask[..., None], 0.0), mask


def fix_length(values: Tensor, frames: int) -> Tensor:
    """Pad ``(batch, time, dim)`` with zeros at its end, or cut it there, to ``frames``."""
    if values.shape[1] >= frames:
        return values[:, :frames]
    return torch.nn.functional.pad(values, (0, 0, 0, frames - values.shape[1]))
