"""All features of a run, held in memory: ragged sequences, one table for every fold and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emofuse.errors import FeatureError
from emofuse.models.contract import Batch, Sequences

__all__ = ["FeatureTable", "Ragged"]


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, end to end.

    Attributes:
        values: ``(total_frames, dim)`` float32.
        offsets: ``(items + 1,)`` long; item ``i`` owns rows ``offsets[i]:offsets[i + 1]``; an item
            without rows lacks the modality.
    """

    values: Tensor
    offsets: Tensor

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray[np.float32] | None], dim: int) -> Ragged:
        """Join arrays of ``(frames, dim)``; None = absent.

        Raises:
            FeatureError: an array of another size.
        """
        lengths = [0 if a is None else a.shape[0] for a in arrays]
        present = [a for a in arrays if a is not None and a.shape[0]]
        if any(a.ndim != 2 or a.shape[1] != dim for a in present):
            sizes = sorted({a.shape[-1] for a in present})
            raise FeatureError(f"features of size {sizes} where {dim} was expected")
        values = np.concatenate(present) if present else np.zeros((0, dim), np.float32)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return cls(
            torch.from_numpy(values.astype(np.float32, copy=False)), torch.from_numpy(offsets)
        )

    @classmethod
    def from_sequences(cls, batches: Sequence[Sequences]) -> Ragged:
        """Join the real frames of padded batches, in their order; each batch has an item."""
        lengths = torch.cat([part.mask.sum(dim=1) for part in batches])
        values = torch.cat([part.values[part.mask] for part in batches])
        return cls(values, torch.nn.functional.pad(lengths.cumsum(0), (1, 0)))

    @property
    def dim(self) -> int:
        """Feature size."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> Tensor:
        """``(items,)`` frames of each item."""
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, index: Tensor) -> Ragged:
        """Select items, in the order of ``index``."""
        starts, lengths = self.offsets[index], self.lengths[index]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        steps = torch.arange(int(offsets[-1]), device=index.device)
        steps = steps + torch.repeat_interleave(starts - offsets[:-1], lengths)
        return Ragged(self.values.index_select(0, steps), offsets)

    def to(self, device: torch.device | str) -> Ragged:
        """Move to a device."""
        return Ragged(self.values.to(device), self.offsets.to(device))

    def gather(self, index: Tensor) -> Sequences:
        """Pad the items of ``index`` to the longest of them."""
        starts, lengths = self.offsets[index], self.lengths[index]
        longest = max(int(lengths.max()) if len(index) else 1, 1)
        steps = torch.arange(longest, device=index.device)
        mask = steps[None, :] < lengths[:, None]
        if not bool(lengths.all()):
            return Sequences(self._with_gaps(starts, mask), mask)
        # Padding repeats the item's own last frame before it is set to zero.
        rows = starts[:, None] + torch.minimum(steps[None, :], lengths[:, None] - 1)
        values = self.values.index_select(0, rows.flatten()).view(len(index), longest, self.dim)
        if longest > 1:
            values.mul_(mask[..., None].to(values.dtype))
        return Sequences(values, mask)

    def _with_gaps(self, starts: Tensor, mask: Tensor) -> Tensor:
        """Pad where some items have no rows at all."""
        steps = torch.arange(mask.shape[1], device=mask.device)
        values = self.values.new_zeros(*mask.shape, self.dim)
        values[mask] = self.values[(starts[:, None] + steps[None, :])[mask]]
        return values


@dataclass(frozen=True)
class FeatureTable:
    """Features of many utterances.

    Attributes:
        ids: utterance ids, in row order.
        modalities: modality -> its features, in row order.
        encoders: modality -> JSON description of the encoder that made them (spec, revision, dim,
            frame_rate, sample_rate, provenance), as it goes into the bundle.
        quarantined: modality -> id -> why the utterance has no features of it though it should.
    """

    ids: tuple[str, ...]
    modalities: Mapping[str, Ragged]
    encoders: Mapping[str, Mapping[str, object]]
    quarantined: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> feature size."""
        return {name: part.dim for name, part in self.modalities.items()}

    def rows(self, ids: Sequence[str]) -> Tensor:
        """Row numbers of these ids.

        Raises:
            FeatureError: an id without a row.
        """
        places = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in places]
        if missing:
            raise FeatureError(f"no features for {missing[0]!r} ({len(missing)} such)")
        return torch.tensor([places[name] for name in ids], dtype=torch.long)

    def batch(self, index: Tensor) -> Batch:
        """Give the batch of these rows; a modality that none of them has stays out."""
        parts = {name: part.gather(index) for name, part in self.modalities.items()}
        return Batch({name: part for name, part in parts.items() if bool(part.mask.any())})

    def to(self, device: torch.device | str) -> FeatureTable:
        """Move to a device."""
        moved = {name: part.to(device) for name, part in self.modalities.items()}
        return FeatureTable(self.ids, moved, self.encoders, self.quarantined)
