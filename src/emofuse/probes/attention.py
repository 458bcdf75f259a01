"""Attention that looks at one key, or that is the same whatever comes in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.layers import MultiHeadAttention
from emofuse.models.contract import Batch, FusionModel, Sequences
from emofuse.probes.bench import Bench, answer
from emofuse.probes.verdict import Verdict, number

__all__ = ["PROBE", "MapFinding", "attention_maps", "judge_map", "probe"]

PROBE = "attention"
SAME = 1e-6


@dataclass(frozen=True)
class MapFinding:
    """What one attention map does.

    Attributes:
        keys: most keys that any query of any item gave weight to.
        change: largest change of a weight when the input changes and the masks do not.
    """

    keys: int
    change: float


def judge_map(first: Tensor, second: Tensor) -> MapFinding:
    """Look at one map twice: same masks, other input.

    Args:
        first: ``(batch, ..., keys)`` weights.
        second: the same for other values.
    """
    seen = first.flatten(1, -2) if first.ndim > 2 else first[:, None]
    keys = int((seen > 0).any(dim=1).sum(dim=1).max()) if seen.numel() else 0
    same_shape = first.shape == second.shape
    change = float((first - second).abs().max()) if same_shape and first.numel() else float("inf")
    return MapFinding(keys, change)


def attention_maps(model: FusionModel, batch: Batch) -> dict[str, Tensor]:
    """Collect what the model reports, and what its attention layers gave without being asked."""
    with _recorded(model) as found:
        output = answer(model, batch)
    told = {(one.data_ptr(), one.shape) for one in output.attention.values()}
    more = {n: one for n, one in found.items() if (one.data_ptr(), one.shape) not in told}
    return {**output.attention, **more}


@contextmanager
def _recorded(model: FusionModel) -> Iterator[dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _given: Any, result: Any) -> None:
            weights = result[1] if isinstance(result, tuple) and len(result) > 1 else None
            if isinstance(weights, Tensor):
                place = sum(key.split("#")[0] == name for key in found)
                found[f"{name}#{place + 1}" if place else name] = weights.detach()

        return hook

    kinds = (MultiHeadAttention, nn.MultiheadAttention)
    hooks = [
        part.register_forward_hook(keep(name))
        for name, part in model.named_modules()
        if isinstance(part, kinds)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def other_values(batch: Batch, seed: int = 0) -> Batch:
    """Give a batch of the same masks whose values belong to other items, and are drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name, part in batch.modalities.items():
        spread = part.values[part.mask].std().clamp_min(1e-6) if bool(part.mask.any()) else 1.0
        noise = torch.randn(part.values.shape, generator=generator) * spread
        parts[name] = Sequences((part.values.flip(0) + noise) * part.mask[..., None], part.mask)
    return Batch(parts)


def probe(bench: Bench) -> list[Verdict]:
    """Judge every attention map of the model."""
    batch, _ = bench.batch(0)
    first = attention_maps(bench.subject, batch)
    second = attention_maps(bench.subject, other_values(batch, bench.seed))
    if not first:
        return [Verdict(PROBE, "not applicable", "", "the model has no attention")]
    found = {n: judge_map(one, second[n]) for n, one in first.items() if n in second}
    return [*_findings(found), *_fine(found)]


def _findings(found: Mapping[str, MapFinding]) -> list[Verdict]:
    lines = []
    for name, one in found.items():
        numbers = {"keys": one.keys, "change": one.change}
        if one.keys <= 1:
            lines.append(
                Verdict(
                    PROBE,
                    "finding",
                    name,
                    "attention over one key: its weight is 1 whatever the query is",
                    "give it sequences (granularity: frames), or fuse without attention",
                    numbers,
                )
            )
        elif one.change <= SAME:
            lines.append(
                Verdict(
                    PROBE,
                    "finding",
                    name,
                    f"the weights over {one.keys} keys stay the same whatever the input is",
                    "take it for a fixed mean, or find out why queries and keys do not count",
                    numbers,
                )
            )
    return lines


def _fine(found: Mapping[str, MapFinding]) -> list[Verdict]:
    good = {n: one for n, one in found.items() if one.keys > 1 and one.change > SAME}
    if not good:
        return []
    least = min(good.values(), key=lambda one: one.change)
    return [
        Verdict(
            PROBE,
            "ok",
            f"{len(good)} of {len(found)} maps",
            f"weights follow the input (a weight moves by {number(least.change)} or more)",
            numbers={n: {"keys": one.keys, "change": one.change} for n, one in good.items()},
        )
    ]
