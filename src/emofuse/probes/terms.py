"""Loss terms that are constant, or whose parameters cannot train."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from emofuse.losses.contract import LossTerm, Targets
from emofuse.models.build import seeded
from emofuse.models.contract import Batch, EmotionOutput, FusionModel
from emofuse.probes.bench import Bench, answer
from emofuse.probes.verdict import Verdict, number, shown_names

__all__ = ["PROBE", "TermFinding", "judge_term", "probe"]

PROBE = "loss"
BATCHES = 4
EDGES = (0.0, -1.0)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class TermFinding:
    """What one term of the objective does.

    Attributes:
        values: its value on each batch.
        reaches: whether its gradient reaches a parameter of the model on any batch.
        stuck: its own parameters that get no gradient.
        edges: what becomes of it when training takes a scalar to 0 or -1, where that is trouble.
    """

    values: tuple[float, ...]
    reaches: bool
    stuck: tuple[str, ...]
    edges: tuple[str, ...]

    @property
    def constant(self) -> bool:
        """Whether every batch gives the same value."""
        return len(set(self.values)) == 1


def judge_term(
    term: LossTerm,
    model: FusionModel,
    batches: Sequence[tuple[Batch, Targets]],
    seed: int = 0,
) -> TermFinding:
    """Look at one term on several batches; nothing is trained.

    Args:
        term: of the objective.
        model: set to training mode.
        batches: drawn.
        seed: of dropout and of the term's own draws.
    """
    model.train()
    term.train()
    learned = [p for p in model.parameters() if p.requires_grad]
    own = {n: p for n, p in term.named_parameters() if p.requires_grad}
    moved: set[str] = set()
    values: list[float] = []
    reaches = False
    with seeded(seed):
        for place, (batch, targets) in enumerate(batches):
            term.advance(place / len(batches))
            value = term(model(batch), targets)
            values.append(float(value.detach()))
            if not value.requires_grad:
                continue
            wanted = [*learned, *own.values()]
            found = torch.autograd.grad(value, wanted, allow_unused=True)
            told = [one is not None and bool(one.any()) for one in found]
            reaches = reaches or any(told[: len(learned)])
            moved |= {n for n, there in zip(own, told[len(learned) :], strict=True) if there}
    stuck = tuple(name for name in own if name not in moved)
    return TermFinding(tuple(values), reaches, stuck, _edges(term, model, batches[0], seed))


def _edges(
    term: LossTerm, model: FusionModel, first: tuple[Batch, Targets], seed: int
) -> tuple[str, ...]:
    """Put every scalar of the term, and of the model, to 0 and -1: training may take it there."""
    model.eval()
    batch, targets = first
    usual = _value(term, answer(model, batch), targets, seed)
    own = _scalars(term)
    told = []
    for names in [*((name,) for name in own), *((tuple(own),) if len(own) > 1 else ())]:
        for edge in EDGES:
            moved = _moved(term, names, edge)
            found = _value(moved, answer(model, batch), targets, seed)
            told += _trouble(" = ".join(names), edge, found, usual)
    for name in _scalars(model):
        for edge in EDGES:
            found = _value(term, answer(_moved(model, (name,), edge), batch), targets, seed)
            if not math.isfinite(found):
                told.append(f"at the model's {name} = {edge:g} it is {found}")
    return tuple(told)


def _scalars(module: nn.Module) -> list[str]:
    return [n for n, p in module.named_parameters() if p.requires_grad and p.numel() == 1]


def _moved(module: ModuleT, names: tuple[str, ...], edge: float) -> ModuleT:
    copied = copy.deepcopy(module)
    for name, one in copied.named_parameters():
        if name in names:
            nn.init.constant_(one, edge)
    return copied


def _trouble(name: str, edge: float, found: float, usual: float) -> list[str]:
    if not math.isfinite(found):
        return [f"at {name} = {edge:g} it is {found}"]
    if found == 0.0 != usual:
        return [f"at {name} = {edge:g} it is 0 and teaches nothing"]
    if found < 0.0 < usual and edge < 0.0:
        return [f"at {name} = {edge:g} it turns negative ({number(found)})"]
    return []


def _value(term: LossTerm, output: EmotionOutput, targets: Targets, seed: int) -> float:
    try:
        with seeded(seed), torch.no_grad():
            found: Tensor = term(output, targets)
    except (RuntimeError, ValueError):  # a draw from shares that are no numbers
        return math.nan
    return float(found)


def probe(bench: Bench) -> list[Verdict]:
    """Judge every term of the recipe's objective."""
    model = bench.subject if bench.trained is None else bench.fresh()
    objective = bench.terms(model)
    batches = [bench.batch(place) for place in range(BATCHES)]
    lines: list[Verdict] = []
    for name, term in zip(objective.names, objective.terms, strict=True):
        if isinstance(term, LossTerm):
            lines += _verdicts(name, judge_term(term, model, batches, bench.seed))
    model.eval()
    return lines


def _verdicts(name: str, found: TermFinding) -> list[Verdict]:
    low, high = min(found.values), max(found.values)
    numbers = {"low": low, "high": high, "reaches": found.reaches, "stuck": list(found.stuck)}
    told: list[tuple[str, str]] = []
    if found.constant:
        told.append((f"constant: {number(low)} on every batch", "take it out of the sum"))
    elif not found.reaches:
        why = f"its gradient on the model is exactly 0 (value {number(low)} to {number(high)})"
        told.append((why, "find what detaches it, or take it out of the sum"))
    if found.stuck:
        why = f"its own parameters get no gradient: {shown_names(found.stuck)}"
        told.append((why, "make them buffers, or let the loss depend on them"))
    if found.edges:
        why = f"nothing holds its parameters back: {shown_names(found.edges, 2)}"
        told.append((why, "bound them (an exponential, a clamp), or fix them"))
    if not told:
        why = f"between {number(low)} and {number(high)}, and its gradient reaches the model"
        return [Verdict(PROBE, "ok", name, why, numbers=numbers)]
    return [Verdict(PROBE, "finding", name, why, advice, numbers) for why, advice in told]
