"""Masks on a batch of spectrograms, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emofuse.augment.draw import Mask
from emofuse.augment.styles import MaskOptions

__all__ = ["draw_plan", "hide", "plan_of"]


def plan_of(masks: Sequence[Sequence[Mask]]) -> Tensor:
    """Write the masks of several items as one tensor.

    Args:
        masks: the masks of each item.

    Returns:
        ``(items, most, 4)``: axis (0 time, 1 band), size, place, and the largest share of a clip;
        rows of zeros fill up.
    """
    most = max((len(one) for one in masks), default=0)
    plan = torch.zeros(len(masks), most, 4)
    for item, found in enumerate(masks):
        for row, mask in enumerate(found):
            axis = float(mask.axis == "band")
            plan[item, row] = torch.tensor([axis, float(mask.size), mask.place, mask.share])
    return plan


def draw_plan(options: MaskOptions, items: int, generator: torch.Generator) -> Tensor:
    """Draw masks for so many items (see `plan_of`)."""
    parts: list[Tensor] = []
    for axis, count, widths, chance in (
        (0.0, options.times, options.frames, options.time_p),
        (1.0, options.band_masks, options.bands, options.band_p),
    ):
        hit = torch.rand(items, count, generator=generator) < chance
        size = torch.randint(widths[0], widths[1] + 1, (items, count), generator=generator)
        place = torch.rand(items, count, generator=generator)
        if axis and options.lowest:
            place = torch.zeros_like(place)
        size = torch.where(hit, size, 0).float()
        parts.append(
            torch.stack(
                [torch.full_like(place, axis), size, place, torch.full_like(place, options.share)],
                dim=2,
            )
        )
    return torch.cat(parts, dim=1)


def hide(values: Tensor, mask: Tensor, plan: Tensor, fill: Tensor) -> Tensor:
    """Put ``fill`` where the plan says.

    A time mask is cut at its share of the item's real frames, so that it reaches no padding; a
    mask of the bands covers real frames alone.

    Args:
        values: ``(batch, time, bands)``.
        mask: ``(batch, time)`` bool.
        plan: ``(batch, most, 4)``, see `plan_of`.
        fill: ``(bands,)``, what stands for nothing: the mean of the training frames.

    Returns:
        A new ``(batch, time, bands)``.
    """
    frames, bands = values.shape[1:]
    lengths = mask.sum(dim=1)[:, None]
    axis, size, place, share = plan.unbind(dim=2)
    by_time = axis == 0
    most = torch.where(by_time, (share * lengths).floor(), torch.full_like(size, bands))
    size = torch.minimum(size, most)
    room = torch.where(by_time, lengths - size, bands - size)
    start = (place * (room + 1)).floor().minimum(room).clamp_min(0)
    hidden = torch.zeros_like(values, dtype=torch.bool)
    for row in range(plan.shape[1]):
        low, high = start[:, row, None], (start + size)[:, row, None]
        time, band = (torch.arange(n, device=values.device) for n in (frames, bands))
        in_time = ((time >= low) & (time < high) & by_time[:, row, None])[:, :, None]
        in_band = ((band >= low) & (band < high) & ~by_time[:, row, None])[:, None, :]
        hidden |= in_time | in_band
    return torch.where(hidden & mask[..., None], fill, values)
