"""Parameters that no gradient reaches in training, and features it does not reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from emofuse.losses.contract import Targets
from emofuse.losses.objective import Objective
from emofuse.models.build import seeded
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.probes.bench import RATE, Bench
from emofuse.probes.verdict import Verdict, shown_names

__all__ = ["PROBE", "Reach", "gradient_reach", "probe"]

PROBE = "gradient"
BATCHES = 4


@dataclass(frozen=True)
class Reach:
    """Where the gradient of the objective goes.

    Attributes:
        total: number of parameters that are to be trained.
        unused: name -> size of parameters that no loss depends on (no path at all).
        blocked: name -> size of parameters on a path whose gradient is exactly 0.
        frozen: number of parameters that are not to be trained.
        inputs: modality -> ``reached``, ``blocked`` (exactly 0) or ``unused`` (no path).
    """

    total: int
    unused: Mapping[str, int]
    blocked: Mapping[str, int]
    frozen: int
    inputs: Mapping[str, str]

    @property
    def without(self) -> int:
        """Number of parameters without gradient."""
        return sum(self.unused.values()) + sum(self.blocked.values())


@dataclass
class _Seen:
    linked: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)

    def note(self, name: str, gradient: Tensor | None) -> None:
        if gradient is not None:
            self.linked.add(name)
            if bool(gradient.any()):
                self.reached.add(name)


def gradient_reach(
    model: FusionModel,
    objective: Objective,
    batches: Sequence[tuple[Batch, Targets]],
    seed: int = 0,
) -> Reach:
    """Train for a step a batch and see which parameters and inputs ever get a gradient.

    The steps matter: what begins at zero lets no gradient through before it has moved.

    Args:
        model: is changed.
        objective: of the training.
        batches: with and without missing modalities, as in training.
        seed: of dropout.
    """
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    own = [p for p in objective.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam([*trainable.values(), *own], lr=RATE) if trainable or own else None
    parameters, inputs = _Seen(), _Seen()
    model.train()
    objective.train()
    with seeded(seed):
        for step, (batch, targets) in enumerate(batches):
            objective.advance(step / len(batches))
            watched = _watched(batch)
            loss, _ = objective(model(watched), targets)
            model.zero_grad(set_to_none=True)
            objective.zero_grad(set_to_none=True)
            if loss.requires_grad:
                loss.backward()
            for name, one in trainable.items():
                parameters.note(name, one.grad)
            for name, part in watched.modalities.items():
                inputs.note(name, part.values.grad)
            if optimiser is not None:
                optimiser.step()
    sizes = {name: one.numel() for name, one in trainable.items()}
    return Reach(
        sum(sizes.values()),
        {n: size for n, size in sizes.items() if n not in parameters.linked},
        {n: size for n, size in sizes.items() if n in parameters.linked - parameters.reached},
        sum(p.numel() for p in model.parameters() if not p.requires_grad),
        {name: _state(name, inputs) for name in model.spec.dims},
    )


def _watched(batch: Batch) -> Batch:
    return Batch(
        {
            name: Sequences(part.values.detach().clone().requires_grad_(True), part.mask)
            for name, part in batch.modalities.items()
        }
    )


def _state(name: str, seen: _Seen) -> str:
    if name in seen.reached:
        return "reached"
    return "blocked" if name in seen.linked else "unused"


def probe(bench: Bench) -> list[Verdict]:
    """Judge a fresh model under the recipe's objective."""
    model = bench.fresh()
    objective = bench.terms(model)
    batches = []
    for place in range(BATCHES):
        batch, targets = bench.batch(place)
        if bench.dropout and place % 2:
            batch = bench.lacking(batch, place)
        batches.append((batch, targets))
    reach = gradient_reach(model, objective, batches, bench.seed)
    return [*_of_parameters(reach), *_of_inputs(reach)]


def _of_parameters(reach: Reach) -> list[Verdict]:
    lines = []
    for kind, found, advice in (
        ("unused", reach.unused, "build only what the mode needs, or add the loss that trains it"),
        ("blocked", reach.blocked, "find the step that lets nothing through (one key, rounding)"),
    ):
        if not found:
            continue
        count = sum(found.values())
        what = "no loss depends on" if kind == "unused" else "get a gradient of exactly 0:"
        names = shown_names(list(found))
        why = f"{count:,} of {reach.total:,} parameters ({100 * count / reach.total:.1f} %) " + (
            f"that {what}: {names}" if kind == "unused" else f"{what} {names}"
        )
        numbers = {
            "parameters": count,
            "of": reach.total,
            "without_gradient": reach.without,
            "names": dict(found),
        }
        lines.append(Verdict(PROBE, "finding", kind, why, advice, numbers))
    if lines or not reach.total:
        return lines
    numbers = {"parameters": reach.total, "frozen": reach.frozen, "without_gradient": 0}
    why = f"the gradient reaches all {reach.total:,} parameters"
    return [Verdict(PROBE, "ok", "parameters", why, numbers=numbers)]


def _of_inputs(reach: Reach) -> list[Verdict]:
    return [
        Verdict(
            PROBE,
            "finding",
            f"{name} features",
            f"no gradient comes back to the {name} features ({state}): an encoder below them "
            "cannot be trained",
            "take out what rounds or detaches them, or call the encoder frozen",
            {"state": state},
        )
        for name, state in reach.inputs.items()
        if state != "reached"
    ]
