"""A linear layer a modality, summed: the plainest model that a number can be compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.models.contract import Batch, EmotionOutput, ModelSpec
from emofuse.models.parts import PooledModel, PooledOptions, Taken, attention_maps, shares

__all__ = ["Linear", "LinearOptions"]


class LinearOptions(PooledOptions):
    """Options of `Linear`: those of `PooledOptions`."""


class Linear(PooledModel):
    """``logits = b + sum over the modalities present of (W_m x_m + b_m)``.

    The convex baseline: with mean pooling and cross-entropy it is multinomial logistic
    regression. A modality's weight is its share of the spread of the logits over the classes; it is
    given in evaluation mode alone.
    """

    options_type = LinearOptions

    def __init__(self, spec: ModelSpec, options: LinearOptions) -> None:
        super().__init__(spec, options)
        several = len(spec.dims) > 1
        self.heads = nn.ModuleDict(
            {name: nn.Linear(dim, spec.classes, bias=several) for name, dim in spec.dims.items()}
        )
        self.bias = nn.Parameter(torch.zeros(spec.classes))
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def votes(self, name: str, one: Taken) -> Tensor:
        """Give what a modality adds to the logits, ``(batch, classes)``; zeros where absent."""
        found: Tensor = self.heads[name](one.vectors) * one.present[:, None]
        return found

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch."""
        taken = self.take_in(batch)
        logits = self.bias.expand(batch.count, -1)
        spreads: dict[str, Tensor] = {}
        for name, one in taken.items():
            votes = self.votes(name, one)
            if not self.training:
                spreads[name] = votes.std(dim=1, correction=0)
            logits = logits + votes
        return EmotionOutput(
            logits,
            embeddings={name: one.vectors for name, one in taken.items()},
            weights=shares(spreads, taken) if spreads else {},
            attention=attention_maps(taken),
        )
