"""What a modality is worth: zeroed, shuffled over items, exchanged with another class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from emofuse.evaluation.metrics import scores
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.probes.bench import Bench, answer, gather_rows
from emofuse.probes.verdict import Verdict, number
from emofuse.training.parts import Part

__all__ = ["PROBE", "Change", "modality_effect", "other_class", "probe"]

PROBE = "modality"
AT_ONCE = 64
MOST = 512
NOTHING = 1e-4
FEW = 0.01


@dataclass(frozen=True)
class Change:
    """What a change of one modality does.

    Attributes:
        logits: largest change of a logit, as a share of their spread.
        answers: share of items whose answer changes.
        ua: change of UA (after minus before).
    """

    logits: float
    answers: float
    ua: float


def other_class(labels: Tensor, seed: int = 0) -> Tensor:
    """Give every item a partner of another class; itself where there is none.

    >>> other_class(torch.tensor([0, 0, 1])).tolist()[:2]
    [2, 2]
    """
    generator = torch.Generator().manual_seed(seed)
    partners = torch.arange(len(labels))
    for value in sorted(set(labels.tolist())):
        mine = torch.nonzero(labels == value).flatten()
        rest = torch.nonzero(labels != value).flatten()
        if len(rest):
            partners[mine] = rest[torch.randint(len(rest), (len(mine),), generator=generator)]
    return partners


def modality_effect(model: FusionModel, bench: Bench, part: Part, name: str) -> dict[str, Change]:
    """Zero, shuffle and swap one modality.

    Args:
        model: in evaluation mode.
        bench: holds the features.
        part: items to look at.
        name: of the modality.

    Returns:
        ``zero``, ``shuffle`` and ``swap`` (with an item of another class).
    """
    labels = part.targets.labels
    generator = torch.Generator().manual_seed(bench.seed)
    shuffled = torch.randperm(len(part), generator=generator)
    partners = {"shuffle": shuffled, "swap": other_class(labels, bench.seed)}
    before = _logits(model, bench, part.rows, {})
    found = {"zero": _logits(model, bench, part.rows, {}, silent=name)}
    for way, places in partners.items():
        found[way] = _logits(model, bench, part.rows, {name: part.rows[places]})
    classes = len(bench.classes)
    return {way: _change(before, after, labels, classes) for way, after in found.items()}


def _logits(
    model: FusionModel,
    bench: Bench,
    rows: Tensor,
    other: Mapping[str, Tensor],
    silent: str | None = None,
) -> Tensor:
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        cut = slice(start, start + AT_ONCE)
        taken = {name: places[cut] for name, places in other.items()}
        batch = gather_rows(bench.table, rows[cut], taken)
        if silent is not None and silent in batch.modalities:
            part = batch.modalities[silent]
            zeros = Sequences(torch.zeros_like(part.values), part.mask)
            batch = Batch({**batch.modalities, silent: zeros})
        parts.append(answer(model, batch).logits.float())
    return torch.cat(parts)


def _change(before: Tensor, after: Tensor, labels: Tensor, classes: int) -> Change:
    moved = (after - before).abs().max() / before.std().clamp_min(1e-12)
    first, second = before.argmax(dim=1), after.argmax(dim=1)
    gold = labels.numpy()
    gain = scores(gold, second.numpy(), classes).ua - scores(gold, first.numpy(), classes).ua
    return Change(float(moved), float((first != second).float().mean()), gain)


def probe(bench: Bench) -> list[Verdict]:
    """Judge every modality on the items to look at."""
    part = bench.look
    if len(part) > MOST:
        generator = torch.Generator().manual_seed(bench.seed)
        part = part.take(torch.randperm(len(part), generator=generator)[:MOST])
    return [
        _verdict(bench, name, modality_effect(bench.subject, bench, part, name), len(part))
        for name in bench.spec.dims
    ]


def _verdict(bench: Bench, name: str, found: Mapping[str, Change], items: int) -> Verdict:
    numbers = {way: asdict(one) for way, one in found.items()} | {"items": items}
    told = "; ".join(
        f"{way}: {100 * one.answers:.0f} % of answers, {100 * one.ua:+.1f} UA"
        if bench.trained is not None
        else f"{way}: logits move by {number(one.logits)} of their spread"
        for way, one in found.items()
    )
    still = max(one.logits for one in found.values()) <= NOTHING
    if bench.trained is not None:
        still = still or found["shuffle"].answers < FEW
    if not still:
        return Verdict(PROBE, "ok", name, told, numbers=numbers)
    advice = f"the model does not use {name}: drop it, or find out what keeps it from counting"
    return Verdict(PROBE, "finding", name, f"without effect ({told})", advice, numbers)
