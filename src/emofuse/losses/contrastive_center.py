"""Contrastive-center loss: near the own centre, far from the others."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import FeatureOptions, embedding_size, read_embedding
from emofuse.models.contract import EmotionOutput

__all__ = ["ContrastiveCenter", "ContrastiveCenterOptions", "contrastive_center"]

LEGACY_DELTA, LEGACY_SCALE = 1e-6, 10.0


def contrastive_center(
    rows: Tensor, labels: Tensor, centres: Tensor, delta: float = 1.0, *, legacy: bool = False
) -> Tensor:
    """Give ``1 / 2B * sum_i |z_i - c_{y_i}|^2 / (sum_{k != y_i} |z_i - c_k|^2 + delta)``.

    Qi and Su (2017), eq. 5, over the batch size.

    Args:
        rows: ``(items, dim)``; none = 0.
        labels: ``(items,)`` long.
        centres: ``(classes, dim)``, at least two.
        delta: keeps the denominator from 0.
        legacy: as in the released 4M-SER: one ratio of the batch's sums, ``delta`` 1e-6, ten times
            the size, and still divided by ``2B``.

    >>> rows, centres = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> float(contrastive_center(rows, torch.tensor([0]), centres))
    0.25
    """
    if not len(rows):
        return (rows.sum() + centres.sum()) * 0.0
    apart = (rows[:, None] - centres.to(rows.dtype)[None]).square().sum(dim=2)
    own = apart.gather(1, labels[:, None])[:, 0]
    others = apart.scatter(1, labels[:, None], 0.0).sum(dim=1)
    if legacy:
        ratio = own.sum() / (others.sum() + LEGACY_DELTA)
        return LEGACY_SCALE * ratio / (2 * len(rows))
    return (own / (others + delta)).mean() / 2


class ContrastiveCenterOptions(FeatureOptions):
    """Options of `ContrastiveCenter`, beside ``of``.

    Attributes:
        delta: keeps the denominator from 0; not read by the released form.
        legacy: the released form (see `contrastive_center`).
    """

    delta: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    legacy: bool = False


class ContrastiveCenter(LossTerm):
    """Contrastive-center loss with learned centres, drawn from N(0, 1).

    Raises:
        OptionError: the model does not give the embedding, or there is one class.
    """

    options_type = ContrastiveCenterOptions

    def __init__(self, options: ContrastiveCenterOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.of, self.delta, self.legacy = options.of, options.delta, options.legacy
        classes = len(context.class_counts)
        if classes < 2:
            raise OptionError("the loss 'contrastive-center' needs two classes or more")
        size = embedding_size(context, options.of, "contrastive-center")
        self.centres = nn.Parameter(torch.randn(classes, size))

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch."""
        rows, labels = read_embedding(output, targets, self.of)
        return contrastive_center(rows, labels, self.centres, self.delta, legacy=self.legacy)
