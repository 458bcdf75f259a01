"""Loss terms that cannot fall: the best outputs there could be leave them high."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.losses.contract import LossTerm, Targets
from emofuse.models.build import seeded
from emofuse.models.contract import EmotionOutput
from emofuse.probes.bench import Bench, answer, gather_rows
from emofuse.probes.verdict import Verdict, number

__all__ = ["PROBE", "Floor", "judge_floor", "probe"]

PROBE = "floor"
EACH = 4
"""Items of each class in the batch: four classes make the 16 of the figures in the papers."""
STEPS = 150
RATE = 0.1
SHARPER = 100.0
"""Factor of the similarities, in place of a temperature that training might yet find."""
HELD = 0.2
STILL = 0.05


@dataclass(frozen=True)
class Floor:
    """How low a term gets when what it reads may be anything.

    Attributes:
        start: its value on the outputs of the model.
        lowest: its value on the best outputs found, at the temperature that the model begins with.
        sharp: the same with similarities a hundred times as large; ``lowest`` where the term reads
            no similarities.
    """

    start: float
    lowest: float
    sharp: float

    @property
    def held(self) -> float:
        """Share of what could be learned that the temperature withholds."""
        return max(0.0, self.lowest - self.sharp) / max(self.start - self.sharp, 1e-12)

    @property
    def still(self) -> bool:
        """Whether even the best outputs hardly lower it."""
        return self.start > 0.0 and self.start - self.lowest < STILL * self.start


def judge_floor(
    term: LossTerm, output: EmotionOutput, targets: Targets, seed: int = 0
) -> Floor | None:
    """Fit logits, embeddings and projections themselves, each as free as the model leaves it.

    Rows that the model gives at length 1 stay at length 1. The term's own vectors (centres,
    margins' weights) are fitted along; its scalars and the temperature stay where they are.

    Args:
        term: of the objective; its parameters are put back afterwards.
        output: of the model, in evaluation mode.
        targets: of these items.
        seed: of the term's own draws.

    Returns:
        None where the term asks the model for other pairs, which no free output can answer, or
        depends on nothing that can be freed.
    """
    told = replace(output, rematch=None)
    try:
        with seeded(seed), torch.no_grad():
            start = float(term(told, targets))
        lowest = _fit(term, told, targets, seed)
        if lowest is None:
            return None
        sharp = lowest
        if "scale" in output.extras:
            factor = output.extras["scale"] * SHARPER
            steep = replace(told, extras={**told.extras, "scale": factor})
            found = _fit(term, steep, targets, seed)
            sharp = lowest if found is None else min(found, lowest)
    except OptionError:
        return None
    return Floor(start, lowest, sharp)


def _fit(term: LossTerm, output: EmotionOutput, targets: Targets, seed: int) -> float | None:
    free = _Free(output)
    own = {n: p for n, p in term.named_parameters() if p.requires_grad and p.numel() > 1}
    kept = {name: one.detach().clone() for name, one in own.items()}
    leaves = [*free.leaves.values(), *own.values()]
    optimiser = torch.optim.Adam(leaves, lr=RATE)
    best: float | None = None
    with seeded(seed):
        for step in range(STEPS):
            value = term(free.output(), targets)
            if not value.requires_grad:
                break
            best = float(value.detach()) if best is None else min(best, float(value.detach()))
            optimiser.param_groups[0]["lr"] = RATE * (1.0 - step / STEPS)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
    with torch.no_grad():
        for name, one in own.items():
            one.copy_(kept[name])
            one.grad = None
    return best


class _Free:
    """An output whose tensors are leaves."""

    def __init__(self, output: EmotionOutput) -> None:
        self._given = output
        groups = {
            "logits": {"": output.logits},
            "vad": {} if output.vad is None else {"": output.vad},
            "embeddings": output.embeddings,
            "extras": output.extras,
        }
        self.leaves: dict[tuple[str, str], Tensor] = {}
        self._unit: set[tuple[str, str]] = set()
        for group, parts in groups.items():
            for name, part in parts.items():
                if part.is_floating_point() and part.ndim >= 2:
                    self.leaves[group, name] = part.detach().clone().requires_grad_()
                    lengths = part.detach().norm(dim=-1)
                    if torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3):
                        self._unit.add((group, name))

    def output(self) -> EmotionOutput:
        """Put the leaves in their places."""
        given = self._given
        return replace(
            given,
            logits=self._of("logits", {"": given.logits})[""],
            vad=None if given.vad is None else torch.tanh(self._of("vad", {"": given.vad})[""]),
            embeddings=self._of("embeddings", given.embeddings),
            extras=self._of("extras", given.extras),
        )

    def _of(self, group: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = dict(parts)
        for name in parts:
            if (group, name) in self.leaves:
                leaf = self.leaves[group, name]
                unit = (group, name) in self._unit
                found[name] = torch.nn.functional.normalize(leaf, dim=-1) if unit else leaf
        return found


def probe(bench: Bench) -> list[Verdict]:
    """Judge every term of the objective on a fresh model and a batch of four items a class."""
    model = bench.fresh()
    objective = bench.terms(model)
    labels = bench.learn.targets.labels
    chosen = [(labels == one).nonzero().flatten()[:EACH] for one in range(len(bench.classes))]
    part = bench.learn.take(torch.cat(chosen))
    output = answer(model, gather_rows(bench.table, part.rows))
    objective.eval()
    lines = []
    for name, term in zip(objective.names, objective.terms, strict=True):
        if isinstance(term, LossTerm):
            lines.append(_verdict(name, judge_floor(term, output, part.targets, bench.seed)))
    return lines


def _verdict(name: str, found: Floor | None) -> Verdict:
    if found is None:
        why = "it asks the model for other pairs, or reads nothing that could be freed"
        return Verdict(PROBE, "not applicable", name, why)
    numbers = {"start": found.start, "lowest": found.lowest, "sharp": found.sharp}
    low, start = number(found.lowest), number(found.start)
    if found.held > HELD:
        why = (
            f"with the best outputs there are it falls from {start} to {low} and no lower; at a "
            f"sharper temperature to {number(found.sharp)}: {100 * found.held:.0f} % of what it "
            "could teach is out of reach"
        )
        advice = "make the temperature a factor that starts high (exp_logit_scale), or fix it low"
        return Verdict(PROBE, "finding", name, why, advice, numbers)
    if found.still:
        why = f"even with the best outputs there are it only falls from {start} to {low}"
        return Verdict(PROBE, "finding", name, why, "find what holds it up", numbers)
    why = f"the best outputs there are take it from {start} to {low}"
    return Verdict(PROBE, "ok", name, why, numbers=numbers)
