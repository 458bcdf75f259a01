"""What the networks of the Copenhagen study read and say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from emofuse.layers.dropout import Dropout
from emofuse.layers.patch_fusion import Direction

__all__ = ["Found", "Reading", "Sequence", "hidden_layer"]

Sequence = tuple[Tensor, Tensor]
"""Values ``(batch, time, dim)``, zeros outside the mask, and mask ``(batch, time)`` bool."""


@dataclass(frozen=True)
class Reading:
    """Every option of the study, resolved (see `models.copenhagen.CopenhagenOptions`)."""

    published: bool
    normalise: bool
    dropout: float
    max_frames: int
    crop: str
    masked_gap: bool
    pooling: Literal["attention", "mean"]
    patch: str
    positions: Literal["learned", "sinusoid"]
    fusion: str
    classifier: str
    text_tokens: str
    special_tokens: str
    max_tokens: int
    direction: Direction
    audio_tokens: str


@dataclass(frozen=True)
class Found:
    """What a network says.

    Attributes:
        logits: ``(batch, classes)``.
        fused: the vector that the last layer reads, ``(batch, dim)``.
        embeddings: modality -> ``(batch, dim)``.
        sizes: modality -> ``(batch,)``, how much of it enters the classifier; 0 or more.
        attention, extras: as in `EmotionOutput`.
    """

    logits: Tensor
    fused: Tensor
    embeddings: Mapping[str, Tensor]
    sizes: Mapping[str, Tensor]
    attention: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def hidden_layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    """Give a linear layer, its ReLU and its dropout."""
    return [nn.Linear(inputs, outputs), nn.ReLU(), Dropout(dropout)]
