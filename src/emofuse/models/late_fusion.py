"""Late fusion: one classifier a modality, and a learned gate between them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from emofuse.layers import Dropout
from emofuse.models.contract import Batch, EmotionOutput, ModelSpec
from emofuse.models.parts import PooledModel, PooledOptions, Taken, attention_maps

__all__ = ["LateFusion", "LateFusionOptions"]


class LateFusionOptions(PooledOptions):
    """Options of `LateFusion`, beside those of `PooledOptions`.

    Attributes:
        hidden: width of the hidden layer of each modality.
        dropout: share of activations dropped in training.
    """

    hidden: int = Field(default=128, ge=1, le=1 << 16)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)


class LateFusion(PooledModel):
    """``logits = sum of g_m * logits_m`` with ``g`` a softmax over the modalities present.

    The gate looks at each modality's hidden layer; its value is the modality's weight. The
    logits of each modality alone are in ``extras["logits:<modality>"]``.
    """

    options_type = LateFusionOptions

    def __init__(self, spec: ModelSpec, options: LateFusionOptions) -> None:
        super().__init__(spec, options)
        width, dropout = options.hidden, options.dropout
        self.hidden = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(dim, width), nn.ReLU(), Dropout(dropout))
                for name, dim in spec.dims.items()
            }
        )
        self.heads = nn.ModuleDict({name: nn.Linear(width, spec.classes) for name in spec.dims})
        gated = spec.dims if len(spec.dims) > 1 else ()
        self.gates = nn.ModuleDict({name: nn.Linear(width, 1) for name in gated})

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch."""
        taken = self.take_in(batch)
        embeddings = {name: self.hidden[name](one.vectors) for name, one in taken.items()}
        votes = torch.stack([self.heads[name](embeddings[name]) for name in taken], dim=1)
        gates = self._gates(embeddings, taken).to(votes.dtype)
        return EmotionOutput(
            (gates[..., None] * votes).sum(dim=1),
            embeddings=embeddings,
            weights=dict(zip(taken, gates.unbind(dim=1), strict=True)),
            attention=attention_maps(taken),
            extras={f"logits:{name}": votes[:, place] for place, name in enumerate(taken)},
        )

    def _gates(self, embeddings: Mapping[str, Tensor], taken: Mapping[str, Taken]) -> Tensor:
        """Softmax over the modalities present, ``(batch, modalities)``; zeros without any."""
        present = torch.stack([one.present for one in taken.values()], dim=1)
        if not len(self.gates):
            return present
        scores = torch.cat([self.gates[name](embeddings[name]) for name in taken], dim=1)
        scores = scores.masked_fill(~present, torch.finfo(scores.dtype).min)
        return torch.softmax(scores, dim=1).masked_fill(~present, 0.0)
