"""Batches of training items, some of them replaced by a view, some with frames or bands hidden."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from emofuse.augment.masks import draw_plan, hide
from emofuse.features.augmented import Views
from emofuse.features.table import FeatureTable
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.training.feeder import Feeder
from emofuse.training.parts import Part

__all__ = ["AugmentedFeeder", "training_feeder"]

MASKED = "audio"


def training_feeder(table: FeatureTable, train: Part) -> Feeder:
    """Feed a training part, augmented where it has views; nothing else is ever fed augmented."""
    if train.views is None:
        return Feeder(table, train.rows)
    return AugmentedFeeder(table, train.rows, train.views)


class AugmentedFeeder(Feeder):
    """Draws for every item and epoch: itself or one of its views, and masks.

    The draws are made in `shuffled`, from the generator that also draws the order; batches before
    the first call, and those of `in_order`, are clean.

    Args:
        table: features on the device of the model.
        rows: ``(items,)`` the rows to feed.
        views: of the same items.
    """

    def __init__(self, table: FeatureTable, rows: Tensor, views: Views) -> None:
        super().__init__(table, rows)
        self._views = views.to(self.rows.device)
        self._clean_lengths = self._lengths
        self._chosen: Tensor | None = None
        self._plan: Tensor | None = None
        self._fill: Tensor | None = None

    def condense(self, model: FusionModel) -> None:
        """Condense nothing: views and masks change with every epoch."""

    def shuffled(
        self, size: int, generator: torch.Generator, drawn: Tensor | None = None
    ) -> list[Tensor]:
        """Draw views and masks for an epoch, then cut it as `Feeder.shuffled` does."""
        self._redraw(generator)
        return super().shuffled(size, generator, drawn)

    def in_order(self, size: int) -> Iterator[Tensor]:
        """Cut all items, clean, as `Feeder.in_order` does."""
        self._chosen = self._plan = None
        self._lengths = self._clean_lengths
        yield from super().in_order(size)

    def everything(self) -> list[tuple[float, Batch]]:
        """Give all items as they are, then one view of each after the other.

        An item without a view gives itself. Masks that are drawn anew have no place here.
        """
        items = torch.arange(len(self), device=self.rows.device)
        self._chosen = self._plan = None
        rows, p = self._views.rows, self._views.p
        width = rows.shape[1]
        found = [(1.0 - p, self.batch(items))] if width else super().everything()
        for view in range(width):
            self._chosen = rows[:, view]
            found.append((p / width, self.batch(items)))
        self._chosen = None
        return [(share, batch) for share, batch in found if share]

    def batch(self, items: Tensor) -> Batch:
        """Give the batch of these items, as drawn for this epoch."""
        found = dict(super().batch(items).modalities)
        chosen = None if self._chosen is None else self._chosen[items]
        if chosen is not None:
            for name, part in self._views.features.items():
                there = (chosen >= 0) & (part.lengths[chosen.clamp_min(0)] > 0)
                places = there.nonzero().flatten()
                if len(places):
                    found[name] = _replace(found[name], places, part.gather(chosen[places]))
        plan = self._plan_for(items, chosen)
        if plan is not None and MASKED in self._ragged:
            clean = found[MASKED]
            values = hide(clean.values, clean.mask, plan, self._mean())
            found[MASKED] = Sequences(values, clean.mask)
        return Batch(found)

    def _redraw(self, generator: torch.Generator) -> None:
        items, views = self._views.rows.shape
        device = self.rows.device
        if views:
            used = torch.rand(items, generator=generator) < self._views.p
            pick = self._pick(generator)
            rows = self._views.rows.gather(1, pick.to(device))[:, 0]
            self._chosen = torch.where(used.to(device), rows, -1)
            self._lengths = self._drawn_lengths(self._chosen)
        if self._views.masks is not None:
            self._plan = draw_plan(self._views.masks, items, generator).to(device)

    def _pick(self, generator: torch.Generator) -> Tensor:
        """Draw one of each item's own views, ``(items, 1)``."""
        rows = self._views.rows
        counts = (rows >= 0).sum(dim=1, keepdim=True).cpu()
        if bool(((counts == rows.shape[1]) | (counts == 0)).all()):
            return torch.randint(rows.shape[1], counts.shape, generator=generator)
        drawn = torch.rand(counts.shape, generator=generator, dtype=torch.float64)
        return (drawn * counts).long()

    def _drawn_lengths(self, chosen: Tensor) -> Tensor:
        lengths = self._clean_lengths
        for name, part in self._views.features.items():
            if name in self._ragged:
                drawn = torch.where(chosen >= 0, part.lengths[chosen.clamp_min(0)], 0).cpu()
                lengths = torch.where(drawn > 0, drawn, lengths)
        return lengths

    def _plan_for(self, items: Tensor, chosen: Tensor | None) -> Tensor | None:
        parts = [] if self._plan is None else [self._plan[items]]
        if chosen is not None and self._views.plan.shape[1]:
            own = self._views.plan[chosen.clamp_min(0)]
            parts.append(own * (chosen >= 0)[:, None, None])
        return torch.cat(parts, dim=1) if parts else None

    def _mean(self) -> Tensor:
        """Mean of each band over the frames that the model takes its statistics from."""
        if self._fill is None:
            chosen, plan = self._chosen, self._plan
            self._chosen = self._plan = None
            part = self.statistics_batch().modalities[MASKED]
            self._chosen, self._plan = chosen, plan
            self._fill = part.values[part.mask].mean(dim=0)
        return self._fill


def _replace(part: Sequences, places: Tensor, views: Sequences) -> Sequences:
    """Put views in the places of some items."""
    longest = max(part.mask.shape[1], views.mask.shape[1])
    values, mask = _pad(part.values, longest).clone(), _pad_mask(part.mask, longest).clone()
    values[places] = _pad(views.values, longest)
    mask[places] = _pad_mask(views.mask, longest)
    return Sequences(values, mask)


def _pad(values: Tensor, frames: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, 0, 0, frames - values.shape[1]))


def _pad_mask(mask: Tensor, frames: int) -> Tensor:
    return torch.nn.functional.pad(mask, (0, frames - mask.shape[1]))
