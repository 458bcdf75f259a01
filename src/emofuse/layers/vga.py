"""Cross-attention that is told how near two tokens are in valence, arousal and dominance (VGA)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.layers.attention import MultiHeadAttention
from emofuse.layers.dropout import Dropout

__all__ = ["CrossBlock", "CrossLayer", "Crossed", "Guidance", "Strength", "StrengthKind"]

StrengthKind = Literal["free", "positive", "fixed"]
DIMENSIONS = 3


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    """Four times the width and back, with GELU and two dropouts."""
    return nn.Sequential(
        nn.Linear(width, 4 * width),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(4 * width, width),
        Dropout(dropout),
    )


class Guidance(nn.Module):
    """A bias on attention scores: ``lambda * M``, ``M_ij = - | v(x_i) - v(y_j) |``.

    ``v(u) = tanh(W2 gelu(W1 u + b1) + b2)`` is one map for both sides, into [-1, 1] cubed, so that
    ``M`` lies in [-2 sqrt 3, 0].

    Args:
        width: size of the tokens.
        strength: lambda, at the start of training where it is learned.
        kind: ``free`` (learned, of any sign), ``positive`` (learned as ``softplus`` of a
            parameter, so that distance never attracts) or ``fixed``.
    """

    def __init__(self, width: int, strength: float, kind: StrengthKind) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, DIMENSIONS), nn.Tanh()
        )
        self.kind = kind
        start = math.log(math.expm1(strength)) if kind == "positive" else strength
        value = torch.tensor(float(start))
        if kind == "fixed":
            self.register_buffer("raw", value)
        else:
            self.raw = nn.Parameter(value)

    @property
    def strength(self) -> Tensor:
        """Lambda, a scalar."""
        return functional.softplus(self.raw) if self.kind == "positive" else self.raw

    def forward(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compare ``(batch, n, width)`` with ``(batch, m, width)``.

        Returns:
            The bias ``(batch, n, m)``, ``v`` of the queries ``(batch, n, 3)`` and of the memory.
        """
        first, second = self.project(queries), self.project(memory)
        apart = first.unsqueeze(2) - second.unsqueeze(1)
        return -self.strength * torch.linalg.vector_norm(apart, dim=-1), first, second


class Strength(NamedTuple):
    """How strong a guidance is.

    Attributes:
        value: lambda; None = no guidance.
        kind: see `Guidance`.
    """

    value: float | None
    kind: StrengthKind


class Crossed(NamedTuple):
    """What one block gives.

    Attributes:
        values: ``(batch, n, width)``.
        weights: ``(batch, heads, n, m)``.
        places: ``v`` of queries and memory, ``(batch, n, 3)`` and ``(batch, m, 3)``, or None.
    """

    values: Tensor
    weights: Tensor
    places: tuple[Tensor, Tensor] | None


class CrossBlock(nn.Module):
    """One direction: ``norm(x + drop(attention(x, y)))``.

    Over a memory of one token the attention is 1 whatever the queries, keys and guidance say; in
    evaluation mode the block is then ``norm(x + W_O (W_V y + b_V) + b_O)``.

    Args:
        width: size of the tokens.
        heads: of the attention.
        dropout: of the attention weights and of the update.
        guidance: the bias; None = plain cross-attention.
    """

    def __init__(self, width: int, heads: int, dropout: float, guidance: Guidance | None) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads=heads, dropout=dropout)
        self.guidance = guidance
        self.norm = nn.LayerNorm(width)
        self.drop = Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None) -> Crossed:
        """Let ``(batch, n, width)`` look at the real tokens of ``(batch, m, width)``."""
        bias, places = None, None
        if self.guidance is not None:
            bias, *ends = self.guidance(queries, memory)
            places = (ends[0], ends[1])
        update, weights = self.attention(queries, memory, mask, bias)
        return Crossed(self.norm(queries + self.drop(update)), weights, places)


class CrossLayer(nn.Module):
    """Both directions at once, each from the layer's inputs, then a feed-forward part each.

    Args:
        names: the two modalities.
        width: size of the tokens.
        heads: of the attentions.
        dropout: of every part.
        strength: of the guidance.
    """

    def __init__(
        self, names: tuple[str, ...], width: int, heads: int, dropout: float, strength: Strength
    ) -> None:
        super().__init__()
        self.names = names

        def guidance() -> Guidance | None:
            return (
                None if strength.value is None else Guidance(width, strength.value, strength.kind)
            )

        self.blocks = nn.ModuleDict(
            {name: CrossBlock(width, heads, dropout, guidance()) for name in names}
        )
        self.feeds = nn.ModuleDict({name: _feed_forward(width, dropout) for name in names})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})

    def forward(self, tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Crossed]:
        """Mix: modality -> ``(batch, tokens, width)`` and ``(batch, tokens)`` bool, both ways."""
        found: dict[str, Crossed] = {}
        for name, other in zip(self.names, reversed(self.names), strict=True):
            crossed: Crossed = self.blocks[name](tokens[name], tokens[other], masks[other])
            mixed = crossed.values
            values = self.norms[name](mixed + self.feeds[name](mixed))
            found[name] = crossed._replace(values=values)
        return found
