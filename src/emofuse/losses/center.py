"""Center loss: every class has a centre, and its items are near it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import FeatureOptions, embedding_size, read_embedding
from emofuse.models.contract import EmotionOutput

__all__ = ["Center", "CenterOptions", "center"]


def center(rows: Tensor, labels: Tensor, centres: Tensor, *, legacy: bool = False) -> Tensor:
    """Give ``1 / 2B * sum_i |z_i - c_{y_i}|^2`` (Wen et al. 2016, eq. 2, over the batch size).

    Args:
        rows: ``(items, dim)``; none = 0.
        labels: ``(items,)`` long.
        centres: ``(classes, dim)``.
        legacy: the norm of all differences together, not squared, as in the released 4M-SER. Its
            gradient is as long near a centre as far from it.

    >>> float(center(torch.tensor([[3.0, 4.0]]), torch.tensor([0]), torch.zeros(2, 2)))
    12.5
    """
    if not len(rows):
        return (rows.sum() + centres.sum()) * 0.0
    apart = rows - centres.to(rows.dtype)[labels]
    size = torch.linalg.vector_norm(apart) if legacy else apart.square().sum()
    return size / (2 * len(rows))


class CenterOptions(FeatureOptions):
    """Options of `Center`, beside ``of``.

    Attributes:
        legacy: the released form (see `center`).
    """

    legacy: bool = False


class Center(LossTerm):
    """Center loss with learned centres, drawn from N(0, 1) (see `center`).

    Raises:
        OptionError: the model does not give the embedding.
    """

    options_type = CenterOptions

    def __init__(self, options: CenterOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.of, self.legacy = options.of, options.legacy
        size = embedding_size(context, options.of, "center")
        self.centres = nn.Parameter(torch.randn(len(context.class_counts), size))

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch."""
        rows, labels = read_embedding(output, targets, self.of)
        return center(rows, labels, self.centres, legacy=self.legacy)
