"""Early fusion: project each modality, set them side by side, hidden layers, classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from emofuse.layers import Dropout
from emofuse.models.contract import Batch, EmotionOutput, ModelSpec
from emofuse.models.parts import PooledModel, PooledOptions, Taken, attention_maps, shares

__all__ = ["MLP", "MLPOptions"]


class MLPOptions(PooledOptions):
    """Options of `MLP`, beside those of `PooledOptions`.

    Attributes:
        hidden: width of each projection and of each hidden layer.
        layers: hidden layers after the fusion.
        dropout: share of activations dropped in training.
    """

    hidden: int = Field(default=256, ge=1, le=1 << 16)
    layers: int = Field(default=1, ge=1, le=64)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)


class MLP(PooledModel):
    """A multi-layer perceptron over all modalities at once.

    Each modality is projected to ``hidden``; in the place of an absent one stands a learned
    vector. A modality's weight is its share of the norm of what enters the first fusion layer;
    it is given in evaluation mode alone.
    """

    options_type = MLPOptions

    def __init__(self, spec: ModelSpec, options: MLPOptions) -> None:
        super().__init__(spec, options)
        width = options.hidden
        self.projections = nn.ModuleDict(
            {name: _block(dim, width, options.dropout) for name, dim in spec.dims.items()}
        )
        self.absent = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(width) / width**0.5)
                for name in (spec.dims if len(spec.dims) > 1 else ())
            }
        )
        sizes = [width * len(spec.dims), *[width] * options.layers]
        self.fusion = nn.Sequential(*(_block(size, width, options.dropout) for size in sizes[:-1]))
        self.head = nn.Linear(width, spec.classes)

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch."""
        taken = self.take_in(batch)
        embeddings = {name: self.projections[name](one.vectors) for name, one in taken.items()}
        places: list[Tensor] = []
        for name in self.spec.dims:
            if name not in taken:
                places.append(self.absent[name].expand(batch.count, -1))
            elif name in self.absent:
                there = taken[name].present[:, None]
                places.append(torch.where(there, embeddings[name], self.absent[name]))
            else:
                places.append(embeddings[name])
        fused = self.fusion(torch.cat(places, dim=1))
        return EmotionOutput(
            self.head(fused),
            embeddings={**embeddings, "fused": fused},
            weights={} if self.training else _weights(embeddings, taken),
            attention=attention_maps(taken),
        )


def _weights(embeddings: Mapping[str, Tensor], taken: Mapping[str, Taken]) -> dict[str, Tensor]:
    return shares({name: one.norm(dim=1) for name, one in embeddings.items()}, taken)


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), Dropout(dropout))
