"""Inside the block, the same work gives the same bytes, or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from emofuse.training.trackers.contract import environment_with

__all__ = ["repeatable", "threads"]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Refuse operations of torch that do not repeat; one thread. Afterwards all is as it was.

    Args:
        wanted: False changes nothing.

    Raises:
        RuntimeError: (torch's own) an operation in the block has no form that repeats.
    """
    if not wanted:
        yield
        return
    refused = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    searched = torch.backends.cudnn.benchmark
    with environment_with(CUBLAS_WORKSPACE_CONFIG=":4096:8"), threads(1):
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(refused, warn_only=warned)
            torch.backends.cudnn.benchmark = searched
