"""How much a service works on at once: utterances, bytes held, recordings, streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emofuse.server.problems import Problem

__all__ = ["Places"]


class Places:
    """A number of places; whoever finds none is told to come back. For one event loop.

    Args:
        total: how many there are.
        what: for the message.
        wait: seconds after which it may go better.
    """

    def __init__(self, total: int, what: str, wait: Callable[[], float] = lambda: 1.0) -> None:
        self.total, self.what = total, what
        self.taken = 0
        self._wait = wait

    def take(self, count: int = 1) -> None:
        """Take places.

        Raises:
            Problem: busy.
        """
        if self.taken + count > self.total:
            raise Problem("busy", f"{self.what}; come back later", retry_after=self._wait())
        self.taken += count

    def give(self, count: int = 1) -> None:
        """Give places back."""
        self.taken -= count

    @contextmanager
    def hold(self, count: int = 1) -> Iterator[None]:
        """Hold places for a while.

        Raises:
            Problem: busy.
        """
        self.take(count)
        try:
            yield
        finally:
            self.give(count)
