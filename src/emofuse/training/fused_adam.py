"""Adam and AdamW on a processor, by torch's own fused kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

__all__ = ["FusedAdam"]


class FusedAdam:
    """Takes the steps of `torch.optim.AdamW` with ``fused=True``, to the bit.

    Making any optimiser of `torch.optim` loads torch's compiler, which takes about a second of
    every process that trains; this one needs the functional form alone. Groups, state and their
    names are torch's.

    Args:
        groups: mappings with ``params`` and what differs from the common settings.
        lr: learning rate.
        weight_decay: of the weights.
        decoupled: AdamW (Loshchilov and Hutter 2019); else Adam, whose decay is in the gradient.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        common = {"lr": lr, "weight_decay": weight_decay, "betas": (0.9, 0.999), "eps": 1e-8}
        self.param_groups: list[dict[str, Any]] = [
            {**common, **group, "params": list(group["params"])} for group in groups
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._decoupled = decoupled

    @torch.no_grad()
    def step(self) -> None:
        """Take a step with every parameter that has a gradient."""
        for group in self.param_groups:
            learned = [one for one in group["params"] if one.grad is not None]
            if learned:
                self._step(learned, group)

    def _step(self, learned: list[Tensor], group: Mapping[str, Any]) -> None:
        states = [self._state_of(one) for one in learned]
        adam(
            learned,
            [one.grad for one in learned if one.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            decoupled_weight_decay=self._decoupled,
        )

    def _state_of(self, one: Tensor) -> dict[str, Tensor]:
        if one not in self.state:
            self.state[one] = {
                "step": torch.zeros((), device=one.device),
                "exp_avg": torch.zeros_like(one, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(one, memory_format=torch.preserve_format),
            }
        return self.state[one]

    def state_dict(self) -> dict[str, Any]:
        """Give state and settings, parameters by their numbers, as `torch.optim` does."""
        own = self._parameters()
        state = {place: dict(self.state[one]) for place, one in enumerate(own) if one in self.state}
        return {"state": state, "param_groups": [dict(group) for group in self.param_groups]}

    def load_state_dict(self, given: Mapping[str, Any]) -> None:
        """Put back the ``state`` of what `state_dict` gave; settings stay as they are."""
        own = self._parameters()
        self.state = {
            own[place]: {name: torch.as_tensor(part).clone() for name, part in state.items()}
            for place, state in given["state"].items()
        }

    def _parameters(self) -> list[Tensor]:
        return [one for group in self.param_groups for one in group["params"]]
