"""Focal loss: what is recognised already counts less."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import wide
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["Focal", "FocalOptions", "focal"]

SMALLEST = 1e-12  # of 1 - p, so that its power has a derivative


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, *, legacy: bool = False) -> Tensor:
    """Average ``- (1 - p_t)^gamma log p_t`` (Lin et al. 2017, eq. 4).

    Args:
        logits: ``(batch, classes)``.
        labels: ``(batch,)`` long.
        gamma: 0 = cross-entropy.
        legacy: no gradient through the factor, as in the released 4M-SER: the same value, another
            gradient.

    >>> logits = torch.log(torch.tensor([[0.75, 0.25]]))
    >>> round(float(focal(logits, torch.tensor([0]), 1.0)), 4)
    0.0719
    """
    surprise = torch.log_softmax(wide(logits), dim=1)
    chosen = surprise.gather(1, labels[:, None])[:, 0]
    factor = (-torch.expm1(chosen)).clamp_min(SMALLEST) ** gamma
    if legacy:
        factor = factor.detach()
    return -(factor * chosen).mean()


class FocalOptions(Options):
    """Options of `Focal`.

    Attributes:
        gamma: how fast well recognised items fade.
        legacy: the released form (see `focal`).
    """

    gamma: float = Field(default=2.0, ge=0.0, le=100.0)
    legacy: bool = False


class Focal(LossTerm):
    """Focal loss on the logits (see `focal`)."""

    options_type = FocalOptions

    def __init__(self, options: FocalOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.gamma, self.legacy = options.gamma, options.legacy

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch."""
        return focal(output.logits, targets.labels, self.gamma, legacy=self.legacy)
