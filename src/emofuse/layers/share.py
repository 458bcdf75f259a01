"""Which items of a whole batch this process sees, where several see a part of it each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Share", "current_share", "sharing"]


@dataclass(frozen=True)
class Share:
    """A part of a batch.

    Attributes:
        start: its first item.
        count: its items; where it has none, the model is shown one that does not count.
        total: items of the whole batch.
    """

    start: int
    count: int
    total: int

    @classmethod
    def of(cls, total: int, rank: int, processes: int) -> Share:
        """Cut a batch into shares that differ by one item at most, the larger ones first.

        >>> [Share.of(5, rank, 3).count for rank in range(3)]
        [2, 2, 1]
        """
        least, more = divmod(total, processes)
        return cls(rank * least + min(rank, more), least + (rank < more), total)


_share: ContextVar[Share | None] = ContextVar("share", default=None)


def current_share() -> Share | None:
    """Give the share whose items the model looks at; None where it sees the whole batch."""
    return _share.get()


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """Let layers know inside the block that they see a share of a batch."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)
