"""Epochs over source and shots in fixed shares, with an alignment of the embeddings on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.losses.alignment import ALIGNMENTS, Alignment, AlignmentOptions
from emofuse.models.build import seeded
from emofuse.models.contract import Batch, EmotionOutput
from emofuse.training.feeder import Feeder
from emofuse.training.steppers import Batches, Row, Work

__all__ = ["Mix", "MixedBatches", "fused_vector"]

ALIGNMENT = "alignment"


def fused_vector(output: EmotionOutput, batch: Batch) -> Tensor:
    """Give the vector that the classifier reads, ``(batch, dim)``.

    A model that names no ``fused`` embedding reads its modalities' embeddings side by side, with
    zeros where one is absent.

    Raises:
        OptionError: the model gives no embedding.
    """
    if "fused" in output.embeddings:
        return output.embeddings["fused"]
    parts = [
        torch.where(part.present[:, None], output.embeddings[name], 0.0)
        for name, part in batch.modalities.items()
        if name in output.embeddings
    ]
    if not parts:
        raise OptionError("the model gives no embedding to align or to compare; take another one")
    return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class Mix:
    """What `MixedBatches` draws from.

    Attributes:
        shots: ``(items,)`` bool: which training items are shots.
        share: share of the draws that are shots.
        target: target train without labels; None = nothing is aligned.
        alignment: name of the alignment and its options.
    """

    shots: Tensor
    share: float
    target: Feeder | None = None
    alignment: tuple[str, AlignmentOptions] | None = None


class MixedBatches(Batches):
    """A gradient step a batch of source and shots; the alignment sees target train beside it.

    The alignment's own parameters belong to the objective: they learn, are saved and restored with
    it. Every batch meets as many target items as it has, from fresh orders in every epoch.
    """

    def __init__(self, work: Work, mix: Mix) -> None:
        self.mix = mix
        self._alignment: Alignment | None = None
        if mix.target is not None and mix.alignment is not None:
            mix.target.condense(work.model)
            self._alignment = _build(work, *mix.alignment)
            work.objective.add_module(ALIGNMENT, self._alignment)
        super().__init__(work)
        self._stream = torch.Generator().manual_seed(2 * work.seed + 3)
        self._waiting = torch.zeros(0, dtype=torch.long)
        self._aligned: list[Tensor] = []

    def epoch(self, number: int) -> Row:
        """Train an epoch; its row holds the mean of the alignment, too."""
        self._waiting, self._aligned = self._waiting[:0], []
        row = super().epoch(number)
        if self._aligned and self.mix.alignment is not None:
            row[f"loss:{self.mix.alignment[0]}"] = float(torch.stack(self._aligned).mean())
        return row

    def _cut(self, number: int) -> list[Tensor]:
        """Draw so that shots and source have their shares (and classes, if balanced)."""
        shots, work = self.mix.shots, self.work
        if not bool(shots.any()) or bool(shots.all()):
            return super()._cut(number)
        weights = self._weights()
        drawn = torch.multinomial(weights, len(weights), replacement=True, generator=self.order)
        size = work.options.batch_size
        batches = work.feeder.shuffled(size, self.order, drawn)
        full = [items for items in batches if len(items) == size]
        return full if work.options.drop_last and full else batches

    def _weights(self) -> Tensor:
        """Chance of each item to be drawn, ``(items,)``."""
        shots = self.mix.shots
        labels = self.work.targets.labels.cpu()
        found = torch.zeros(len(labels), dtype=torch.float64)
        for side, share in ((shots, self.mix.share), (~shots, 1.0 - self.mix.share)):
            own = labels[side]
            if self.work.options.sampler == "balanced":
                each = 1.0 / torch.bincount(own)[own].double()
            else:
                each = torch.ones(len(own), dtype=torch.float64)
            found[side] = share * each / each.sum()
        return found

    def loss(self, items: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Give the loss of a batch, alignment included."""
        if self._alignment is None or self.mix.target is None:
            return super().loss(items)
        work = self.work
        batch = work.feeder.drawn(items, work.hidden_share, self.hiding)
        other = self.mix.target.drawn(self._targets(len(items)), work.hidden_share, self.hiding)
        output = work.model(batch)
        total, values = work.objective(output, work.targets.take(items))
        self._alignment.advance(self.done)
        aligned = self._alignment(
            fused_vector(output, batch), fused_vector(work.model(other), other)
        )
        self._aligned.append(aligned.detach())
        return total + aligned, values

    def _targets(self, count: int) -> Tensor:
        """Give the next target items, which all come before one comes again."""
        target = self.mix.target
        size = 0 if target is None else len(target)
        while len(self._waiting) < count:
            fresh = torch.randperm(size, generator=self._stream)
            self._waiting = torch.cat([self._waiting, fresh])
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken.to(self.work.feeder.rows.device)

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on after this epoch, beside the weights."""
        return {**super().state(), "stream": self._stream.get_state()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        super().restore(tensors)
        self._stream.set_state(tensors["stream"])


def _build(work: Work, name: str, options: AlignmentOptions) -> Alignment:
    device = work.feeder.rows.device
    work.model.eval()
    batch = work.feeder.batch(torch.arange(min(2, len(work.feeder)), device=device))
    rows = fused_vector(work.model(batch), batch)
    if not rows.requires_grad:
        raise OptionError(
            f"method {name} moves what the classifier reads, which this model does not learn; "
            "take a model with a hidden layer (mlp)"
        )
    with seeded(work.seed):
        found: Alignment = ALIGNMENTS.load(name)(options, rows.shape[1])
    return found.to(device)
