"""The number that is explained, and whether the company of an utterance changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from emofuse.explain.options import ScoreKind
from emofuse.models.contract import Batch, FusionModel, Sequences

__all__ = ["Scorer", "company_effect", "repeat", "score_of", "score_words"]

SCALES = (0.0, 100.0)


def score_of(logits: Tensor, target: int, kind: ScoreKind) -> Tensor:
    """Give the score of a class, ``(batch,)``.

    Args:
        logits: ``(batch, classes)``.
        target: place of the class.
        kind: ``logit``, the class's logit less the mean of all; or ``probability``.
    """
    if kind == "probability":
        return torch.softmax(logits, dim=1)[:, target]
    return logits[:, target] - logits.mean(dim=1)


def score_words(kind: ScoreKind, name: str) -> str:
    """Name a score in words."""
    if kind == "probability":
        return f"probability of {name}"
    return f"logit of {name} less the mean of all logits"


def repeat(part: Sequences, values: Tensor) -> Sequences:
    """Give ``values`` ``(n, time, dim)`` the mask of a batch of one."""
    return Sequences(values, part.mask.expand(len(values), -1))


class Scorer:
    """The score of one utterance as a function of its features.

    Args:
        model: in evaluation mode.
        batch: the utterance, a batch of one.
        target: place of the class.
        kind: which score.
        names: modalities whose values are given, in order; the others stay.
    """

    def __init__(
        self,
        model: FusionModel,
        batch: Batch,
        target: int,
        kind: ScoreKind,
        names: Sequence[str] | None = None,
    ) -> None:
        self.model, self.batch, self.target, self.kind = model, batch, target, kind
        self.names = tuple(batch.modalities if names is None else names)

    def __call__(self, *values: Tensor) -> Tensor:
        """Score ``(n, time, dim)`` of each named modality: ``(n,)``."""
        given = dict(zip(self.names, values, strict=True))
        count = len(values[0])
        parts: dict[str, Sequences] = {}
        for name, part in self.batch.modalities.items():
            one = given.get(name, part.values.expand(count, -1, -1))
            parts[name] = repeat(part, one)
        return score_of(self.model(Batch(parts)).logits, self.target, self.kind)


def company_effect(model: FusionModel, batch: Batch) -> float:
    """Measure how far the logits of an utterance move with its company.

    The company is the utterance itself, silenced and a hundred times as loud. Models that take
    nothing of the batch give 0, up to rounding.

    Args:
        model: in evaluation mode.
        batch: a batch of one.
    """
    with torch.no_grad():
        alone = model(batch).logits[0]
        most = 0.0
        for scale in SCALES:
            both = model(with_company(batch, scale)).logits[0]
            most = max(most, float((both - alone).abs().max()))
    return most


def with_company(batch: Batch, scale: float) -> Batch:
    """Put beside a batch of one a copy of it, scaled."""
    return Batch(
        {
            name: repeat(part, torch.cat([part.values, scale * part.values]))
            for name, part in batch.modalities.items()
        }
    )


def masked_batch(batch: Batch, masks: Mapping[str, Tensor]) -> Batch:
    """Repeat a batch of one under other masks; what is masked is set to zero.

    Args:
        batch: a batch of one.
        masks: modality -> ``(n, time)`` bool, for some modalities.
    """
    count = len(next(iter(masks.values())))
    parts: dict[str, Sequences] = {}
    for name, part in batch.modalities.items():
        mask = masks.get(name, part.mask.expand(count, -1)) & part.mask
        parts[name] = Sequences(part.values.expand(count, -1, -1) * mask[..., None], mask)
    return Batch(parts)
