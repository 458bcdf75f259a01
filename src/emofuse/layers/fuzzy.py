"""Fuzzy memberships, and the rules that choose one by the shape of what they look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from emofuse.layers.branches import surely_all, surely_none
from emofuse.layers.pooling import zero_padding

__all__ = [
    "MEMBERSHIPS",
    "RULES",
    "Fuzzifier",
    "Select",
    "Shape",
    "choose",
    "membership",
    "normalise",
    "shape_of",
]

Select = Literal[
    "batch_rule",
    "sample_rule",
    "soft_mixture",
    "none",
    "sigmoid",
    "tanh",
    "linear",
    "gaussian",
    "piecewise",
]
RULES = ("batch_rule", "sample_rule", "soft_mixture")
"""Selections that look at their input; the others are fixed."""
SMALL = 1e-5


def _piecewise(values: Tensor) -> Tensor:
    inside = values.clamp(0, 1)
    upper = torch.where(inside < 0.7, 0.5 + 0.5 * inside, torch.full_like(inside, 0.9))
    return torch.where(inside < 0.3, 0.2 * inside, upper)


_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda values: torch.sigmoid(values.clamp(-4, 4)),
    "tanh": lambda values: torch.tanh(values.clamp(-2, 2)),
    "linear": lambda values: functional.softplus(values).clamp(0, 1),
    "gaussian": lambda values: torch.exp(-((values.clamp(0, 1) - 0.5) ** 2) / (2 * 0.15**2)),
    "piecewise": _piecewise,
}
MEMBERSHIPS = tuple(_FUNCTIONS)
"""Names of the memberships, in the order in which they are numbered."""


def membership(kind: str, values: Tensor) -> Tensor:
    """Apply one membership, value by value, to what `normalise` gave.

    Args:
        kind: one of `MEMBERSHIPS`. ``tanh`` lies in [-0.964, 0.964], the others in [0, 1];
            ``piecewise`` jumps at 0.3 and 0.7.
        values: any shape.

    >>> membership("piecewise", torch.tensor([-1.0, 0.2, 0.5, 2.0]))
    tensor([0.0000, 0.0400, 0.7500, 0.9000])
    """
    return _FUNCTIONS[kind](values)


def normalise(values: Tensor) -> Tensor:
    """Give every vector of ``(..., dim)`` mean 0 and unbiased deviation 1 over its features."""
    centred = values - values.mean(dim=-1, keepdim=True)
    # The norm is several times faster than `std`, and has a gradient where it is 0.
    spread: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    normal: Tensor = centred / (spread / math.sqrt(values.shape[-1] - 1) + SMALL)
    return normal


@dataclass(frozen=True)
class Shape:
    """Five figures of a set of numbers; each of the same shape.

    Attributes:
        mean, std: mean and unbiased deviation.
        low, high: smallest and largest.
        skew: third central moment over ``std ** 3 + 1e-5``.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    skew: Tensor

    def stacked(self) -> Tensor:
        """Put the five side by side: ``(..., 5)``."""
        return torch.stack([self.mean, self.std, self.low, self.high, self.skew], dim=-1)


def shape_of(values: Tensor, mask: Tensor) -> Shape:
    """Take the figures of every item over the features of its real frames.

    Args:
        values: ``(batch, time, dim)``.
        mask: ``(batch, time)`` bool; an item without a real frame gets zeros.

    Returns:
        Figures of shape ``(batch,)``.
    """
    values = values.float()
    count = (mask.sum(dim=1) * values.shape[2]).clamp_min(1).to(values.dtype)
    mean = zero_padding(values, mask).sum(dim=(1, 2)) / count
    centred = zero_padding(values - mean[:, None, None], mask)
    std = (centred.square().sum(dim=(1, 2)) / (count - 1).clamp_min(1)).sqrt()
    skew = centred.pow(3).sum(dim=(1, 2)) / count / (std**3 + SMALL)
    there = mask.any(dim=1)
    if surely_all(mask):
        return Shape(mean, std, values.amin(dim=(1, 2)), values.amax(dim=(1, 2)), skew)
    padding = ~mask[..., None]
    low = values.masked_fill(padding, float("inf")).amin(dim=(1, 2)).masked_fill(~there, 0.0)
    high = values.masked_fill(padding, float("-inf")).amax(dim=(1, 2)).masked_fill(~there, 0.0)
    return Shape(mean, std, low, high, skew)


def choose(shape: Shape) -> Tensor:
    """Choose memberships by FleSER's rule base; the first rule that holds decides.

    1. skew in (-0.5, 0.5) and all values in [0, 1]: ``linear`` where std < 0.1, else ``gaussian``.
    2. skew below -0.5 or above 0.5: ``tanh``.
    3. mean above 0.7 or largest value above 1.5: ``sigmoid``.
    4. otherwise ``piecewise``.

    Returns:
        Places in `MEMBERSHIPS`, of the shape of the figures.
    """
    place = {name: torch.full_like(shape.mean, i).long() for i, name in enumerate(MEMBERSHIPS)}
    within = (shape.low >= 0) & (shape.low < shape.high) & (shape.high <= 1)
    symmetric = shape.skew.abs() < 0.5
    first = torch.where(shape.std < 0.1, place["linear"], place["gaussian"])
    large = (shape.mean > 0.7) | (shape.high > 1.5)
    found = torch.where(large, place["sigmoid"], place["piecewise"])
    found = torch.where(shape.skew.abs() > 0.5, place["tanh"], found)
    return torch.where(symmetric & within, first, found)


class Fuzzifier(nn.Module):
    """Normalises every frame over its features and passes it through a membership.

    ``batch_rule`` lets the rules look at all numbers of the batch together, so that an item's
    answer depends on its neighbours; ``sample_rule`` at each item by itself; ``soft_mixture``
    learns the shares of the five memberships from an item's five figures; ``none`` gives what it
    gets; the rest are fixed.

    Args:
        select: how the membership is chosen.
    """

    def __init__(self, select: Select) -> None:
        super().__init__()
        self.select = select
        self.mixer = nn.Linear(5, len(MEMBERSHIPS)) if select == "soft_mixture" else None

    def forward(
        self, values: Tensor, looked_at: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Fuzzify.

        Args:
            values: ``(batch, time, dim)``.
            looked_at: ``(batch, time, any)``, what the rules look at.
            mask: ``(batch, time)`` bool.

        Returns:
            Memberships ``(batch, time, dim)``, and each item's shares of the five memberships,
            ``(batch, 5)`` in the order of `MEMBERSHIPS`; None with ``none``.
        """
        if self.select == "none":
            return values, None
        normal = normalise(values.float())
        shares = self._shares(looked_at.detach(), mask)
        used = [place for place in range(len(MEMBERSHIPS)) if not surely_none(shares[:, place])]
        if self.mixer is None and len(used) == 1:
            return membership(MEMBERSHIPS[used[0]], normal), shares
        mixed = torch.stack(
            [shares[:, p, None, None] * membership(MEMBERSHIPS[p], normal) for p in used]
        )
        return mixed.sum(dim=0), shares

    def _shares(self, looked_at: Tensor, mask: Tensor) -> Tensor:
        if self.mixer is not None:
            return torch.softmax(self.mixer(shape_of(looked_at, mask).stacked()).float(), dim=1)
        if self.select == "sample_rule":
            places = choose(shape_of(looked_at, mask))
        elif self.select == "batch_rule":
            together = shape_of(looked_at.flatten(0, 1)[None], mask.flatten()[None])
            places = choose(together).expand(len(mask))
        else:
            fixed = MEMBERSHIPS.index(self.select)
            places = torch.full((len(mask),), fixed, device=looked_at.device)
        return functional.one_hot(places, len(MEMBERSHIPS)).to(torch.float32)
