"""Rows of all processes, with or without their gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gather_rows", "process_count", "process_rank"]


def process_count() -> int:
    """How many processes train together; 1 outside of a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if process_count() > 1 else 0


def gather_rows(rows: Tensor, differentiable: bool = True) -> Tensor:
    """Put the rows of all processes one after the other, by process number.

    Every process must call it, with rows of the same size but of any number. In one process it
    gives what it gets.

    Args:
        rows: ``(n, ...)``; ``n`` may differ between processes.
        differentiable: whether the gradient of every process reaches the rows where they came
            from. Otherwise rows of other processes count as constants, and a process's own keep
            their gradient.

    Returns:
        ``(sum of n, ...)``.
    """
    if process_count() == 1:
        return rows
    if differentiable and rows.is_floating_point():
        gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
        return gathered
    parts = _all_rows(rows.detach())
    parts[process_rank()] = rows
    return torch.cat(parts)


def _all_rows(rows: Tensor) -> list[Tensor]:
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(process_count())]
    dist.all_gather(counts, count)
    sizes = [int(one) for one in counts]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    found = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(found, padded)
    return [part[:size] for part, size in zip(found, sizes, strict=True)]


class _Gather(torch.autograd.Function):
    """Forward: all rows. Backward: the sum over processes of the gradient of one's own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = _all_rows(rows)
        ctx.start = sum(len(part) for part in parts[: process_rank()])
        ctx.count = len(rows)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        own: Tensor = total[ctx.start : ctx.start + ctx.count]
        return own
