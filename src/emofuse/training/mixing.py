"""What changes the items of a batch after they were encoded: disturbed, mixed in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emofuse.augment.vectors import blend, disturb, draw_share
from emofuse.losses.contract import Targets
from emofuse.losses.objective import Objective
from emofuse.models.contract import Batch, EmotionOutput, Sequences
from emofuse.training.feeder import Feeder
from emofuse.training.options import TrainerOptions

__all__ = ["Mixed", "Mixing"]

FIRST_ALONE = "micl"
"""The loss that the released mixup does not mix."""
STREAM = 0x6D69  # keeps these draws apart from others of the same seed


@dataclass(frozen=True)
class Mixed:
    """A batch to learn from.

    Attributes:
        batch: as changed.
        targets: of each item.
        partners: targets of what was mixed in; None = nothing was.
        share: of each item itself.
        first_alone: whether `FIRST_ALONE` looks at ``targets`` alone.
    """

    batch: Batch
    targets: Targets
    partners: Targets | None = None
    share: float = 1.0
    first_alone: bool = False

    def judge(
        self, objective: Objective, output: EmotionOutput
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Give the objective, and each term's own value, detached; mixed as the items are."""
        if self.partners is None:
            return objective(output, self.targets)  # type: ignore[no-any-return]
        total: Tensor = output.logits.new_zeros(())
        told: dict[str, Tensor] = {}
        for name, weight, term in zip(
            objective.names, objective.weights, objective.terms, strict=True
        ):
            value = term(output, self.targets)
            if not (self.first_alone and name.split("#")[0] == FIRST_ALONE):
                other = term(output, self.partners)
                value = self.share * value + (1.0 - self.share) * other
            total = total + weight * value
            told[name] = value.detach()
        return total, told


class Mixing:
    """Draws what becomes of each batch; an epoch's draws depend on the seed and its number alone.

    Args:
        options: ``feature_noise`` and ``mixup`` are read.
        feeder: of the training items, for their mean and spread.
        seed: of the draws.
    """

    def __init__(self, options: TrainerOptions, feeder: Feeder, seed: int) -> None:
        self._noise, self._mixup, self._seed = options.feature_noise, options.mixup, seed
        self._rng = np.random.default_rng([STREAM, seed])
        self._statistics: dict[str, tuple[Tensor, Tensor]] = {}
        if self._noise is not None and not self._noise.legacy:
            for name, part in feeder.statistics_batch().modalities.items():
                frames = part.values[part.mask]
                if len(frames):
                    spread = frames.std(dim=0, unbiased=False)
                    self._statistics[name] = frames.mean(dim=0), spread

    def begin(self, epoch: int) -> None:
        """Start an epoch, from 0."""
        self._rng = np.random.default_rng([STREAM, self._seed, epoch])

    def mark(self) -> Mapping[str, Any]:
        """Give the place among the epoch's draws, for a step that must begin anew."""
        return self._rng.bit_generator.state

    def back(self, place: Mapping[str, Any]) -> None:
        """Go back to where `mark` was asked."""
        self._rng.bit_generator.state = place

    def draw(self, batch: Batch, targets: Targets) -> Mixed:
        """Change a batch; without either option it stays what it is and nothing is drawn."""
        if self._noise is not None:
            batch = self._disturbed(batch)
        share = None if self._mixup is None else draw_share(self._mixup, self._rng)
        if self._mixup is None or share is None or len(batch) < 2:
            return Mixed(batch, targets)
        device = targets.labels.device
        partners = torch.from_numpy(self._rng.permutation(len(batch))).to(device)
        mixed = {
            name: Sequences(blend(part.values, part.mask, partners, share), part.mask)
            for name, part in batch.modalities.items()
        }
        return Mixed(Batch(mixed), targets, targets.take(partners), share, self._mixup.legacy)

    def _disturbed(self, batch: Batch) -> Batch:
        found: dict[str, Sequences] = {}
        for name, part in batch.modalities.items():
            generator = torch.Generator().manual_seed(int(self._rng.integers(1 << 62)))
            nothing = part.values.new_zeros(part.values.shape[2])
            mean, spread = self._statistics.get(name, (nothing, nothing))
            if self._noise is not None:
                values = disturb(
                    part.values,
                    part.mask,
                    self._noise,
                    mean=mean,
                    spread=spread,
                    generator=generator,
                )
                found[name] = Sequences(values, part.mask)
        return Batch(found)
