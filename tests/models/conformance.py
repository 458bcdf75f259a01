"""What holds for every model that reads a batch by its masks; `conform` checks all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import build_objective
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec, Sequences

__all__ = ["conform", "draw_batch", "fitted_model"]

CROSS_ENTROPY: tuple[Mapping[str, Any], ...] = ({"name": "cross-entropy"},)


def draw_batch(
    dims: Mapping[str, int],
    lengths: Mapping[str, int] | None = None,
    size: int = 8,
    seed: int = 0,
    lacking: bool = False,
) -> Batch:
    """Draw a batch of different lengths, the longest first.

    Args:
        dims: modality -> feature size.
        lengths: modality -> longest sequence; 1 = pooled (the default).
        size: items.
        seed: of the draws.
        lacking: whether the last items lack one modality each (with several modalities).
    """
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, Sequences] = {}
    names = list(dims)
    for place, (name, dim) in enumerate(dims.items()):
        longest = (lengths or {}).get(name, 1)
        drawn = torch.randint(max(1, longest // 2), longest + 1, (size,), generator=generator)
        drawn[0] = longest
        if lacking and len(names) > 1:
            drawn[size - 1 - place] = 0
        mask = torch.arange(longest)[None] < drawn[:, None]
        values = torch.randn(size, longest, dim, generator=generator) * mask[..., None]
        parts[name] = Sequences(values, mask)
    return Batch(parts)


def fitted_model(
    name: str, options: Mapping[str, Any], dims: Mapping[str, int], batch: Batch, classes: int = 4
) -> FusionModel:
    """Build a model from seed 1 and let it take its statistics from the batch."""
    model = build_model(name, options, ModelSpec(dict(dims), classes), seed=1)
    model.fit_normalisation(batch)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for one in model.parameters():
            if one.ndim >= 2 and not bool(one.any()):  # starts at zero: give it something to say
                one.copy_(torch.randn(one.shape, generator=generator) * 0.1)
    return model.eval()


def conform(
    name: str,
    options: Mapping[str, Any],
    dims: Mapping[str, int],
    lengths: Mapping[str, int] | None = None,
    *,
    classes: int = 4,
    objective: Sequence[Mapping[str, Any]] = CROSS_ENTROPY,
    missing: bool = True,
    tolerance: float = 1e-4,
) -> None:
    """Check one configuration of a model.

    Args:
        name: in `MODELS`.
        options: of the model.
        dims: modality -> feature size.
        lengths: modality -> longest sequence; 1 unless told.
        classes: number of classes.
        objective: the loss terms under which every parameter must get gradient.
        missing: whether the model answers with any subset of its modalities.
        tolerance: largest difference of logits that counts as none.
    """
    whole = draw_batch(dims, lengths)
    model = fitted_model(name, options, dims, whole, classes)
    logits = _ask(model, whole).logits
    assert logits.shape == (len(whole), classes)
    _alone_as_in_batch(model, whole, logits, tolerance)
    _padding_changes_nothing(model, whole, logits, tolerance)
    _weights_sum_to_one(_ask(model, whole))
    _loads_what_it_saves(name, options, dims, model, whole, classes)
    _runs_in_bf16(model, whole, logits)
    _same_twice(model, whole)
    missing = missing and len(dims) > 1
    if missing:
        _answers_with_any_subset(model, whole, tolerance)
    _everything_learns(model, draw_batch(dims, lengths, 12, 3, lacking=missing), objective, classes)


def take(batch: Batch, items: Tensor) -> Batch:
    """Select items, cutting off the padding that none of them needs."""
    parts = {}
    for name, part in batch.modalities.items():
        mask = part.mask[items]
        longest = max(1, int(mask.sum(dim=1).max()))
        parts[name] = Sequences(part.values[items, :longest], mask[:, :longest])
    return Batch(parts)


def _ask(model: FusionModel, batch: Batch) -> EmotionOutput:
    with torch.no_grad():
        output: EmotionOutput = model(batch)
    return output


def _alone_as_in_batch(model: FusionModel, whole: Batch, logits: Tensor, tolerance: float) -> None:
    for item in range(len(whole)):
        alone = _ask(model, take(whole, torch.tensor([item]))).logits[0]
        torch.testing.assert_close(alone, logits[item], atol=tolerance, rtol=tolerance)
    order = torch.arange(len(whole)).flip(0)
    turned = _ask(model, take(whole, order)).logits
    torch.testing.assert_close(turned, logits[order], atol=tolerance, rtol=tolerance)


def _padding_changes_nothing(
    model: FusionModel, whole: Batch, logits: Tensor, tolerance: float
) -> None:
    parts = {}
    for name, part in whole.modalities.items():
        more = torch.full((len(whole), 5, part.values.shape[2]), 7.5)
        mask = torch.cat([part.mask, torch.zeros(len(whole), 5, dtype=torch.bool)], dim=1)
        values = torch.cat([part.values, more], dim=1)
        parts[name] = Sequences(values.masked_fill(~mask[..., None], 7.5), mask)
    found = _ask(model, Batch(parts)).logits
    torch.testing.assert_close(found, logits, atol=tolerance, rtol=tolerance)


def _weights_sum_to_one(output: EmotionOutput) -> None:
    if output.weights:
        total = torch.stack(list(output.weights.values())).sum(dim=0)
        torch.testing.assert_close(total, torch.ones_like(total))


def _loads_what_it_saves(
    name: str,
    options: Mapping[str, Any],
    dims: Mapping[str, int],
    model: FusionModel,
    whole: Batch,
    classes: int,
) -> None:
    other = build_model(name, options, ModelSpec(dict(dims), classes), seed=99)
    other.load_state_dict({key: part.clone() for key, part in model.state_dict().items()})
    assert torch.equal(_ask(other.eval(), whole).logits, _ask(model, whole).logits)


def _runs_in_bf16(model: FusionModel, whole: Batch, logits: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = _ask(model, whole).logits
    assert bool(torch.isfinite(found).all())
    assert float((found.float() - logits).abs().max()) < 0.1 * (1 + float(logits.abs().max()))


def _same_twice(model: FusionModel, whole: Batch) -> None:
    assert torch.equal(_ask(model, whole).logits, _ask(model, whole).logits)


def _answers_with_any_subset(model: FusionModel, whole: Batch, tolerance: float) -> None:
    for kept in whole.modalities:
        bare = _ask(model, whole.only(kept)).logits
        assert bool(torch.isfinite(bare).all())
        hidden = Batch(
            {
                name: part
                if name == kept
                else Sequences(torch.zeros_like(part.values), torch.zeros_like(part.mask))
                for name, part in whole.modalities.items()
            }
        )
        same = _ask(model, hidden).logits
        torch.testing.assert_close(same, bare, atol=tolerance, rtol=tolerance)
        assert not torch.equal(bare, _ask(model, whole).logits)


def _everything_learns(
    model: FusionModel, batch: Batch, objective: Sequence[Mapping[str, Any]], classes: int
) -> None:
    labels = torch.arange(len(batch)) % classes
    output = _ask(model, batch)
    sizes = {name: int(part.shape[-1]) for name, part in output.embeddings.items()}
    names = ("anger", "happiness", "neutral", "sadness", "fear", "surprise", "disgust")[:classes]
    context = LossContext(torch.bincount(labels, minlength=classes), sizes, names)
    torch.manual_seed(5)
    terms = build_objective(objective, context)
    model.train()
    torch.manual_seed(6)
    total, _ = terms(model(batch), Targets(labels))
    total.backward()
    without = [
        key
        for key, one in (*model.named_parameters(), *terms.named_parameters())
        if one.requires_grad and (one.grad is None or not bool(one.grad.any()))
    ]
    model.eval()
    assert not without, f"no gradient reaches {without}"
