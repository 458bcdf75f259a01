"""Audio-video emotion alignment: the same emotion is near in every modality.

Li et al., "Enhancing Modal Fusion by Alignment and Label Matching for Multimodal Emotion
Recognition", Interspeech 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.layers.alignment import cosines
from emofuse.layers.gather import gather_rows, own_rows, process_count
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["AVEL", "AVELOptions", "Aligned", "aligned", "avel", "contrast"]

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Aligned:
    """Projections of one modality.

    Attributes:
        rows: ``(batch, dim)`` of length 1.
        present: ``(batch,)`` bool: which items have the modality.
    """

    rows: Tensor
    present: Tensor


def contrast(
    similarities: Tensor, positives: Tensor, candidates: Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """Give ``- sum_{j in P(i)} log softmax_j(s_i)`` of every row.

    Args:
        similarities: ``(rows, columns)``, temperature included.
        positives: ``(rows, columns)`` bool, ``P(i)``.
        candidates: ``(rows, columns)`` bool: the columns of the softmax.
        reduction: ``mean`` divides each row by ``|P(i)|``, as Khosla et al. (2020, eq. 2); ``sum``
            does not, so that the value grows with the batch (the released Foal-Net).

    Returns:
        ``(rows,)``; 0 where a row has no positive.
    """
    positives = positives & candidates
    kept = similarities.masked_fill(~candidates, torch.finfo(similarities.dtype).min)
    surprise = -torch.log_softmax(kept, dim=1).masked_fill(~positives, 0.0)
    total = surprise.sum(dim=1)
    return total if reduction == "sum" else total / positives.sum(dim=1).clamp_min(1)


def avel(
    parts: Mapping[str, Aligned],
    labels: Tensor,
    scale: Tensor,
    *,
    reduction: Reduction = "mean",
    pairs: Literal["cross", "within"] = "cross",
    differentiable: bool = True,
) -> Tensor:
    """Pull together what has the same label.

    The average of both directions (Foal-Net, AVEL). A positive is every item of the global batch
    with the row's label, its own counterpart included. Items that lack a modality are neither rows
    nor columns of it; rows without a positive are left out of the average.

    Args:
        parts: modality -> projections of this process's items.
        labels: ``(batch,)`` long.
        scale: factor of the similarities, a scalar.
        reduction: see `contrast`.
        pairs: ``cross``: one modality against the other; ``within``: each against itself, without
            the item's own column (supervised contrast of Khosla et al. 2020).
        differentiable: whether the gradient reaches the columns of other processes, which makes
            it the gradient of one process with the same global batch.

    Returns:
        A scalar. Its average over the processes is the value of one process.
    """
    names = list(parts)
    columns = {
        name: Aligned(
            gather_rows(part.rows, differentiable), gather_rows(part.present, differentiable=False)
        )
        for name, part in parts.items()
    }
    everyone = gather_rows(labels)
    own = _own_columns(labels)
    sums = []
    for name in names:
        for other in [name] if pairs == "within" else [one for one in names if one != name]:
            same = labels[:, None] == everyone[None, :]
            candidates = columns[other].present[None, :].expand_as(same)
            if pairs == "within":
                candidates = candidates & ~own
            rows = parts[name].present & (same & candidates).any(dim=1)
            values = contrast(
                cosines(parts[name].rows, columns[other].rows) * scale, same, candidates, reduction
            )
            count = gather_rows(rows).sum().clamp_min(1)
            sums.append(values.masked_fill(~rows, 0.0).sum() * process_count() / count)
    return torch.stack(sums).mean()


def _own_columns(labels: Tensor) -> Tensor:
    """``(batch, global batch)`` bool: which column is the row itself."""
    everyone = torch.arange(len(gather_rows(labels)), device=labels.device)
    return everyone[None, :] == own_rows(labels)[:, None]


def aligned(output: EmotionOutput, loss: str) -> dict[str, Aligned]:
    """Take the projections out of a model's output.

    Args:
        output: of a model that gives ``projection:<modality>`` and ``present:<modality>``.
        loss: who asks, for the message.

    Raises:
        OptionError: the model gives none.
    """
    found = {
        key.partition(":")[2]: Aligned(part, output.extras[f"present:{key.partition(':')[2]}"])
        for key, part in output.extras.items()
        if key.startswith("projection:")
    }
    if not found:
        raise OptionError(
            f"the loss {loss!r} needs a model with projections (foal-net with avel: true); "
            "this one gives none"
        )
    return found


class AVELOptions(Options):
    """Options of `AVEL`. The temperature is an option of the model, which owns the parameter.

    Attributes:
        reduction: ``mean`` over a row's positives, or ``sum`` (the released code).
        pairs: ``cross`` or ``within`` (see `avel`).
        gather: ``differentiable``, or ``plain``: other processes' columns carry no gradient (the
            released code).
    """

    reduction: Reduction = "mean"
    pairs: Literal["cross", "within"] = "cross"
    gather: Literal["differentiable", "plain"] = "differentiable"


class AVEL(LossTerm):
    """Label-aware contrast between the modalities (see `avel`)."""

    options_type = AVELOptions
    gathers = True

    def __init__(self, options: AVELOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.chosen = options

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch.

        Raises:
            OptionError: the model gives no projections, or one modality's for ``pairs: cross``.
        """
        parts = aligned(output, "avel")
        if len(parts) < 2 and self.chosen.pairs == "cross":
            raise OptionError(
                "the loss 'avel' with pairs: cross needs two modalities; set pairs: within"
            )
        return avel(
            parts,
            targets.labels,
            output.extras["scale"],
            reduction=self.chosen.reduction,
            pairs=self.chosen.pairs,
            differentiable=self.chosen.gather == "differentiable",
        )
