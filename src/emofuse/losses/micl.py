"""MICL: the two modalities of an utterance find each other among those of a batch."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.losses.embedding import wide
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["MICL", "MICLOptions", "hard_margin", "info_nce", "label_pull"]

EXTRA = "micl:"
MARGIN, PULL = 0.5, 0.1  # factors of the two terms
CROWD = 0.5  # share of a batch that are hard negatives at the end
SameLabel = Literal["negatives", "pull", "positives"]


def info_nce(scores: Tensor, labels: Tensor | None = None) -> Tensor:
    """Average the cross-entropy of finding one's own pair, both ways.

    ``(1/2) (CE(S, diagonal) + CE(S', diagonal))``. With labels every pair of equal labels is to be
    found: the mean of ``- log softmax S`` over them (Khosla et al. 2020, eq. 2, across modalities).

    Args:
        scores: ``(items, items)``, similarities over the temperature, own pairs on the diagonal.
        labels: ``(items,)`` long, or None.

    >>> round(float(info_nce(torch.zeros(2, 2))), 4)
    0.6931
    """
    items = len(scores)
    if labels is None:
        wanted = torch.eye(items, dtype=scores.dtype, device=scores.device)
    else:
        wanted = (labels[:, None] == labels[None, :]).to(scores.dtype)
        wanted = wanted / wanted.sum(dim=1, keepdim=True)
    both = log_softmax(scores, dim=1) + log_softmax(scores.T, dim=1)
    return -(wanted * both).sum() / (2 * items)


def label_pull(scores: Tensor, labels: Tensor) -> Tensor:
    """Give minus the mean score over ordered pairs of two items with one label; 0 without any.

    It has no lower bound but that of the scores (``-1 / temperature``), and it works against
    `info_nce` without labels, to which these pairs are negatives.

    Args:
        scores: ``(items, items)``.
        labels: ``(items,)`` long.
    """
    same = (labels[:, None] == labels[None, :]).fill_diagonal_(False)
    if not bool(same.any()):
        return scores.sum() * 0.0
    return -scores[same].mean()


def hard_margin(
    scores: Tensor, sharpness: Tensor, margin: float, count: int, legal: Tensor | None = None
) -> Tensor:
    """Keep the hardest negatives of each row below its own pair: a weighted hinge.

    ``mean over i of sum over j of w_ij max(0, S_ij + margin - S_ii)``, where ``j`` goes over the
    ``count`` largest scores of the row and ``w = softmax(sharpness)`` over these.

    Args:
        scores: ``(items, items)``, own pairs on the diagonal.
        sharpness: ``(items, items)``, larger = more weight.
        margin: in units of the scores.
        count: negatives a row, at least 1; fewer where fewer are legal.
        legal: ``(items, items)`` bool, which pairs may be negatives; None = all but own ones.
    """
    items = len(scores)
    own = torch.eye(items, dtype=torch.bool, device=scores.device)
    allowed = ~own if legal is None else legal & ~own
    rows = allowed.any(dim=1)
    if not bool(rows.any()):
        return scores.sum() * 0.0
    hidden = scores.masked_fill(~allowed, float("-inf"))
    hardest, places = hidden.topk(min(count, items - 1), dim=1)
    real = hardest.isfinite()
    shares = sharpness.gather(1, places).masked_fill(~real, torch.finfo(scores.dtype).min)
    weights = torch.softmax(shares, dim=1) * real
    gaps = (hardest.masked_fill(~real, 0.0) + margin - scores.diagonal()[:, None]).clamp_min(0.0)
    return (weights * gaps).sum(dim=1)[rows].mean()


class MICLOptions(Options):
    """Options of `MICL`.

    Attributes:
        temperature: of the similarities.
        same_label: pairs of two items with one label are ``negatives``, ``positives`` (see
            `info_nce`), or negatives that are pulled together by 0.1 times `label_pull`, as in
            the released code (``pull``).
        hard: add half of `hard_margin` over a quarter of the batch, growing to half of it.
        margin: of the hinge, in cosine (legacy: in cosine over the temperature).
        legacy: the released forms: items of one label may be hard negatives, the hinge is on
            scores that are over the temperature already, and their weights take it twice.
    """

    temperature: float = Field(default=0.07, gt=0.0, allow_inf_nan=False)
    same_label: SameLabel = "negatives"
    hard: bool = False
    margin: float = Field(default=0.3, ge=0.0, allow_inf_nan=False)
    legacy: bool = False


class MICL(LossTerm):
    """Contrast between a model's two projections, ``extras["micl:<modality>"]``.

    Items that lack a modality (``extras["present:<modality>"]``) take no part; a batch of fewer
    than two others is worth 0.
    """

    options_type = MICLOptions

    def __init__(self, options: MICLOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.chosen = options
        self.done = 0.0

    def advance(self, done: float) -> None:
        """More of the batch counts as hard negatives as training goes on."""
        self.done = done

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch.

        Raises:
            OptionError: the model gives no two projections.
        """
        first, second, labels = _pairs(output, targets.labels)
        if len(first) < 2:
            return (first.sum() + second.sum()) * 0.0
        chosen = self.chosen
        with torch.autocast(first.device.type, enabled=False):
            cosines = normalize(wide(first), dim=1) @ normalize(wide(second), dim=1).T
            scores = cosines / chosen.temperature
            total = info_nce(scores, labels if chosen.same_label == "positives" else None)
            if chosen.same_label == "pull":
                total = total + PULL * label_pull(scores, labels)
            if chosen.hard:
                total = total + MARGIN * self._hard(cosines, scores, labels)
        return total

    def _hard(self, cosines: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        count = max(1, int(len(scores) * CROWD * (0.5 + 0.5 * self.done)))
        if self.chosen.legacy:
            sharpness = scores / self.chosen.temperature
            return hard_margin(scores, sharpness, self.chosen.margin, count)
        other = labels[:, None] != labels[None, :]
        return hard_margin(cosines, scores, self.chosen.margin, count, other)


def _pairs(output: EmotionOutput, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    names = [name.removeprefix(EXTRA) for name in output.extras if name.startswith(EXTRA)]
    if len(names) != 2:
        raise OptionError(
            "the loss 'micl' needs a model with two projections to contrast (vga-fusion with "
            f"micl: true and two modalities); this one gives {', '.join(names) or 'none'}"
        )
    first, second = (output.extras[f"{EXTRA}{name}"] for name in names)
    there = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    for name in names:
        there = there & output.extras.get(f"present:{name}", there)
    if bool(there.all()):
        return first, second, labels
    return first[there], second[there], labels[there]
