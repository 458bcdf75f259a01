"""Rows of all processes, with or without their gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gather_rows", "gather_sequences", "own_rows", "process_count", "process_rank"]


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


def own_rows(rows: Tensor) -> Tensor:
    """Give the ``(n,)`` numbers that this process's ``n`` rows have among those of all."""
    numbers = torch.arange(len(rows), device=rows.device)
    if process_count() == 1:
        return numbers
    ranks = gather_rows(torch.full_like(numbers, process_rank()))
    return numbers + (ranks < process_rank()).sum()


def gather_sequences(
    parts: Mapping[str, tuple[Tensor, Tensor]],
) -> dict[str, tuple[Tensor, Tensor]]:
    """Put the padded sequences of all processes one after the other, with their gradient.

    Everything travels in one gather, so that the backward passes of processes meet in it whatever
    else they compute. Every process must call it, with the same names.

    Args:
        parts: name -> values ``(n, time, dim)`` and mask ``(n, time)`` bool; ``n`` and ``time`` may
            differ between processes.

    Returns:
        The same names: ``(sum of n, longest time, dim)`` and ``(sum of n, longest time)``.
    """
    if process_count() == 1:
        return dict(parts)
    longest, learned = _agree(parts)
    values, masks = [], []
    for (one, mask), time in zip(parts.values(), longest, strict=True):
        missing = time - mask.shape[1]
        values.append(torch.nn.functional.pad(one, (0, 0, 0, missing)).flatten(1))
        masks.append(torch.nn.functional.pad(mask, (0, missing)))
    rows = torch.cat(values, dim=1)
    if learned and not rows.requires_grad:
        rows = rows.requires_grad_()
    everything = gather_rows(rows)
    real = gather_rows(torch.cat(masks, dim=1))
    widths = [one.shape[1] for one in values]
    found = zip(
        torch.split(everything, widths, dim=1), torch.split(real, longest, dim=1), strict=True
    )
    return {
        name: (one.reshape(*mask.shape, -1), mask)
        for name, (one, mask) in zip(parts, found, strict=True)
    }


def _agree(parts: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[list[int], bool]:
    """Longest times over all processes, and whether a gradient is wanted in any of them."""
    first = next(iter(parts.values()))[0]
    learned = torch.is_grad_enabled() and any(one.requires_grad for one, _ in parts.values())
    told = [mask.shape[1] for _, mask in parts.values()] + [int(learned)]
    numbers = torch.tensor(told, device=first.device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    *longest, wanted = numbers.tolist()
    return longest, bool(wanted)


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
