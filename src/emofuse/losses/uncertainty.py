"""Losses that are weighed by numbers that are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.objective import build_objective, parse_terms
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["Uncertainty", "UncertaintyOptions", "weigh"]


def weigh(values: Sequence[Tensor], learned: Tensor, *, legacy: bool = False) -> Tensor:
    """Give ``sum_i exp(-s_i) L_i + s_i / 2`` (Kendall et al. 2018, eq. 10, ``s = log sigma^2``).

    A large ``s`` makes a loss count less and costs something itself, so that no weight goes to 0.

    Args:
        values: the losses, scalars of 0 or more.
        learned: ``(losses,)``, the ``s``.
        legacy: ``sum_i relu(a_i) L_i`` as in the released 4M-SER. Nothing holds the ``a`` up: they
            fall until the sum is 0 and nothing learns any more.
    """
    stacked = torch.stack(list(values))
    if legacy:
        return (torch.relu(learned) * stacked).sum()
    return (torch.exp(-learned) * stacked + learned / 2).sum()


class UncertaintyOptions(Options):
    """Options of `Uncertainty`.

    Attributes:
        terms: the losses, as in an objective: ``name``, ``weight`` and their own options.
        legacy: the released form (see `weigh`).
    """

    terms: tuple[dict[str, Any], ...] = Field(
        default=({"name": "cross-entropy"}, {"name": "contrastive-center"}),
        min_length=2,
        max_length=16,
    )
    legacy: bool = False

    @field_validator("terms", mode="after")
    @classmethod
    def _parsed(cls, value: tuple[Mapping[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {**term.model_dump(mode="json"), **options.model_dump(mode="json")}
            for term, options in parse_terms(value)
        )


class Uncertainty(LossTerm):
    """Several losses, weighed by learned numbers (see `weigh`)."""

    options_type = UncertaintyOptions

    def __init__(self, options: UncertaintyOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.legacy = options.legacy
        self.inner = build_objective(options.terms, context)
        start = torch.ones if options.legacy else torch.zeros
        self.learned = nn.Parameter(start(len(options.terms)))

    def advance(self, done: float) -> None:
        """Tell every term which share of the training is over."""
        self.inner.advance(done)

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch."""
        pairs = zip(self.inner.terms, self.inner.weights, strict=True)
        values = [weight * term(output, targets) for term, weight in pairs]
        return weigh(values, self.learned, legacy=self.legacy)
