"""Attention of one sequence to another, by masks, with a bias on the scores where there is one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from emofuse.layers.branches import surely_all
from emofuse.layers.dropout import Dropout

__all__ = ["MultiHeadAttention"]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, eq. 1).

    Args:
        query_dim: size of the queries.
        memory_dim: size of keys and values; as the queries unless told.
        width: size inside, a multiple of ``heads``; as the queries unless told.
        heads: number of heads.
        dropout: share of attention weights dropped in training.
        outputs: size of the result; as ``width`` unless told.

    The number of parameters is that of `torch.nn.MultiheadAttention` of the same sizes.
    """

    def __init__(
        self,
        query_dim: int,
        memory_dim: int | None = None,
        *,
        width: int | None = None,
        heads: int = 8,
        dropout: float = 0.0,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        memory_dim = query_dim if memory_dim is None else memory_dim
        width = query_dim if width is None else width
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(query_dim, width)
        self.key = nn.Linear(memory_dim, width)
        self.value = nn.Linear(memory_dim, width)
        self.output = nn.Linear(width, width if outputs is None else outputs)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Let every query look at the memory.

        Args:
            queries: ``(batch, n, query_dim)``.
            memory: ``(batch, m, memory_dim)``.
            mask: ``(batch, m)`` bool, True on what may be looked at; None = all of it.
            bias: added to the scores, ``(batch, n, m)`` or ``(batch, heads, n, m)``.

        Returns:
            ``(batch, n, outputs)`` and the weights before dropout, ``(batch, heads, n, m)``: they
            sum to 1 over the memory that may be looked at, or are all 0 where there is none.
        """
        if mask is not None and surely_all(mask):
            mask = None
        if memory.shape[1] == 1 and bias is None:
            return self._look_at_one(queries, memory, mask)
        query = self._split(self.query(queries))
        key, value = self._split(self.key(memory)), self._split(self.value(memory))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if bias is not None:
            scores = scores + (bias[:, None] if bias.ndim == 3 else bias)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights.masked_fill(~mask[:, None, None, :], 0.0)
        mixed = self.dropout(weights) @ value
        return self.output(mixed.transpose(1, 2).flatten(2)), weights

    def _look_at_one(
        self, queries: Tensor, memory: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give what `forward` would for a memory of one, without a score.

        The weight is 1 whatever the score, so that queries and keys are not computed; they get
        the gradient of zero that they would have.
        """
        value = self._split(self.value(memory))
        weights = value.new_ones(memory.shape[0], self.heads, queries.shape[1], 1)
        if mask is not None:
            weights = weights.masked_fill(~mask[:, None, None, :], 0.0)
        mixed = self.dropout(weights) * value
        if torch.is_grad_enabled():
            unread: list[Tensor] = [*self.query.parameters(), *self.key.parameters()]
            unread += [] if queries is memory else [queries]
            mixed = _Unread.apply(mixed, *unread)  # type: ignore[no-untyped-call]
        return self.output(mixed.transpose(1, 2).flatten(2)), weights

    def _split(self, values: Tensor) -> Tensor:
        batch, time, width = values.shape
        return values.view(batch, time, self.heads, width // self.heads).transpose(1, 2)


class _Unread(torch.autograd.Function):
    """Gives its first input, and a gradient of zero to those that it does not read."""

    generate_vmap_rule = True

    @staticmethod
    def forward(given: Tensor, *unread: Tensor) -> Tensor:
        del unread
        return given.view_as(given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        zeros = (
            torch.zeros_like(one) if asked else None
            for one, asked in zip(ctx.saved_tensors, needed, strict=True)
        )
        return (gradients[0], *zeros)
