"""The bench: a model, its objective and items to try them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from emofuse.augment.policy import AugmentOptions
from emofuse.features.table import FeatureTable
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import Objective, build_objective
from emofuse.models.build import build_model, seeded
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec
from emofuse.probes.drawn import drawn_items
from emofuse.training.feeder import Feeder, hide_modalities
from emofuse.training.parts import Part

__all__ = ["Bench", "answer", "gather_rows"]

STEPS = 12
RATE = 1e-3
HIDDEN = 0.5


@dataclass(frozen=True)
class Bench:
    """What probes work on.

    Attributes:
        model: name of the model.
        options: its options.
        objective: the loss terms, as in a recipe.
        classes: class names.
        vad: ranges of the label scheme.
        table: features.
        learn: items that the model may learn from.
        look: items to look at; the same where there is nothing else.
        dropout: modality dropout in force in training.
        trained: the model of a run; None for a recipe.
        augment: how the recipe changes training items; None = by no policy.
        drawn: whether features are drawn and not real.
        seed: of every draw.
        notes: what the reader must know.
    """

    model: str
    options: Mapping[str, Any]
    objective: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    vad: Mapping[str, tuple[float, float]]
    table: FeatureTable
    learn: Part
    look: Part
    dropout: float = 0.0
    trained: FusionModel | None = None
    augment: AugmentOptions | None = None
    drawn: bool = True
    seed: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def spec(self) -> ModelSpec:
        """The sizes that the model is built for."""
        return ModelSpec(self.table.dims, len(self.classes))

    @property
    def pooled(self) -> bool:
        """Whether some modality is vectors rather than sequences."""
        return any(int(part.lengths.max()) <= 1 for part in self.table.modalities.values())

    def with_lengths(self, lengths: Mapping[str, int], items: int = 24) -> Bench:
        """Give a bench of the same sizes with drawn sequences of other lengths."""
        table, part = drawn_items(
            self.table.dims, lengths, len(self.classes), self.vad, items=items, seed=self.seed
        )
        return replace(self, table=table, learn=part, look=part, trained=None, drawn=True)

    @property
    def size(self) -> int:
        """Items of a batch: enough for every class to come several times."""
        return min(len(self.learn), max(12, 3 * len(self.classes)))

    def batch(self, number: int, size: int | None = None) -> tuple[Batch, Targets]:
        """Draw batch ``number`` from the items to learn from."""
        generator = torch.Generator().manual_seed(1000 * self.seed + number)
        size = self.size if size is None else size
        items = torch.randperm(len(self.learn), generator=generator)[:size]
        part = self.learn.take(items)
        return gather_rows(self.table, part.rows), part.targets

    def lacking(self, batch: Batch, number: int = 0) -> Batch:
        """Hide modalities of some items, as modality dropout does."""
        generator = torch.Generator().manual_seed(1000 * self.seed + number)
        return hide_modalities(batch, HIDDEN, generator)

    def fresh(
        self, options: Mapping[str, Any] | None = None, spec: ModelSpec | None = None
    ) -> FusionModel:
        """Build the model from the seed, and let it take its statistics."""
        given = self.options if options is None else options
        model = build_model(self.model, given, spec or self.spec, self.seed)
        model.fit_normalisation(self._statistics)
        return model

    @cached_property
    def _statistics(self) -> Batch:
        return Feeder(self.table, self.learn.rows).statistics_batch()

    def terms(self, model: FusionModel) -> Objective:
        """Build the objective for a model."""
        model.eval()
        batch, _ = self.batch(0, 2)
        with torch.no_grad():
            shown = model(batch)
        sizes = {name: int(part.shape[-1]) for name, part in shown.embeddings.items()}
        counts = torch.bincount(self.learn.targets.labels, minlength=len(self.classes))
        with seeded(self.seed):
            return build_objective(
                self.objective, LossContext(counts, sizes, self.classes, dict(self.vad))
            )

    @cached_property
    def subject(self) -> FusionModel:
        """The run's model, or a fresh one after a few steps; in evaluation mode."""
        if self.trained is not None:
            return self.trained.eval()
        model = self.fresh()
        objective = self.terms(model)
        parameters = [*model.parameters(), *objective.parameters()]
        optimiser = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=RATE)
        model.train()
        with seeded(self.seed):
            for step in range(STEPS):
                objective.advance(step / STEPS)
                batch, targets = self.batch(step)
                if self.dropout and step % 2:
                    batch = self.lacking(batch, step)
                loss, _ = objective(model(batch), targets)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
        return model.eval()


def gather_rows(
    table: FeatureTable, rows: Tensor, other: Mapping[str, Tensor] | None = None
) -> Batch:
    """Give the batch of these rows; ``other`` takes some modalities from other rows."""
    parts = {
        name: part.gather((other or {}).get(name, rows)) for name, part in table.modalities.items()
    }
    return Batch({name: part for name, part in parts.items() if bool(part.mask.any())})


def answer(model: FusionModel, batch: Batch) -> EmotionOutput:
    """Ask a model in evaluation mode, without gradients."""
    model.eval()
    with torch.no_grad():
        output: EmotionOutput = model(batch)
    return output
