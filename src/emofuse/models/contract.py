"""What every fusion model takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from emofuse.options import Options

__all__ = ["Batch", "EmotionOutput", "FusionModel", "ModelSpec", "Rematch", "Sequences"]

Rematch = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Fuse other pairs of the same batch: modality -> ``(pairs,)`` item numbers in, named tensors of
``(pairs, ...)`` out. It is how a loss looks at mismatched pairs that it drew itself. Where several
processes train together, the numbers count the items of all of them (`layers.gather.own_rows`) and
every process must call it."""


@dataclass(frozen=True)
class Sequences:
    """One modality of a batch.

    Attributes:
        values: ``(batch, time, dim)`` float; a pooled vector has time 1; padding holds zeros.
        mask: ``(batch, time)`` bool, True on real frames; a row without any True is an utterance
            that lacks this modality.
    """

    values: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """``(batch,)`` bool: which utterances have this modality."""
        return self.mask.any(dim=1)

    def to(self, device: torch.device | str) -> Sequences:
        """Move to a device."""
        return Sequences(self.values.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Batch:
    """Utterances side by side: modality -> sequences; an absent modality has no key."""

    modalities: Mapping[str, Sequences]

    def __len__(self) -> int:
        return self.count

    @property
    def count(self) -> int:
        """Utterances; unlike ``len`` it leaves their number free while a model is exported."""
        return next(iter(self.modalities.values())).values.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """Move to a device."""
        return Batch({name: part.to(device) for name, part in self.modalities.items()})

    def only(self, *names: str) -> Batch:
        """Keep some modalities."""
        return Batch({name: self.modalities[name] for name in names if name in self.modalities})


@dataclass(frozen=True)
class EmotionOutput:
    """What a model says of a batch.

    Attributes:
        logits: ``(batch, classes)``.
        vad: ``(batch, 3)`` valence, arousal, dominance in [-1, 1] (the recogniser puts them on
            the scheme's scale), or None.
        embeddings: modality -> ``(batch, dim)``, where the model has them; ``fused`` is the vector
            that the classifier reads.
        weights: modality -> ``(batch,)`` share of the decision in [0, 1], summing to 1 over the
            modalities present; 0 where one is absent.
        attention: name -> attention map, where the model has them.
        extras: anything a model's own loss or probe needs.
        rematch: fuses other pairs of this batch, where the model can (see `Rematch`).
    """

    logits: Tensor
    vad: Tensor | None = None
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    attention: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    rematch: Rematch | None = None


@dataclass(frozen=True)
class ModelSpec:
    """The sizes a model is built for, decided by data and scheme rather than by options.

    Attributes:
        dims: modality -> feature size, in the order of the recipe.
        classes: number of classes.
    """

    dims: Mapping[str, int]
    classes: int


class FusionModel(nn.Module, ABC):
    """Maps the features of a batch to emotions.

    It never sees labels, reads no statistic of the batch at inference, and prints nothing: an
    utterance alone and in a batch gets the same answer. (A ``published`` variant of a paper may do
    otherwise where the released code does; `emofuse probe` says so.)

    Attributes:
        options_type: the options of the model's recipe entry.
        required: modalities it cannot live without; empty = any one of its modalities suffices.
    """

    options_type: ClassVar[type[Options]] = Options
    required: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, spec: ModelSpec, options: Options) -> None:
        super().__init__()
        self.spec = spec
        self.options = options

    @abstractmethod
    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch."""

    def needs(self) -> frozenset[str]:
        """Modalities this very model cannot live without; `required` unless overridden."""
        return self.required

    def fit_normalisation(self, batch: Batch) -> None:
        """Take the statistics a model standardises by, once, from the training items alone."""

    def condense(self, batch: Batch) -> Batch:
        """Give a smaller batch that gets the same answer; the batch itself unless overridden.

        A model whose first steps learn nothing (pooling by the mean; a network without a parameter
        that learns, now that the parts which a stage freezes are frozen) takes them here, so that
        training takes them once and not once an epoch. A modality keeps its presence.
        """
        return batch
