"""Gradient reversal: forwards the identity, backwards the opposite (Ganin & Lempitsky 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["reverse_gradient"]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None


def reverse_gradient(values: Tensor, strength: float = 1.0) -> Tensor:
    """Give ``values`` unchanged; their gradient is multiplied by ``-strength``.

    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad
    tensor([-0.5000, -0.5000])
    """
    found: Tensor = _Reversal.apply(values, strength)  # type: ignore[no-untyped-call]
    return found
