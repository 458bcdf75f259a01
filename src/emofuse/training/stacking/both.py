"""A model with its objective as one function, and whether several are alike but for tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.layers.presence import AbsentToken
from emofuse.losses.contract import Targets
from emofuse.losses.objective import Objective
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.training.stacking.tensors import NotStackable

__all__ = ["Both", "check_alike", "stand_ins"]


class Both(nn.Module):
    """A model and its objective as one function of tensors."""

    def __init__(self, model: FusionModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(
        self,
        values: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the loss, its terms, and the logits of a batch."""
        batch = Batch({name: Sequences(part, masks[name]) for name, part in values.items()})
        output = self.model(batch)
        told = Targets(targets["labels"], targets.get("soft"), targets.get("vad"))
        loss, terms = self.objective(output, told)
        return loss, torch.stack(list(terms.values())), output.logits


def stand_ins(module: nn.Module, modalities: Sequence[str]) -> dict[str, str]:
    """Name the frames that stand in for an absent modality, and the modality of each.

    A batch that lacks nothing does not use them, and an optimiser then passes over them.

    Raises:
        NotStackable: a frame that does not say for which modality it stands.
    """
    found: dict[str, str] = {}
    for name, part in module.named_modules():
        if isinstance(part, AbsentToken):
            stands_for = [one for one in name.split(".") if one in modalities]
            if len(stands_for) != 1:
                raise NotStackable(f"{name} stands for no one modality")
            found |= {f"{name}.{inner}": stands_for[0] for inner, _ in part.named_parameters()}
    return found


def check_alike(modules: Sequence[nn.Module]) -> None:
    """Check that models differ in tensors alone: in a stack the first speaks for all.

    Raises:
        NotStackable: another attribute differs.
    """
    first = [_plain_attributes(one) for one in modules[0].modules()]
    for other in modules[1:]:
        for one, two in zip(first, other.modules(), strict=True):
            found = _plain_attributes(two)
            differing = [name for name in one if one[name] != found.get(name)]
            if differing:
                kind = type(two).__name__
                raise NotStackable(f"{differing[0]!r} of {kind} differs between the trainings")


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    plain = (int, float, str, bool, tuple, list, dict)
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, plain) and not name.startswith("_") and not _holds_tensor(value)
    }


def _holds_tensor(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, list | tuple | dict) and any(isinstance(one, Tensor) for one in inner)
