"""Cross-entropy: label smoothing, class weights, soft labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from emofuse.errors import OptionError, nearest_hint
from emofuse.labels import canonical
from emofuse.losses.contract import LossContext, LossTerm, Targets
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["CrossEntropy", "CrossEntropyOptions", "class_weights", "cross_entropy"]

WeightScheme = Literal["none", "balanced", "effective"]


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    soft: Tensor | None = None,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Average ``- sum_c w_c q_c log p_c`` over the items.

    The sum is divided by the number of items, not by the sum of their weights, so that every
    batch counts its classes the way the whole training set does.

    Args:
        logits: ``(batch, classes)``.
        labels: ``(batch,)`` long.
        soft: ``(batch, classes)`` shares that take the place of the labels.
        weights: ``(classes,)``.
        smoothing: share of each target spread evenly over all classes, in [0, 1).

    >>> logits = torch.log(torch.tensor([[0.5, 0.5]]))
    >>> round(float(cross_entropy(logits, torch.tensor([0]))), 4)
    0.6931
    """
    if soft is None and weights is None:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    classes = logits.shape[1]
    targets = functional.one_hot(labels, classes).float() if soft is None else soft.float()
    if smoothing:
        targets = (1.0 - smoothing) * targets + smoothing / classes
    if weights is not None:
        targets = targets * weights
    return -(targets * functional.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def class_weights(
    counts: Tensor, scheme: WeightScheme | Mapping[int, float], beta: float = 0.999
) -> Tensor | None:
    """Weigh classes by how many training items they have.

    Args:
        counts: ``(classes,)`` training items of each class.
        scheme: ``none``; ``balanced``, ``n / (present classes * n_c)``; ``effective``,
            ``1 / effective number`` of Cui et al. (2019), scaled so that the items weigh 1 on
            average; or class index -> weight, 1 for the classes not named.
        beta: of the effective number, in [0, 1).

    Returns:
        ``(classes,)`` float, 1 for a class without training items; None for ``none``.

    >>> class_weights(torch.tensor([1, 3]), "balanced")
    tensor([2.0000, 0.6667])
    """
    if scheme == "none":
        return None
    number = counts.double()
    if isinstance(scheme, Mapping):
        weights = torch.ones_like(number)
        for place, weight in scheme.items():
            weights[place] = weight
        return weights.float()
    seen = number > 0
    if scheme == "balanced":
        weights = number.sum() / (seen.sum() * number.clamp_min(1))
    else:
        weights = (1.0 - beta) / (1.0 - beta ** number.clamp_min(1))
        weights = weights * number.sum() / (weights * number).sum().clamp_min(1e-12)
    return torch.where(seen, weights, torch.ones_like(weights)).float()


class CrossEntropyOptions(Options):
    """Options of `CrossEntropy`.

    Attributes:
        smoothing: label smoothing.
        weights: ``none``, ``balanced``, ``effective``, or class name -> weight.
        beta: of ``effective``.
        soft: learn the annotators' shares instead of the label, where an utterance has votes; an
            error where none has.
    """

    smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    weights: WeightScheme | dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = "none"
    beta: float = Field(default=0.999, ge=0.0, lt=1.0)
    soft: bool = False


class CrossEntropy(LossTerm):
    """Cross-entropy against the label or the annotators' shares (see `cross_entropy`).

    Raises:
        OptionError: the weights name a class that the scheme does not have.
    """

    options_type = CrossEntropyOptions
    weights: Tensor | None

    def __init__(self, options: CrossEntropyOptions, context: LossContext) -> None:
        super().__init__(options, context)
        self.smoothing = options.smoothing
        self.soft = options.soft
        scheme: WeightScheme | Mapping[int, float]
        if isinstance(options.weights, str):
            scheme = options.weights
        else:
            scheme = _by_index(options.weights, context.classes)
        found = class_weights(context.class_counts, scheme, options.beta)
        self.register_buffer("weights", found, persistent=False)

    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch.

        Raises:
            OptionError: shares are asked for and no utterance has votes.
        """
        soft = targets.soft if self.soft else None
        if self.soft and soft is None:
            raise OptionError(
                "cross-entropy with soft: true needs the annotators' votes, and no utterance has "
                "any; set soft: false"
            )
        return cross_entropy(output.logits, targets.labels, soft, self.weights, self.smoothing)


def _by_index(weights: Mapping[str, float], classes: tuple[str, ...]) -> dict[int, float]:
    result: dict[int, float] = {}
    for name, weight in weights.items():
        word = canonical(name)
        if word not in classes:
            hint = nearest_hint(word, classes)
            raise OptionError(f"class weights name {name!r}, which is no class; {hint}")
        result[classes.index(word)] = weight
    return result
