"""Classes that come in one after another, and the items of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from emofuse.errors import OptionError, nearest_hint
from emofuse.labels import canonical
from emofuse.options import Options

__all__ = ["CurriculumOptions", "CurriculumPhase", "draw_items", "learned_classes"]


class CurriculumPhase(Options):
    """A stretch of a training in which some classes are withheld.

    Attributes:
        until: share of the epochs at which it is over.
        without: names of the classes that are withheld.
    """

    until: float = Field(gt=0.0, le=1.0)
    without: tuple[str, ...] = Field(min_length=1)

    @field_validator("without", mode="after")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical(name) for name in value)


class CurriculumOptions(Options):
    """Which classes are learned when.

    Attributes:
        phases: one after the other; behind the last, every class is learned.
        legacy: as released: patience counts from the first epoch on, so that a training may end
            before it has seen every class.
    """

    phases: tuple[CurriculumPhase, ...] = Field(min_length=1, max_length=20)
    legacy: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [phase.until for phase in self.phases]
        if any(after <= before for before, after in pairwise(ends)):
            raise ValueError("each phase ends later than the one before it")
        return self

    def withheld(self, done: float) -> tuple[str, ...]:
        """Names of the classes withheld when this share of the epochs is over."""
        return next((phase.without for phase in self.phases if done < phase.until), ())


def learned_classes(
    options: CurriculumOptions | None, done: float, classes: Sequence[str]
) -> Tensor | None:
    """Say which classes are learned.

    Args:
        options: None = all.
        done: share of the epochs that is over.
        classes: names, in the order of the scheme.

    Returns:
        ``(classes,)`` bool; None = all.

    Raises:
        OptionError: a name that is no class, or no class is left.
    """
    names = () if options is None else options.withheld(done)
    if not names:
        return None
    strange = next((name for name in names if name not in classes), None)
    if strange is not None:
        hint = nearest_hint(strange, tuple(classes))
        raise OptionError(f"trainer.curriculum names {strange!r}, which is no class; {hint}")
    if set(names) >= set(classes):
        raise OptionError("trainer.curriculum withholds every class")
    return torch.tensor([name not in names for name in classes])


def draw_items(
    labels: Tensor, learned: Tensor | None, generator: torch.Generator, *, balanced: bool
) -> Tensor | None:
    """Draw the items of an epoch.

    Args:
        labels: ``(items,)`` long, on the CPU.
        learned: ``(classes,)`` bool (see `learned_classes`); None = all, as where no item is left.
        generator: of the draws.
        balanced: as many draws with replacement as there are items, every class equally likely;
            otherwise each item once.

    Returns:
        Item numbers in a drawn order; None = each item once, in an order still to be drawn.
    """
    kept = torch.ones(len(labels), dtype=torch.bool) if learned is None else learned[labels]
    if not bool(kept.any()):
        kept = torch.ones_like(kept)
    if balanced:
        weights = kept / torch.bincount(labels)[labels].double()
        return torch.multinomial(weights, int(kept.sum()), replacement=True, generator=generator)
    if bool(kept.all()):
        return None
    items = kept.nonzero().flatten()
    return items[torch.randperm(len(items), generator=generator)]
