"""Margin losses: cross-entropy over cosines to class vectors, made harder for the own class."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import FeatureOptions, embedding_size, read_embedding
from emofuse.models.contract import EmotionOutput

__all__ = ["ArcFace", "CosFace", "MarginOptions", "margin_cosine", "margin_loss"]

Kind = Literal["arcface", "cosface"]
SMALLEST = 1e-12  # of sin^2, so that its root has a derivative
SPREAD = 0.01  # standard deviation of the first class vectors


def margin_cosine(cosine: Tensor, kind: Kind, margin: float, *, legacy: bool = False) -> Tensor:
    """Make a cosine smaller by a margin.

    Args:
        cosine: cosines to the own class, any shape.
        kind: ``arcface``: ``cos(theta + margin)`` (Deng et al. 2019, eq. 3), and from where that
            would rise again, at ``theta > pi - margin``, ``cos theta - margin sin margin``;
            ``cosface``: ``cos theta - margin`` (Wang et al. 2018, eq. 4).
        margin: in radians, or of the cosine.
        legacy: ``arcface`` as in the released 4M-SER: it may rise again, and the gradient passes
            straight through, as if the result were the cosine.

    >>> float(margin_cosine(torch.tensor(1.0), "cosface", 0.25))
    0.75
    """
    if kind == "cosface":
        return cosine - margin
    if legacy:
        moved = torch.cos(torch.arccos(cosine.detach()) + margin)
        return cosine + (moved - cosine.detach())
    sine = (1.0 - cosine.square()).clamp_min(SMALLEST).sqrt()
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(
        cosine > math.cos(math.pi - margin), moved, cosine - margin * math.sin(margin)
    )


def margin_loss(
    rows: Tensor,
    labels: Tensor,
    vectors: Tensor,
    kind: Kind,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    legacy: bool = False,
) -> Tensor:
    """Cross-entropy over ``scale * cosine``, the own class's made smaller by a margin.

    Args:
        rows: ``(items, dim)``; none = 0.
        labels: ``(items,)`` long.
        vectors: ``(classes, dim)``, of any length.
        kind: see `margin_cosine`.
        margin: see `margin_cosine`.
        scale: factor of the cosines.
        legacy: see `margin_cosine`.

    >>> rows, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    >>> round(float(margin_loss(rows, labels, torch.eye(2), "cosface", scale=1.0)), 4)
    0.4741
    """
    if not len(rows):
        return (rows.sum() + vectors.sum()) * 0.0
    units = functional.normalize(vectors.to(rows.dtype), dim=1)
    cosines = (functional.normalize(rows, dim=1) @ units.T).clamp(-1.0, 1.0)
    own = cosines.gather(1, labels[:, None])
    harder = cosines.scatter(1, labels[:, None], margin_cosine(own, kind, margin, legacy=legacy))
    return functional.cross_entropy(harder * scale, labels)


class MarginOptions(FeatureOptions):
    """Options of `ArcFace` and `CosFace`, beside ``of``.

    Attributes:
        margin: ``arcface``: of the angle, in radians; ``cosface``: of the cosine.
        scale: factor of the cosines.
        legacy: the released form (see `margin_cosine`; of ``cosface`` it is the same).
    """

    margin: float = Field(default=0.5, ge=0.0, le=1.5)
    scale: float = Field(default=64.0, gt=0.0, allow_inf_nan=False)
    legacy: bool = False


class _Margin(LossTerm):
    """A margin loss on an embedding; the classifier's logits stay what decides.

    Raises:
        OptionError: the model does not give the embedding.
    """

    options_type = MarginOptions
    kind: ClassVar[Kind]

    def __init__(self, options: MarginOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.chosen = options
        size = embedding_size(context, options.of, self.kind)
        self.vectors = nn.Parameter(torch.randn(len(context.class_counts), size) * SPREAD)

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch."""
        rows, labels = read_embedding(output, targets, self.chosen.of)
        return margin_loss(
            rows,
            labels,
            self.vectors,
            self.kind,
            margin=self.chosen.margin,
            scale=self.chosen.scale,
            legacy=self.chosen.legacy,
        )


class ArcFace(_Margin):
    """Additive angular margin on an embedding (see `margin_loss`)."""

    kind = "arcface"


class CosFace(_Margin):
    """Additive cosine margin on an embedding (see `margin_loss`)."""

    kind = "cosface"
