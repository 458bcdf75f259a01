"""Whether padding reaches the answer."""

from __future__ import annotations

import torch

from emofuse.models.contract import Batch, Sequences
from emofuse.probes.bench import Bench
from emofuse.probes.precision import Precise, precise
from emofuse.probes.verdict import Verdict, number

__all__ = ["PROBE", "pad", "padding_effect", "probe"]

PROBE = "padding"
MORE = 7
LOUD = 10.0


def pad(batch: Batch, name: str, frames: int, fill: float, seed: int = 0) -> Batch:
    """Give one modality more padded frames, and fill all its padding.

    Args:
        batch: items of different lengths.
        name: of the modality.
        frames: how many frames more.
        fill: standard deviation of what goes into the padding; 0 = zeros.
        seed: of the draws.
    """
    part = batch.modalities[name]
    size, _, dim = part.values.shape
    values = torch.cat([part.values, part.values.new_zeros(size, frames, dim)], dim=1)
    mask = torch.cat([part.mask, part.mask.new_zeros(size, frames)], dim=1)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(values.shape, generator=generator).to(values.dtype) * fill
    values = torch.where(mask[..., None], values, noise)
    return Batch({**batch.modalities, name: Sequences(values, mask)})


def padding_effect(
    model: Precise, batch: Batch, name: str, frames: int = MORE, fill: float = 0.0
) -> float:
    """Measure how far more padding moves the logits, as a share of their spread."""
    before = model.logits(batch)
    after = model.logits(pad(batch, name, frames, fill))
    return float((after - before).abs().max()) / max(float(before.std()), 1e-12)


def probe(bench: Bench) -> list[Verdict]:
    """Judge every modality."""
    batch, _ = bench.batch(0)
    model = precise(bench.subject, batch)
    lines = []
    for name in batch.modalities:
        longer = padding_effect(model, batch, name)
        content = padding_effect(model, batch, name, MORE, LOUD)
        numbers = {"longer": longer, "content": content}
        if max(longer, content) <= model.tolerance:
            why = f"{MORE} more padded frames, empty or filled, change nothing"
            lines.append(Verdict(PROBE, "ok", name, why, numbers=numbers))
            continue
        why = (
            f"{MORE} more padded frames move the logits by {number(longer)} of their spread "
            f"(filled with noise: {number(content)})"
        )
        advice = "use the mask in every layer that mixes frames; until then: batches of one"
        lines.append(Verdict(PROBE, "finding", name, why, advice, numbers))
    return lines
