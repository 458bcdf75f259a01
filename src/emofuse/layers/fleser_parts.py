"""What the networks of FleSER are made of (see `models.fleser`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.batch_norm import SteadyNorm, normalise_together
from emofuse.layers.dropout import Dropout
from emofuse.layers.fuzzy import Fuzzifier, Select
from emofuse.layers.gather import process_count

__all__ = [
    "Alpha",
    "AttendedEncoder",
    "Fused",
    "Norm",
    "PlainEncoder",
    "Reading",
    "SteadyBatchNorm",
    "Stream",
    "fuzzify",
    "make_head",
    "name_gate",
]

Norm = Literal["layer", "batch"]


@dataclass(frozen=True)
class Reading:
    """Every option, resolved (see `models.fleser.FleSEROptions`)."""

    published: bool
    release: str
    fusion: str
    select: Select
    raw: bool
    alpha: float
    alpha_mode: str
    width: int
    heads: int
    norm: Norm
    dropout: float
    normalise: bool


@dataclass(frozen=True)
class Stream:
    """One modality on its way.

    Attributes:
        values: ``(batch, time, dim)``.
        mask: ``(batch, time)`` bool, at least one True a row.
        present: ``(batch,)`` bool; False where a learned frame stands in.
        inputs: ``(batch, time, features)`` as they came in.
        attention: ``(batch, heads, time, time)`` where frames look at each other.
        shares: ``(batch, 5)`` of the memberships, or None.
    """

    values: Tensor
    mask: Tensor
    present: Tensor
    inputs: Tensor
    attention: Tensor | None = None
    shares: Tensor | None = None


@dataclass(frozen=True)
class Fused:
    """What a fusion gives.

    Attributes:
        vector: ``(batch, dim)``, what the classifier reads.
        sizes: modality -> ``(batch,)``, how much of it is in there; 0 or more. A fusion for which
            they are extra work leaves them out in training.
        attention, extras: as in `EmotionOutput`.
    """

    vector: Tensor
    sizes: Mapping[str, Tensor]
    attention: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class SteadyBatchNorm(SteadyNorm):
    """Batch normalisation that, for a training batch of one item, takes the running statistics.

    One item has no variance: the stock layer raises an error there.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Normalise ``(batch, dim)``."""
        if self.training and process_count() > 1:
            return normalise_together(self, values, self.momentum or 0.0)
        if self.training and len(values) == 1:
            return functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        found: Tensor = super().forward(values)
        return found


class AttendedEncoder(nn.Module):
    """Projection, ReLU, layer norm, then frames that look at each other, with a residual.

    Args:
        dim: feature size.
        reading: the options.
    """

    def __init__(self, dim: int, reading: Reading) -> None:
        super().__init__()
        width = reading.width
        self.project = nn.Sequential(
            nn.Linear(dim, width), nn.ReLU(), nn.LayerNorm(width), Dropout(reading.dropout)
        )
        self.attention = MultiHeadAttention(width, heads=reading.heads, dropout=reading.dropout)
        self.drop, self.norm = Dropout(reading.dropout), nn.LayerNorm(width)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Turn ``(batch, time, dim)`` into ``(batch, time, width)``, with the attention map."""
        projected = self.project(values)
        mixed, weights = self.attention(projected, projected, mask)
        return self.norm(projected + self.drop(mixed)), weights


class PlainEncoder(nn.Module):
    """Projection, batch norm, ReLU, of one vector an item (the first release).

    Args:
        dim: feature size.
        reading: the options.
    """

    def __init__(self, dim: int, reading: Reading) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(dim, reading.width),
            SteadyBatchNorm(reading.width),
            nn.ReLU(),
            Dropout(reading.dropout),
        )

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Turn ``(batch, 1, dim)`` into ``(batch, 1, width)``; there is no attention."""
        return self.project(values[:, 0])[:, None], None


def fuzzify(
    fuzzifier: Fuzzifier, raw: bool, stream: Stream, encoded: tuple[Tensor, Tensor | None]
) -> Stream:
    """Pass an encoded stream through a membership, chosen by its input or by its projection."""
    values, attention = encoded
    looked_at = stream.inputs if raw else values
    found, shares = fuzzifier(values, looked_at, stream.mask)
    return Stream(found, stream.mask, stream.present, stream.inputs, attention, shares)


class Alpha(nn.Module):
    """The share of one of two branches: a number, a learned number, or a gate for each item.

    Args:
        mode: ``fixed``, ``learnable`` or ``gate``.
        value: the number, and where ``learnable`` starts.
        width: size of each of the two vectors that the gate looks at.
    """

    def __init__(self, mode: str, value: float, width: int) -> None:
        super().__init__()
        self.value = value
        start = torch.tensor(value).clamp(1e-4, 1 - 1e-4)
        self.logit = nn.Parameter(torch.logit(start)) if mode == "learnable" else None
        self.gate = nn.Linear(2 * width, 1) if mode == "gate" else None

    def forward(self, text: Tensor, audio: Tensor) -> Tensor:
        """Give a share in [0, 1] of shape ``(batch, 1)`` for two ``(batch, width)``."""
        if self.gate is not None:
            return torch.sigmoid(self.gate(torch.cat([text, audio], dim=1)))
        if self.logit is not None:
            return torch.sigmoid(self.logit).expand(len(text), 1)
        return text.new_full((len(text), 1), self.value)


def name_gate(text: Tensor) -> dict[str, Tensor]:
    """Name a gate ``(batch, width)`` on text, and what it leaves to audio, for ``extras``."""
    gate = text.detach()
    return {"gate:text": gate, "gate:audio": 1 - gate}


def make_head(width: int, classes: int, norm: Norm, dropout: float) -> nn.Sequential:
    """Make the classifier: ``width``, a quarter, an eighth of it, ``classes``."""
    inner = width // 4
    return nn.Sequential(
        nn.Linear(width, inner),
        nn.LayerNorm(inner) if norm == "layer" else SteadyBatchNorm(inner),
        nn.ReLU(),
        Dropout(dropout),
        nn.Linear(inner, inner // 2),
        nn.ReLU(),
        Dropout(dropout),
        nn.Linear(inner // 2, classes),
    )
