"""The training items of all fits of a stack, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from emofuse.layers.modality_dropout import keep_drawn
from emofuse.losses.contract import Targets
from emofuse.training.stacking.tensors import NotStackable
from emofuse.training.steppers import Work

__all__ = ["StackedItems", "named_targets", "one_row"]


class StackedItems:
    """The training items of all fits in one matrix a modality; fits of one fold share theirs."""

    def __init__(self, works: Sequence[Work]) -> None:
        feeders: dict[int, tuple[int, Work]] = {}
        start = 0
        for work in works:
            if id(work.feeder) not in feeders:
                feeders[id(work.feeder)] = (start, work)
                start += len(work.feeder)
        distinct = [work for _, work in feeders.values()]
        self._starts = [feeders[id(work.feeder)][0] for work in works]
        dense = [work.feeder.dense for work in distinct]
        held = [one for one in dense if one is not None]
        if len(held) < len(dense):
            raise NotStackable("its features are sequences of frames")
        self._values = {n: torch.cat([one[n].values for one in held]) for n in held[0]}
        self._masks = {n: torch.cat([one[n].mask for one in held]) for n in held[0]}
        parts = [named_targets(work.targets) for work in distinct]
        self._targets = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self._hidden = works[0].hidden_share

    def batch(
        self,
        places: Sequence[int],
        items: Sequence[Tensor],
        hiding: Sequence[torch.Generator] | None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Give ``(fits, items, ...)`` values, masks and targets; hide modalities on request."""
        starts = [self._starts[place] for place in places]
        rows = torch.stack([one + start for one, start in zip(items, starts, strict=True)])
        values = {name: part[rows] for name, part in self._values.items()}
        masks = {name: part[rows] for name, part in self._masks.items()}
        if hiding is not None and self._hidden and len(masks) > 1:
            present = torch.stack([part.any(dim=2) for part in masks.values()], dim=2)
            draws = [torch.rand((2, *present.shape[1:]), generator=one) for one in hiding]
            drawn = torch.stack(draws, dim=1).to(present.device)
            kept = keep_drawn(present, self._hidden, drawn)
            masks = {n: m & kept[:, :, i, None] for i, (n, m) in enumerate(masks.items())}
        return values, masks, {name: part[rows] for name, part in self._targets.items()}


def named_targets(targets: Targets) -> dict[str, Tensor]:
    """Give the targets that there are, by name."""
    found = {"labels": targets.labels, "soft": targets.soft, "vad": targets.vad}
    return {name: part for name, part in found.items() if part is not None}


def one_row(part: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Give a row of every tensor."""
    return {name: one[row] for name, one in part.items()}
