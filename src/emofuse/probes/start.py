"""Loss terms whose value at the start is a matter of how many items share the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from emofuse.losses.contract import LossTerm, Targets
from emofuse.models.build import seeded
from emofuse.models.contract import Batch, FusionModel
from emofuse.probes.bench import Bench, answer
from emofuse.probes.companions import take_rows
from emofuse.probes.verdict import Verdict, number

__all__ = ["PROBE", "Start", "judge_start", "probe"]

PROBE = "start"
BATCHES = 4
FALLS, GROWS = 0.8, 1.7
"""Doubling the batch: a mean stays; a contrast grows as the logarithm, from 6 to 12 by 1.39; a sum
over positives by 2 and more; what is divided by the batch twice falls to a half."""


@dataclass(frozen=True)
class Start:
    """What a term says before any training.

    Attributes:
        halves: its mean over the two halves of a batch.
        whole: its value on the batch.
        items: of the batch.
    """

    halves: float
    whole: float
    items: int

    @property
    def factor(self) -> float:
        """What doubling the batch does to the value; 1 where there is no value."""
        return self.whole / self.halves if abs(self.halves) > 1e-9 else 1.0

    @property
    def by_size(self) -> bool:
        """Whether the size of the batch decides the value."""
        return not FALLS < self.factor < GROWS


def judge_start(
    term: LossTerm, model: FusionModel, batches: Sequence[tuple[Batch, Targets]], seed: int = 0
) -> Start:
    """Compare a term on batches and on their halves; nothing is trained.

    Args:
        term: of the objective, in evaluation mode.
        model: fresh.
        batches: of an even number of items each.
        seed: of the term's own draws.
    """
    whole, halves = 0.0, 0.0
    items = len(batches[0][0])

    def value(batch: Batch, targets: Targets, rows: torch.Tensor) -> float:
        output = answer(model, take_rows(batch, rows))
        with seeded(seed), torch.no_grad():
            return float(term(output, targets.take(rows)))

    for batch, targets in batches:
        everyone = torch.arange(len(batch))
        whole += value(batch, targets, everyone)
        halves += sum(value(batch, targets, half) for half in (everyone[::2], everyone[1::2])) / 2
    return Start(halves / len(batches), whole / len(batches), items)


def probe(bench: Bench) -> list[Verdict]:
    """Judge every term of the objective on a fresh model."""
    model = bench.fresh()
    objective = bench.terms(model)
    objective.eval()
    size = bench.size - bench.size % 2
    batches = [bench.batch(place, size) for place in range(BATCHES)]
    return [
        _verdict(name, judge_start(term, model, batches, bench.seed))
        for name, term in zip(objective.names, objective.terms, strict=True)
        if isinstance(term, LossTerm)
    ]


def _verdict(name: str, found: Start) -> Verdict:
    numbers = {"whole": found.whole, "halves": found.halves, "items": found.items}
    whole, halves = number(found.whole), number(found.halves)
    if not found.by_size:
        why = f"{whole} before any training, on batches of {found.items} as on their halves"
        return Verdict(PROBE, "ok", name, f"{why} ({halves})", numbers=numbers)
    way = "falls" if found.factor < 1.0 else "grows"
    why = (
        f"before any training it is {halves} on {found.items // 2} items and {whole} on "
        f"{found.items} of the same: it {way} with the batch, so that its share of the sum is "
        "decided by trainer.batch_size"
    )
    return Verdict(PROBE, "finding", name, why, "take the mean of each item's own value", numbers)
