"""What a stack needs to reach inside of a fit: its work, its generators, its optimisers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from emofuse.training.feeder import Feeder
from emofuse.training.fit import Fit
from emofuse.training.steppers import Work

__all__ = ["optimisers_of", "orders_of", "share_feeders", "work_of"]


def work_of(fit: Fit) -> Work:
    """Give what a fit works on."""
    work: Work = fit.stepper.work  # type: ignore[attr-defined]
    return work


def orders_of(fit: Fit) -> tuple[torch.Generator, torch.Generator]:
    """Give the generators of its order and of its hidden modalities."""
    stepper: Any = fit.stepper
    return stepper.order, stepper.hiding


def optimisers_of(fit: Fit) -> Any:
    """Give its optimisers, which know the learning rate."""
    stepper: Any = fit.stepper
    return stepper.optimisers


def share_feeders(fits: Sequence[Fit], parts: Sequence[bytes]) -> None:
    """Let fits of the same training part use one feeder.

    Args:
        fits: whose.
        parts: what tells training parts apart, one a fit.
    """
    known: dict[bytes, Feeder] = {}
    for fit, part in zip(fits, parts, strict=True):
        work = work_of(fit)
        feeder = known.setdefault(part, work.feeder)
        fit.stepper.work = replace(work, feeder=feeder)  # type: ignore[attr-defined]
