"""A batch that does not fit into memory is halved and tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from emofuse.errors import TrainingError

__all__ = ["cut", "halving", "is_out_of_memory", "too_large"]

Found = TypeVar("Found")
SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory has run out.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def too_large(error: BaseException, items: int) -> None:
    """Let pass that some items together do not fit into memory, and no other error.

    Raises:
        TrainingError: a single item does not fit.
        BaseException: ``error`` itself, where it says something else.
    """
    if not is_out_of_memory(error):
        raise error
    if items < 2:
        raise TrainingError(
            "out of memory with a single utterance; shorten it, freeze more layers "
            "(freeze_layers), or set trainer.gradient_checkpointing"
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def cut(items: Tensor, most: int | None) -> list[Tensor]:
    """Cut items into the fewest parts of at most ``most``, nearly equal; None = leave them.

    >>> [len(part) for part in cut(torch.arange(5), 2)]
    [2, 2, 1]
    """
    if most is None or len(items) <= most:
        return [items]
    return list(torch.tensor_split(items, -(-len(items) // most)))


def halving(work: Callable[[Tensor], Found], items: Tensor) -> list[Found]:
    """Do some work on items together, or on halves of them where memory runs out.

    Args:
        work: has no effect where it fails.
        items: ``(items,)``.

    Returns:
        What the work gave for each part, in order.

    Raises:
        TrainingError: a single item does not fit.
    """
    try:
        return [work(items)]
    except (RuntimeError, MemoryError) as error:
        too_large(error, len(items))
    return [found for half in items.tensor_split(2) for found in halving(work, half)]
