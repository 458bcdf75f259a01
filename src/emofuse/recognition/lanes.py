"""Passes through a model side by side, on cores that they do not fight over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from emofuse.encoders.workers import cores, on_cores

__all__ = ["Lanes"]


class Lanes:
    """Places for passes at once. One that is alone spreads over all cores, several take one each.

    Small products of matrices gain little from a second core, other passes gain all of it. With a
    single lane nothing is told to anybody: passes are taken in turn and compute as they like.

    Args:
        count: passes at once.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._cores = cores()
        self._places = threading.BoundedSemaphore(count)
        self._counting = threading.Lock()
        self._busy = 0

    @property
    def busy(self) -> int:
        """Passes under way."""
        return self._busy

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a place and hold it."""
        with self._places:
            with self._counting:
                self._busy += 1
                alone = self._busy == 1
            try:
                if self.count == 1:
                    yield
                    return
                with on_cores(self._cores if alone else max(self._cores // self.count, 1)):
                    yield
            finally:
                with self._counting:
                    self._busy -= 1
