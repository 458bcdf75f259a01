"""Asking a model in 64 bits, so that rounding explains no difference."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from emofuse.models.contract import Batch, FusionModel, Sequences

__all__ = ["Precise", "precise"]

FINE = 1e-6
COARSE = 2e-3


@dataclass(frozen=True)
class Precise:
    """A model to compare answers of.

    Attributes:
        model: a copy, in 64 bits where it can be run so.
        tolerance: difference of logits, as a share of their spread, that rounding explains.
    """

    model: FusionModel
    tolerance: float

    def logits(self, batch: Batch) -> Tensor:
        """Give ``(batch, classes)`` in evaluation mode."""
        self.model.eval()
        if self.tolerance > FINE:
            with torch.no_grad():
                single: Tensor = self.model(batch).logits
            return single
        wide = {n: Sequences(p.values.double(), p.mask) for n, p in batch.modalities.items()}
        with torch.no_grad(), _StayDouble():
            found: Tensor = self.model(Batch(wide)).logits
        return found


def precise(model: FusionModel, batch: Batch) -> Precise:
    """Make a copy of a model that answers in 64 bits, or in 32 where it cannot be had.

    Args:
        model: is not changed.
        batch: to try it on.
    """
    wide = Precise(copy.deepcopy(model).double(), FINE)
    try:
        wide.logits(batch)
    except RuntimeError:  # it mixes precisions of its own
        return Precise(copy.deepcopy(model), COARSE)
    return wide


class _StayDouble(TorchFunctionMode):
    """Turns every step down to 32 bits into one to 64: models take it against half precision."""

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.float:
            return args[0].double()
        if func is Tensor.to:
            args = tuple(torch.float64 if one is torch.float32 else one for one in args)
            kwargs = {
                k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()
            }
        return func(*args, **(kwargs or {}))
