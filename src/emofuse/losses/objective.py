"""The objective: a weighted sum of loss terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from emofuse.errors import OptionError
from emofuse.layers.gather import gather_rows
from emofuse.losses import LOSSES
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.models.contract import EmotionOutput
from emofuse.models.shared import SharedOutput
from emofuse.options import Options

__all__ = ["Objective", "TermOptions", "build_objective", "parse_terms"]


class TermOptions(Options):
    """What every term of an objective has beside its own options.

    Attributes:
        name: a name in `LOSSES`.
        weight: factor in the sum.
    """

    name: str
    weight: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)


class Objective(nn.Module):
    """``sum of weight * term``; the value of each term is kept for logs.

    Args:
        terms: the loss terms.
        weights: the factor of each.
        names: what each is called in logs; unique.
    """

    def __init__(
        self, terms: Sequence[LossTerm], weights: Sequence[float], names: Sequence[str]
    ) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.weights = tuple(weights)
        self.names = tuple(names)

    def advance(self, done: float) -> None:
        """Tell every term which share of the training is over."""
        for term in self.terms:
            if isinstance(term, LossTerm):
                term.advance(done)

    def forward(self, output: EmotionOutput, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the sum, a scalar, and each term's own value, detached and unweighted."""
        values = [_value(term, output, targets) for term in self.terms]
        total = values[0] * self.weights[0]
        for value, weight in zip(values[1:], self.weights[1:], strict=True):
            total = total + weight * value
        return total, {name: value.detach() for name, value in zip(self.names, values, strict=True)}


def _value(term: nn.Module, output: EmotionOutput, targets: Targets) -> Tensor:
    """Value of a term; where processes train together, the same in all of them."""
    gathers = isinstance(term, LossTerm) and term.gathers
    if not gathers or not isinstance(output, SharedOutput) or output.own is None:
        found: Tensor = term(output, targets)
        return found
    own: Tensor = term(output.own, targets.take(output.rows))
    everyone = gather_rows(own.detach().reshape(1)).mean()
    return own + (everyone - own.detach())


def parse_terms(entries: Sequence[Mapping[str, Any]]) -> list[tuple[TermOptions, Options]]:
    """Validate the terms of a recipe, each by its loss's own type.

    Raises:
        OptionError: no term, an unknown loss, key or value.
    """
    if not entries:
        raise OptionError("the objective has no term; the usual one is - name: cross-entropy")
    parsed: list[tuple[TermOptions, Options]] = []
    for place, entry in enumerate(entries):
        common = {key: entry[key] for key in ("name", "weight") if key in entry}
        rest = {key: value for key, value in entry.items() if key not in common}
        term = TermOptions.parse(common, f"objective.{place}")
        options_type: type[Options] = LOSSES.load(term.name).options_type
        parsed.append((term, options_type.parse(rest, f"objective.{place} ({term.name})")))
    return parsed


def build_objective(entries: Sequence[Mapping[str, Any]], context: LossContext) -> Objective:
    """Build the objective of a recipe.

    Args:
        entries: one mapping a term: ``name``, ``weight`` and the loss's own options.
        context: what losses may know before training.

    Raises:
        OptionError: see `parse_terms`.
    """
    parsed = parse_terms(entries)
    names: list[str] = []
    for term, _ in parsed:
        taken = sum(name.split("#")[0] == term.name for name in names)
        names.append(term.name if not taken else f"{term.name}#{taken + 1}")
    terms = [LOSSES.load(term.name)(options, context) for term, options in parsed]
    return Objective(terms, [term.weight for term, _ in parsed], names)
