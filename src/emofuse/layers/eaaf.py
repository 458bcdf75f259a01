"""Two vectors into one by gates on their dimensions (EAAF), freely or as shares of a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.layers.dropout import Dropout

__all__ = ["EAAF", "ConcatFusion", "ConstrainedFusion", "Gated"]


@dataclass(frozen=True)
class Gated:
    """What a fusion gives.

    Attributes:
        fused: ``(batch, width)``.
        sizes: ``(batch,)`` for each vector, how much of it goes in, 0 or more.
        gates: name -> ``(batch, width)`` or ``(batch,)``, where there are gates.
    """

    fused: Tensor
    sizes: tuple[Tensor, ...]
    gates: dict[str, Tensor] = field(default_factory=dict)


def _block(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.GELU(), Dropout(dropout))


class ConcatFusion(nn.Module):
    """No gates: the vectors side by side, a linear layer, a norm, GELU.

    Args:
        vectors: how many there are; one alone is a layer and no fusion.
        width: size of each, and of the result.
        dropout: of the result.
    """

    def __init__(self, vectors: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(vectors * width, width)
        self.finish = nn.Sequential(nn.LayerNorm(width), nn.GELU(), Dropout(dropout))

    def forward(self, *vectors: Tensor) -> Gated:
        """Fuse ``(batch, width)`` each. A size is the norm of what the linear layer makes of it."""
        fused = self.finish(self.linear(torch.cat(vectors, dim=1)))
        parts = torch.split(self.linear.weight.detach(), self.width, dim=1)
        sizes = tuple(
            functional.linear(one.detach(), part).norm(dim=1)
            for one, part in zip(vectors, parts, strict=True)
        )
        return Gated(fused, sizes)


class EAAF(nn.Module):
    """``a1 * h1 + a2 * h2 + beta * i`` and an output block; ``*`` by dimension.

    With ``g = [h1 ; h2 ; h1 * h2]``: ``a = sigmoid(W g + b)``, one map a vector; the two gates do
    not sum to 1. ``i = drop(gelu(norm(W (h1 * h2) + b)))``; ``beta`` is learned, from 0.5.

    Args:
        width: size of the vectors.
        dropout: of the interaction and of the result.
        pinned: the released gates, ``sigmoid(norm(W g + b))``: the norm pins their mean over the
            dimensions to about 0.5, so that they cannot prefer one vector to the other.
    """

    def __init__(self, width: int, dropout: float, *, pinned: bool) -> None:
        super().__init__()
        self.gates = nn.ModuleList(_gate(width, pinned=pinned) for _ in range(2))
        self.interaction = _block(width, width, dropout)
        self.beta = nn.Parameter(torch.tensor(0.5))
        self.output = _block(width, width, dropout)

    def forward(self, first: Tensor, second: Tensor) -> Gated:
        """Fuse ``(batch, width)`` and ``(batch, width)``. A size is the norm of what is let in."""
        product = first * second
        seen = torch.cat([first, second, product], dim=1)
        open_first, open_second = (torch.sigmoid(gate(seen)) for gate in self.gates)
        kept = (open_first * first, open_second * second)
        whole = kept[0] + kept[1] + self.beta * self.interaction(product)
        sizes = tuple(one.detach().norm(dim=1) for one in kept)
        return Gated(self.output(whole), sizes, {"first": open_first, "second": open_second})


def _gate(width: int, *, pinned: bool) -> nn.Module:
    linear = nn.Linear(3 * width, width)
    return nn.Sequential(linear, nn.LayerNorm(width)) if pinned else linear


class ConstrainedFusion(nn.Module):
    """``(a1 h1 + a2 h2 + a3 h1 * h2) * s`` and an output block, where ``a1 + a2 + a3 = 1``.

    The shares are ``softmax(net(g) / temperature)`` with ``g`` as in `EAAF` and one hidden layer;
    ``s = sigmoid(W g + b)`` by dimension.

    Args:
        width: size of the vectors.
        dropout: of the hidden layer and of the result.
        temperature: above 1 the shares are more even.
    """

    def __init__(self, width: int, dropout: float, temperature: float = 1.0) -> None:
        super().__init__()
        self.shares = nn.Sequential(*_block(3 * width, width, dropout), nn.Linear(width, 3))
        self.scale = nn.Linear(3 * width, width)
        self.output = _block(width, width, dropout)
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor) -> Gated:
        """Fuse ``(batch, width)`` and ``(batch, width)``. A size is the vector's share."""
        product = first * second
        seen = torch.cat([first, second, product], dim=1)
        shares = torch.softmax(self.shares(seen) / self.temperature, dim=1)
        one, two, both = shares.unsqueeze(2).unbind(dim=1)
        whole = (one * first + two * second + both * product) * torch.sigmoid(self.scale(seen))
        names = ("first", "second", "interaction")
        gates = dict(zip(names, shares.unbind(dim=1), strict=True))
        return Gated(self.output(whole), (shares[:, 0], shares[:, 1]), gates)
