"""Focal loss on smoothed targets, with class weights: the one of VGA-Fusion's enhanced model."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.cross_entropy import class_weights
from emofuse.losses.embedding import wide
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["FocalSmooth", "FocalSmoothOptions", "focal_smooth"]

SMALLEST = 1e-12  # of 1 - p, so that its power has a derivative


def focal_smooth(
    logits: Tensor,
    labels: Tensor,
    gamma: float = 2.0,
    smoothing: float = 0.1,
    weights: Tensor | None = None,
) -> Tensor:
    """Average ``- sum over c of w_c (1 - p_c)^gamma q_c log p_c`` over the items.

    ``q`` is ``1 - smoothing`` for the label and ``smoothing / (C - 1)`` for each other class. The
    weight is that of the class of each term, not that of the label.

    Args:
        logits: ``(batch, classes)``, two classes or more.
        labels: ``(batch,)`` long.
        gamma: 0 = smoothed cross-entropy.
        smoothing: in [0, 1).
        weights: ``(classes,)``.

    >>> logits = torch.log(torch.tensor([[0.75, 0.25]]))
    >>> round(float(focal_smooth(logits, torch.tensor([0]), 1.0, 0.0)), 4)
    0.0719
    """
    classes = logits.shape[1]
    log_p = torch.log_softmax(wide(logits), dim=1)
    rest = smoothing / (classes - 1)
    wanted = functional.one_hot(labels, classes).to(log_p.dtype) * (1.0 - smoothing - rest) + rest
    if weights is not None:
        wanted = wanted * weights.to(log_p.dtype)
    factor = (-torch.expm1(log_p)).clamp_min(SMALLEST) ** gamma
    return -(factor * wanted * log_p).sum(dim=1).mean()


class FocalSmoothOptions(Options):
    """Options of `FocalSmooth`.

    Attributes:
        gamma: how fast what is recognised already fades.
        smoothing: share of the target that goes to the other classes.
        weights: ``none`` or ``balanced`` (see `cross_entropy.class_weights`).
    """

    gamma: float = Field(default=2.0, ge=0.0, le=100.0)
    smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)
    weights: Literal["none", "balanced"] = "balanced"


class FocalSmooth(LossTerm):
    """Focal loss on smoothed targets (see `focal_smooth`)."""

    options_type = FocalSmoothOptions
    weights: Tensor | None

    def __init__(self, options: FocalSmoothOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.gamma, self.smoothing = options.gamma, options.smoothing
        found = class_weights(context.class_counts, options.weights)
        self.register_buffer("weights", found, persistent=False)

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch."""
        return focal_smooth(output.logits, targets.labels, self.gamma, self.smoothing, self.weights)
