"""Looking at items without learning from them: logits, weights, dev metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from emofuse.evaluation.metrics import scores
from emofuse.losses.contract import Targets
from emofuse.losses.objective import Objective
from emofuse.models.contract import EmotionOutput, FusionModel
from emofuse.training.feeder import Feeder
from emofuse.training.memory import halving
from emofuse.training.parts import Part

__all__ = ["HeldOut", "Recognised", "better_is_higher", "judge", "recognise"]


@dataclass(frozen=True)
class Recognised:
    """What a model says of items, in their order, on the CPU.

    Attributes:
        logits: ``(items, classes)`` float32.
        weights: modality -> ``(items,)`` float32.
        loss: mean value of the objective, where one was given.
        extras: name -> ``(items, ...)``, what the model tells of itself, where it was asked for.
        vad: ``(items, 3)`` float32 in [-1, 1], where the model gives it.
    """

    logits: Tensor
    weights: dict[str, Tensor]
    loss: float | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    vad: Tensor | None = None


@dataclass(frozen=True)
class HeldOut:
    """What a model said of items of train and dev that it did not learn from.

    Attributes:
        part: the items.
        logits: ``(items, classes)`` float32, in their order.
        source: ``dev``, or the held-out sides of ``inner folds``.
    """

    part: Part
    logits: Tensor
    source: str


@torch.no_grad()
def recognise(
    model: FusionModel,
    feeder: Feeder,
    objective: Objective | None = None,
    targets: Targets | None = None,
    batch_size: int = 1024,
    *,
    extras: bool = False,
) -> Recognised:
    """Give logits and modality weights of every item; the model is left in evaluation mode.

    Args:
        model: on the device of the features.
        feeder: the items.
        objective: for the loss, where that is wanted.
        targets: for the loss, in the order of the items, on that device.
        batch_size: items at once.
        extras: whether to keep the model's extras that have a row an item.
    """
    model.eval()
    order: list[Tensor] = []
    logits: list[Tensor] = []
    vad: list[Tensor] = []
    weights: dict[str, list[Tensor]] = {name: [] for name in model.spec.dims}
    told: dict[str, list[Tensor]] = {}
    loss = 0.0

    def look(items: Tensor) -> tuple[Tensor, EmotionOutput]:
        return items, model(feeder.batch(items))

    batches = (found for one in feeder.in_order(batch_size) for found in halving(look, one))
    for items, output in batches:
        order.append(items)
        logits.append(output.logits.float())
        if output.vad is not None:
            vad.append(output.vad.float().cpu())
        for name, parts in weights.items():
            part = output.weights.get(name)
            parts.append(torch.zeros(len(items)) if part is None else part.float().cpu())
        if extras:
            _keep(told, output, len(items))
        if objective is not None and targets is not None:
            loss += float(objective(output, targets.take(items))[0]) * len(items)
    places = torch.argsort(torch.cat(order)).cpu()
    return Recognised(
        torch.cat(logits).cpu()[places],
        {name: torch.cat(parts)[places] for name, parts in weights.items()},
        None if objective is None or targets is None else loss / max(len(feeder), 1),
        {n: torch.cat(parts)[places] for n, parts in told.items() if len(parts) == len(order)},
        torch.cat(vad)[places] if vad else None,
    )


def _keep(told: dict[str, list[Tensor]], output: EmotionOutput, items: int) -> None:
    for name, part in output.extras.items():
        if part.ndim and len(part) == items and part.is_floating_point():
            told.setdefault(name, []).append(part.float().cpu())


def judge(labels: Tensor, predicted: Tensor, classes: int) -> dict[str, float]:
    """Score ``(items,)`` class indices on the CPU: ``ua``, ``wa``, ``wf1``, ``mf1``."""
    found = scores(labels.numpy(), predicted.numpy(), classes)
    return {"ua": found.ua, "wa": found.wa, "wf1": found.wf1, "mf1": found.mf1}


def better_is_higher(metrics: dict[str, float], monitor: str) -> float:
    """Give the monitored metric so that more is better (a loss changes its sign)."""
    return -metrics["loss"] if monitor == "loss" else metrics[monitor]
