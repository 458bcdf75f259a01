"""What waits for a batch, by whom it is for: nobody's many delay another's one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Waiting"]

Job = TypeVar("Job")


class Waiting(Generic[Job]):
    """Lines of jobs, taken from in turns; for one thread at a time.

    >>> waiting = Waiting[str]()
    >>> for who, job in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
    ...     waiting.put(who, job)
    >>> [waiting.take() for _ in range(len(waiting))]
    ['a1', 'b1', 'a2', 'a3']
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[Job]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Jobs that wait."""
        return self._count

    def put(self, who: Hashable, job: Job) -> None:
        """Add a job to the end of somebody's line."""
        self._lines.setdefault(who, deque()).append(job)
        self._count += 1

    def look(self) -> Job:
        """Give the next job, and leave it there.

        Raises:
            LookupError: none waits.
        """
        if not self._count:
            raise LookupError("no job waits")
        return next(iter(self._lines.values()))[0]

    def take(self) -> Job:
        """Take the next job; its line goes behind the others.

        Raises:
            LookupError: none waits.
        """
        job = self.look()
        who, line = next(iter(self._lines.items()))
        line.popleft()
        self._count -= 1
        if line:
            self._lines.move_to_end(who)
        else:
            del self._lines[who]
        return job
