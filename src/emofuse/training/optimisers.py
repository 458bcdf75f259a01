"""Optimisers and what their learning rate does from step to step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.training.checkpoint import Optimiser, pack_optimiser, under, unpack_optimiser
from emofuse.training.fused_adam import FusedAdam
from emofuse.training.options import TrainerOptions
from emofuse.training.schedule import Plateau, cycled_momentum, schedule_factor
from emofuse.training.together.tensors import is_shard

__all__ = ["Optimisers"]

ADAM = ("adamw", "adam")
RateGroup = tuple[Sequence[nn.Parameter], float]
"""Parameters, and the share of the trainer's rate that they learn at."""


class Optimisers:
    """The optimiser of the model, and that of the losses' own parameters where they have one.

    Args:
        options: which, and their rates.
        model: parameters of the model that learn, in groups, each with its share of the rate.
        objective: parameters of the losses that learn.
    """

    def __init__(
        self,
        options: TrainerOptions,
        model: Sequence[RateGroup],
        objective: Sequence[nn.Parameter],
    ) -> None:
        self.options = options
        self.plateau = Plateau(options.factor, options.plateau_patience)
        self._apart = options.objective_learning_rate is not None and bool(objective)
        first, *others = model
        together = ([*first[0], *(() if self._apart else objective)], first[1])
        groups = _groups([together, *others])
        self._order = [one for group in groups for one in group["params"]]
        self.main = _make(options, [part for group in groups for part in _kinds(group)])
        self.extra: torch.optim.Optimizer | None = None
        if self._apart:
            self.extra = torch.optim.Adam(objective, lr=options.objective_learning_rate or 0.0)
        self._parameters = [
            one for made in self._each() for group in made.param_groups for one in group["params"]
        ]

    def set_rate(self, epoch: int, done: float) -> float:
        """Set every rate for a step and give the model's.

        Args:
            epoch: epochs done, which ``step`` and the milestones count.
            done: share of the training that is over, in [0, 1].
        """
        options = self.options
        if options.schedule == "plateau":
            factor = self.plateau.factor
        elif options.schedule == "step":
            factor = options.factor ** (epoch // options.step_epochs)
        else:
            factor = schedule_factor(options.schedule, done, options.warmup, options.rise)
        rate = options.learning_rate * factor
        for group in self.main.param_groups:
            group["lr"] = rate * group["share"]
            if options.cycle_momentum and options.schedule == "onecycle":
                group["betas"] = (cycled_momentum(done, options.rise), group["betas"][1])
        if self.extra is not None:
            passed = sum(epoch >= milestone for milestone in options.objective_milestones)
            for group in self.extra.param_groups:
                group["lr"] = (options.objective_learning_rate or 0.0) * 0.1**passed
        return rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self) -> None:
        """Take a step with each."""
        for one in self._each():
            one.step()

    def judged(self, loss: float) -> None:
        """Hear the dev loss of an epoch (the training loss where there is no dev)."""
        self.plateau.judged(loss)

    def state(self) -> dict[str, Tensor]:
        """Give everything that a checkpoint needs."""
        packed = pack_optimiser(self.main, self._order)
        found = {f"optimiser.{key}": part for key, part in packed.items()}
        if self.extra is not None:
            found |= {f"extra.{key}": part for key, part in pack_optimiser(self.extra).items()}
        return found | {"plateau": self.plateau.state()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        unpack_optimiser(self.main, under("optimiser", tensors), self._order)
        if self.extra is not None:
            unpack_optimiser(self.extra, under("extra", tensors))
        self.plateau.restore(tensors["plateau"])

    def _each(self) -> Iterable[Optimiser]:
        return (self.main,) if self.extra is None else (self.main, self.extra)


def _groups(parts: Sequence[RateGroup]) -> list[dict[str, Any]]:
    """Group parameters by their rate and by whether their weights decay."""
    groups: list[dict[str, Any]] = []
    for parameters, share in parts:
        groups += [
            {"params": [p for p in parameters if p.ndim >= 2], "share": share},
            {"params": [p for p in parameters if p.ndim < 2], "share": share, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def _kinds(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Part shares of sharded parameters from whole ones: no kernel takes both at once."""
    shares = [one for one in group["params"] if is_shard(one)]
    others = [one for one in group["params"] if not is_shard(one)]
    return [{**group, "params": params} for params in (shares, others) if params]


def _make(options: TrainerOptions, kept: Sequence[dict[str, Any]]) -> Optimiser:
    device = next((p.device.type for group in kept for p in group["params"]), "cpu")
    common: dict[str, Any] = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
    if options.optimiser == "sgd":
        # Fused SGD stops at a parameter that gets its first gradient later than another one.
        return torch.optim.SGD(kept, momentum=options.momentum, foreach=True, **common)
    if device == "cpu" and not any(is_shard(one) for group in kept for one in group["params"]):
        return FusedAdam(kept, decoupled=options.optimiser == "adamw", **common)
    kind = torch.optim.Adam if options.optimiser == "adam" else torch.optim.AdamW
    return kind(kept, fused=device in ("cpu", "cuda"), **common)
