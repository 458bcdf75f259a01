"""What every loss takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["LossContext", "LossTerm", "Targets"]


@dataclass(frozen=True)
class Targets:
    """What a batch should be.

    Attributes:
        labels: ``(batch,)`` long, the integer of the class in the scheme.
        soft: ``(batch, classes)`` shares of annotators that sum to 1, or None.
        vad: ``(batch, 3)`` on the scheme's scale, with NaN where unknown, or None.
    """

    labels: Tensor
    soft: Tensor | None = None
    vad: Tensor | None = None

    def take(self, index: Tensor) -> Targets:
        """Select items."""
        return Targets(
            self.labels[index],
            None if self.soft is None else self.soft[index],
            None if self.vad is None else self.vad[index],
        )


@dataclass(frozen=True)
class LossContext:
    """What a loss may know before training: class counts of the training items, model sizes.

    Attributes:
        class_counts: ``(classes,)`` number of training items of each class.
        embedding_dims: modality -> size of the model's embeddings, where it has them.
        classes: class names in the order of the scheme, for options that name classes.
        vad: lowest and highest value of ``valence``, ``arousal`` and ``dominance`` in the scheme.
    """

    class_counts: Tensor
    embedding_dims: dict[str, int]
    classes: tuple[str, ...] = ()
    vad: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class LossTerm(nn.Module, ABC):
    """A scalar to make small. Centres, margins and pair sampling live here, not in the network.

    Attributes:
        options_type: the options of the loss's recipe entry.
        gathers: whether it is given the share of one process, where several train together, and
            gathers what it needs for itself; the average over the processes is then its value.
            Otherwise it is given what all of them said.
    """

    gathers: ClassVar[bool] = False
    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: Options, context: LossContext) -> None:
        super().__init__()
        self.options = options

    def advance(self, done: float) -> None:
        """Told before every epoch which share of the training is over, in [0, 1)."""

    @abstractmethod
    def forward(self, output: EmotionOutput, targets: Targets) -> Tensor:
        """Give the loss of a batch, a scalar averaged over its items."""
