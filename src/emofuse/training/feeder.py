"""Batches out of features held in memory: no loader, no work for each item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from emofuse.features.table import FeatureTable, Ragged
from emofuse.layers import keep_modalities
from emofuse.models.contract import Batch, FusionModel, Sequences

__all__ = ["Feeder", "hide_modalities"]

STATISTICS_FLOATS = 1 << 26
"""Most padded values that one look at the training items may take (256 MiB)."""
FRAMES_AT_ONCE = 1 << 12
"""Most padded frames in a batch that is only looked at: larger ones fall out of the cache."""
EVERYTHING = 1 << 30
BUCKET = 16
"""Shuffled items of this many batches are sorted by length before they are cut into batches."""


class Feeder:
    """Some rows of a table, ready to be cut into batches.

    A modality with at most one frame an item (pooled vectors) is held as one matrix, and a batch
    of it is one indexing operation; sequences are padded batch by batch.

    Args:
        table: features on the device of the model.
        rows: ``(items,)`` the rows to feed; items are numbered from 0 in this order.
    """

    def __init__(self, table: FeatureTable, rows: Tensor) -> None:
        parts = iter(table.modalities.values())
        self.rows = rows.to(next((part.values.device for part in parts), rows.device))
        self._own_rows: dict[str, Tensor] = {}
        self._dense: dict[str, Sequences] = {}
        self._ragged: dict[str, Ragged] = {}
        for name, part in table.modalities.items():
            if len(rows) and int(part.lengths[self.rows].max()) > 1:
                self._ragged[name] = part
            else:
                self._dense[name] = part.gather(self.rows)
        self._order = tuple(table.modalities)
        self._by_length = bool(self._ragged)
        self._lengths = torch.zeros(len(rows), dtype=torch.long)
        for part in self._ragged.values():
            self._lengths = torch.maximum(self._lengths, part.lengths[self.rows].cpu())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dense(self) -> Mapping[str, Sequences] | None:
        """All items side by side, where every modality has one frame; else None."""
        return None if self._ragged else {name: self._dense[name] for name in self._order}

    def batch(self, items: Tensor) -> Batch:
        """Give the batch of these items; items that lack a modality have no True in its mask."""
        found: dict[str, Sequences] = {}
        for name in self._order:
            if name in self._dense:
                part = self._dense[name]
                found[name] = Sequences(
                    part.values.index_select(0, items), part.mask.index_select(0, items)
                )
            else:
                rows = self._own_rows.get(name, self.rows)
                found[name] = self._ragged[name].gather(rows[items])
        return Batch(found)

    def drawn(self, items: Tensor, share: float, generator: torch.Generator) -> Batch:
        """Give the batch of these items to learn from, with modalities hidden by chance."""
        return hide_modalities(self.batch(items), share, generator)

    def everything(self) -> list[tuple[float, Batch]]:
        """Give all items in batches that each hold every item, and what share each counts for."""
        return [(1.0, self.batch(torch.arange(len(self), device=self.rows.device)))]

    def shuffled(
        self, size: int, generator: torch.Generator, drawn: Tensor | None = None
    ) -> list[Tensor]:
        """Cut a fresh order of all items, or of the ``drawn`` ones, into batches of ``size``.

        Sequences of like length go together: the shuffled items of 16 batches at a time are sorted
        by length, cut, and the batches shuffled again.
        """
        order = torch.randperm(len(self), generator=generator) if drawn is None else drawn
        if not self._by_length or len(self) <= size:
            return self._cut(order.to(self.rows.device), size)
        batches: list[Tensor] = []
        for bucket in _cut(order, size * BUCKET):
            sorted_bucket = bucket[torch.argsort(self._lengths[bucket], stable=True)]
            batches.extend(self._cut(sorted_bucket, size))
        places = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[place].to(self.rows.device) for place in places]

    def in_order(self, size: int) -> Iterator[Tensor]:
        """Cut all items into batches of at most ``size``, shortest first, to look at each once."""
        if not self._by_length:
            yield from _cut(torch.arange(len(self), device=self.rows.device), size)
            return
        order = torch.argsort(self._lengths, stable=True)
        start = 0
        while start < len(order):
            end = start + 1
            while (
                end < len(order)
                and end - start < size
                and (end - start + 1) * int(self._lengths[order[end]]) <= FRAMES_AT_ONCE
            ):
                end += 1
            yield order[start:end].to(self.rows.device)
            start = end

    def _cut(self, order: Tensor, size: int) -> list[Tensor]:
        return _cut(order, size)

    def condense(self, model: FusionModel) -> None:
        """Let the model take the steps that learn nothing, once and for all items.

        The order of the batches stays what it would be without.
        """
        names = self._condensable(model)
        if not names:
            return
        order: list[Tensor] = []
        parts: dict[str, list[Sequences]] = {name: [] for name in names}
        with torch.no_grad():
            for items in self.in_order(EVERYTHING):
                order.append(items)
                small = model.condense(self.batch(items)).modalities
                for name, found in parts.items():
                    found.append(small[name])
        places = torch.argsort(torch.cat(order))
        for name, found in parts.items():
            self._keep(name, found, places)
        if not self._ragged:
            self._by_length = False
            self._lengths = torch.ones(len(self), dtype=torch.long)

    def _condensable(self, model: FusionModel) -> list[str]:
        """Modalities that the model makes smaller: fewer frames, or other values a frame."""
        if not len(self):
            return []
        whole = self.batch(torch.zeros(1, dtype=torch.long, device=self.rows.device)).modalities
        with torch.no_grad():
            small = model.condense(Batch(whole)).modalities
        return [
            name
            for name, part in whole.items()
            if small[name] is not part
            and (name in self._ragged or small[name].values.shape[2] != part.values.shape[2])
        ]

    def _keep(self, name: str, found: list[Sequences], places: Tensor) -> None:
        """Hold what became of a modality in its place."""
        ragged = self._ragged.pop(name, None)
        if all(part.mask.shape[1] == 1 for part in found):
            self._dense[name] = Sequences(
                torch.cat([part.values for part in found])[places],
                torch.cat([part.mask for part in found])[places],
            )
        elif ragged is not None:
            self._ragged[name] = Ragged.from_sequences(found)
            self._own_rows[name] = places

    def statistics_batch(self) -> Batch:
        """Give all items, or evenly spaced ones where all would not fit into 256 MiB padded."""
        widths = [part.values.shape[2] for part in self._dense.values()]
        longest = int(self._lengths.max()) if len(self) else 1
        widths += [part.dim * max(longest, 1) for part in self._ragged.values()]
        most = max(1, STATISTICS_FLOATS // max(sum(widths), 1))
        step = -(-len(self) // most)
        return self.batch(torch.arange(0, len(self), step, device=self.rows.device))


def _cut(order: Tensor, size: int) -> list[Tensor]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def hide_modalities(batch: Batch, rate: float, generator: torch.Generator) -> Batch:
    """Hide each modality of each item with probability ``rate``, never all of an item's."""
    parts = batch.modalities
    if not rate or len(parts) < 2:
        return batch
    present = torch.stack([part.present for part in parts.values()], dim=1)
    kept = keep_modalities(present, rate, generator)
    return Batch(
        {
            name: Sequences(part.values, part.mask & kept[:, place, None])
            for place, (name, part) in enumerate(parts.items())
        }
    )
