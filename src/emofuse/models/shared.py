"""One batch over several processes: each sees a share of it, all see what the model said of all.

Every process makes the same whole batch. `SharedModel` lets its own model look at this process's
share and gathers what it said, with the gradient. What a loss makes of the whole is then the same
in every process, and the average of their gradients is the gradient of one process: for any loss,
any weights, and shares of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.distributed as dist
from torch import Tensor

from emofuse.layers.gather import gather_rows, process_count, process_rank
from emofuse.layers.share import Share, sharing
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, Sequences

__all__ = ["SharedModel", "SharedOutput", "average_gradients", "share_model"]

BUCKET_VALUES = 1 << 22
"""Gradients that travel together (16 MiB)."""


@dataclass(frozen=True)
class SharedOutput(EmotionOutput):
    """What the models of all processes say of a batch.

    Attributes:
        own: what this process's model said of its share; for losses that gather for themselves.
        rows: ``(share,)`` the items of that share in the whole batch.
    """

    own: EmotionOutput | None = None
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))


class _Gathered(Mapping[str, Tensor]):
    """Tensors of all processes, gathered when they are asked for; what is not by item stays."""

    def __init__(self, own: Mapping[str, Tensor], count: int) -> None:
        self._own, self._count = own, count
        self._known: dict[str, Tensor] = {}

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._known:
            part = self._own[key]
            self._known[key] = gather_rows(part) if self._by_item(part) else part
        return self._known[key]

    def _by_item(self, part: Tensor) -> bool:
        """Whether the tensor has a row an item in every process."""
        fits = torch.tensor([part.ndim > 0 and len(part) == self._count], device=part.device).int()
        dist.all_reduce(fits, dist.ReduceOp.MIN)
        return bool(fits)

    def __contains__(self, key: object) -> bool:
        return key in self._own

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


class SharedModel(FusionModel):
    """A model of which every process has a copy; see the module.

    Args:
        model: this process's copy.
    """

    def __init__(self, model: FusionModel) -> None:
        super().__init__(model.spec, model.options)
        self.model = model

    def forward(self, batch: Batch) -> SharedOutput:
        """Recognise the whole batch together; every process must call it with the same one."""
        share = Share.of(len(batch), process_rank(), process_count())
        end = share.start + share.count
        with sharing(share):
            if share.count:
                own = self.model(_part(batch, share.start, end))
            else:
                own = _nothing_of(self.model(_part(batch, 0, 1)))
        return SharedOutput(
            logits=gather_rows(own.logits),
            vad=None if own.vad is None else gather_rows(own.vad),
            embeddings=_Gathered(own.embeddings, share.count),
            weights=_Gathered(own.weights, share.count),
            attention=own.attention,
            extras=_Gathered(own.extras, share.count),
            own=own,
            rows=torch.arange(share.start, end, device=own.logits.device),
        )

    def needs(self) -> frozenset[str]:
        """As the model."""
        return self.model.needs()


def _nothing_of(output: EmotionOutput) -> EmotionOutput:
    """Give what a model says of no item, from what it said of one.

    `Rematch` numbers the items of all processes: those that have none come last.
    """
    return replace(
        output,
        logits=output.logits[:0],
        vad=None if output.vad is None else output.vad[:0],
        embeddings=_Emptied(output.embeddings),
        weights=_Emptied(output.weights),
        extras=_Emptied(output.extras),
    )


class _Emptied(Mapping[str, Tensor]):
    """Tensors of one item, without it."""

    def __init__(self, one: Mapping[str, Tensor]) -> None:
        self._one = one

    def __getitem__(self, key: str) -> Tensor:
        part = self._one[key]
        return part[:0] if part.ndim and len(part) == 1 else part

    def __iter__(self) -> Iterator[str]:
        return iter(self._one)

    def __len__(self) -> int:
        return len(self._one)


def share_model(model: FusionModel) -> FusionModel:
    """Let processes that train together share batches; alone, give the model itself."""
    return model if process_count() == 1 else SharedModel(model)


def _part(batch: Batch, start: int, end: int) -> Batch:
    parts = {
        name: Sequences(part.values[start:end], part.mask[start:end])
        for name, part in batch.modalities.items()
    }
    raw = getattr(batch, "raw", None)
    if raw is None:
        return Batch(parts)
    cut = {name: units[start:end] for name, units in raw.items()}
    changed: dict[str, object] = {"modalities": parts, "raw": cut, "size": end - start}
    return replace(batch, **changed)  # type: ignore[arg-type]


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Put the average over all processes in place of every gradient; alone, do nothing.

    It comes after the backward pass and not during it: a loss may run parts of a model after its
    forward pass (`Rematch`), which hooks on that pass do not see. A parameter that has a gradient
    in some processes alone counts as 0 in the others; one that has none anywhere keeps none.

    Args:
        parameters: the same in every process.
    """
    count = process_count()
    if count == 1 or not parameters:
        return
    device = parameters[0].device
    there = torch.tensor([one.grad is not None for one in parameters], device=device).int()
    dist.all_reduce(there, dist.ReduceOp.MAX)
    learned = [one for one, found in zip(parameters, there.tolist(), strict=True) if found]
    for one in learned:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
    for bucket in _buckets(learned):
        flat = torch.cat([_gradient(one).flatten() for one in bucket])
        dist.all_reduce(flat)
        flat /= count
        pieces = torch.split(flat, [one.numel() for one in bucket])
        for one, piece in zip(bucket, pieces, strict=True):
            _gradient(one).copy_(piece.view_as(one))


def _gradient(one: torch.nn.Parameter) -> Tensor:
    return torch.zeros_like(one) if one.grad is None else one.grad


def _buckets(parameters: list[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    size = 0
    for one in parameters:
        if bucket and (size + one.numel() > BUCKET_VALUES or one.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(one)
        size += one.numel()
    if bucket:
        yield bucket
