"""Whether the answer to an utterance depends on what else is in its batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emofuse.models.build import seeded
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.probes.bench import Bench
from emofuse.probes.precision import Precise, precise
from emofuse.probes.verdict import Verdict, number

__all__ = ["PROBE", "Dependence", "companion_effect", "probe", "redraw", "take_rows"]

PROBE = "batch"
REDRAWS = 12
SCALES = (0.0, 0.01, 1.0, 100.0)


@dataclass(frozen=True)
class Dependence:
    """How far logits move with the company, as a share of their spread.

    Attributes:
        alone: item alone against in the batch.
        order: batch in another order.
        company: other companions, among them silent and loud ones.
    """

    alone: float
    order: float
    company: float

    @property
    def most(self) -> float:
        """The largest of them."""
        return max(self.alone, self.order, self.company)


def companion_effect(
    model: Precise, batch: Batch, items: Sequence[int], scales: Sequence[float] = SCALES
) -> Dependence:
    """Measure how much the company of an item moves its logits.

    Padding is left as it is, so that nothing but the company changes.

    Args:
        model: in 64 bits, if it can be.
        batch: several items.
        items: rows to try.
        scales: factors of the other items' features, for other company.
    """
    whole = model.logits(batch)
    spread = _spread(whole)
    order = torch.arange(len(batch)).flip(0)
    turned = model.logits(take_rows(batch, order))
    alone, company = 0.0, 0.0
    for item in items:
        bare = model.logits(take_rows(batch, torch.tensor([item])))
        alone = max(alone, _most(bare[0] - whole[item]))
        for scale in scales:
            found = model.logits(_with_company(batch, item, scale))
            company = max(company, _most(found[0] - whole[item]))
    return Dependence(alone / spread, _most(turned - whole[order]) / spread, company / spread)


def take_rows(batch: Batch, rows: Tensor) -> Batch:
    """Select items; the padding stays."""
    return Batch({n: Sequences(p.values[rows], p.mask[rows]) for n, p in batch.modalities.items()})


def _with_company(batch: Batch, item: int, scale: float) -> Batch:
    """Put an item first and scale the others."""
    rest = [row for row in range(len(batch)) if row != item]
    chosen = take_rows(batch, torch.tensor([item, *rest]))
    factor = torch.full((len(batch), 1, 1), scale)
    factor[0] = 1.0
    return Batch({n: Sequences(p.values * factor, p.mask) for n, p in chosen.modalities.items()})


def _most(values: Tensor) -> float:
    return float(values.abs().max())


def _spread(logits: Tensor) -> float:
    return max(float(logits.std()), 1e-12)


def redraw(model: FusionModel, seed: int) -> FusionModel:
    """Give a copy with other weights: as training on other data might have left them.

    Matrices are drawn with the spread they have, vectors (gains, offsets) with a spread of 1.
    """
    copied = copy.deepcopy(model)
    with seeded(seed), torch.no_grad():
        for one in copied.parameters():
            if one.ndim >= 2:
                size = max(float(one.std()), one.shape[-1] ** -0.5)
                one.copy_(torch.randn_like(one) * size)
            elif one.numel() > 1:
                one.copy_(torch.randn_like(one))
    return copied


def probe(bench: Bench) -> list[Verdict]:
    """Look at the model as it is and at others of the same build."""
    batch, _ = bench.batch(0)
    items = range(0, len(batch), max(1, len(batch) // 4))
    model = precise(bench.subject, batch)
    found = companion_effect(model, batch, items)
    numbers: dict[str, float] = {
        "alone": found.alone,
        "order": found.order,
        "company": found.company,
    }
    if found.most > model.tolerance:
        return [_finding(found, numbers, model.tolerance)]
    moved = []
    for place in range(REDRAWS):
        drawn = precise(redraw(bench.subject, bench.seed + place), batch)
        other = companion_effect(drawn, batch, items, ())
        if other.most > drawn.tolerance:  # NaN is no evidence
            moved.append(other.most)
    if moved:
        return [_hidden_finding(moved, numbers)]
    share = number(model.tolerance)
    why = f"alone, in any order and in any company the same (to {share} of the spread)"
    return [Verdict(PROBE, "ok", "company", why, numbers=numbers)]


ADVICE = "take statistics of the item, not of the batch; until then recognise one item at a time"


def _finding(found: Dependence, numbers: dict[str, float], tolerance: float) -> Verdict:
    ways = {
        "alone": found.alone,
        "in another order": found.order,
        "in other company": found.company,
    }
    told = ", ".join(f"{name} by {number(v)}" for name, v in ways.items() if v > tolerance)
    why = f"the logits of an utterance change {told} (shares of their spread)"
    return Verdict(PROBE, "finding", "company", why, ADVICE, numbers)


def _hidden_finding(moved: Sequence[float], numbers: dict[str, float]) -> Verdict:
    why = (
        f"not with these weights, but with {len(moved)} of {REDRAWS} other draws of them the "
        f"company changes the logits (by up to {number(max(moved))} of their spread)"
    )
    numbers = {**numbers, "redrawn": float(len(moved)), "redrawn_most": max(moved)}
    return Verdict(PROBE, "finding", "company", why, ADVICE, numbers)
