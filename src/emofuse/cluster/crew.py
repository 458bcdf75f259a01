"""Tasks for workers: ordered results; what a killed worker had is given to another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from emofuse.cluster.engine import Engine
from emofuse.cluster.outcome import Outcome
from emofuse.errors import WorkError

__all__ = ["Crew", "Hook", "Team", "map_tasks", "nothing", "open_crew"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Setup = Callable[[], Any]
Hook = Callable[[int, int], None]
"""Told how many tasks are done, and of how many."""

RETRIES = 3
"""Workers that one task may lose."""
TICK_SECONDS = 0.5


def nothing() -> None:
    """Set up nothing."""


class Team(ABC):
    """Some workers. Each makes its state once, when it is first needed."""

    size: int

    @abstractmethod
    def hire(self) -> Any:
        """Start a worker."""

    @abstractmethod
    def give(self, worker: Any, function: Callable[[Any, Any], Any], item: Any) -> None:
        """Let an idle worker call ``function(state, item)``."""

    @abstractmethod
    def wait(self, seconds: float) -> tuple[Any, Outcome | None] | None:
        """Give a worker that is done with its outcome, or one that was killed with None.

        None altogether where nothing happens within the time.
        """

    @abstractmethod
    def dismiss(self, worker: Any) -> None:
        """Forget a worker that was killed."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""


class Crew:
    """Workers that are kept from one list of tasks to the next; see `open_crew`."""

    def __init__(self, team: Team | None, setup: Setup) -> None:
        self._team, self._setup = team, setup
        self._state: Any = None
        self._ready = False
        self._idle: list[Any] = []

    @property
    def size(self) -> int:
        """How many workers there are."""
        return 1 if self._team is None else self._team.size

    def map(
        self,
        function: Callable[[Any, Item], Result],
        items: Sequence[Item],
        hook: Hook | None = None,
        tick: Callable[[], None] | None = None,
    ) -> list[Result]:
        """Call ``function(state, item)`` for every item.

        Args:
            function: of a module that the workers can import.
            items: what can be pickled.
            hook: told after every task.
            tick: called every now and then while tasks are under way.

        Returns:
            One result an item, in order.

        Raises:
            EmofuseError: the first error of a task; the others are not waited for.
            WorkError: a task lost four workers.
        """
        if self._team is None:
            return self._here(function, items, hook)
        return _Round(self._team, function, items, self._idle).run(hook, tick)

    def _here(
        self, function: Callable[[Any, Item], Result], items: Sequence[Item], hook: Hook | None
    ) -> list[Result]:
        found: list[Result] = []
        for item in items:
            if not self._ready:
                self._state, self._ready = self._setup(), True
            found.append(function(self._state, item))
            if hook is not None:
                hook(len(found), len(items))
        return found


class _Round:
    """One list of tasks."""

    def __init__(
        self,
        team: Team,
        function: Callable[[Any, Any], Any],
        items: Sequence[Any],
        idle: list[Any],
    ) -> None:
        self._team, self._function, self._items, self._idle = team, function, items, idle
        self._open = deque(range(len(items)))
        self._busy: dict[Any, int] = {}
        self._lost: Counter[int] = Counter()

    def run(self, hook: Hook | None, tick: Callable[[], None] | None) -> list[Any]:
        results: list[Any] = [None] * len(self._items)
        done = 0
        self._employ()
        while self._busy:
            news = self._team.wait(TICK_SECONDS)
            if tick is not None:
                tick()
            if news is None:
                continue
            worker, outcome = news
            place = self._busy.pop(worker)
            if outcome is None:
                self._replace(worker, place)
            else:
                results[place] = outcome.get()
                self._idle.append(worker)
                done += 1
                if hook is not None:
                    hook(done, len(self._items))
            self._employ()
        return results

    def _employ(self) -> None:
        """Give open tasks to idle workers, and hire while there is work for more."""
        while self._open and (self._idle or len(self._busy) < self._team.size):
            worker = self._idle.pop() if self._idle else self._team.hire()
            place = self._open.popleft()
            self._busy[worker] = place
            self._team.give(worker, self._function, self._items[place])

    def _replace(self, worker: Any, place: int) -> None:
        self._team.dismiss(worker)
        self._lost[place] += 1
        if self._lost[place] > RETRIES:
            raise WorkError(
                f"task {place + 1} of {len(self._items)} lost {self._lost[place]} workers, one "
                "after the other (out of memory?); the same command goes on from here, with fewer "
                "workers if need be"
            )
        self._open.appendleft(place)


@contextmanager
def open_crew(engine: Engine, setup: Setup = nothing) -> Iterator[Crew]:
    """Give workers for the block; they are ended with it, whatever ends it.

    Args:
        engine: who they are.
        setup: makes what a worker keeps from task to task.

    Raises:
        MissingExtraError: Ray is asked for and not installed.
        WorkError: no cluster answers at the address.
    """
    if engine.alone:
        yield Crew(None, setup)
        return
    if engine.name == "ray":
        from emofuse.cluster.ray_team import ray_team

        with ray_team(engine, setup) as team:
            yield Crew(team, setup)
        return
    from emofuse.cluster.processes import Processes

    processes = Processes(engine.here, setup)
    try:
        yield Crew(processes, setup)
    finally:
        processes.close()


def map_tasks(
    function: Callable[[Any, Item], Result],
    items: Sequence[Item],
    *,
    engine: Engine,
    setup: Setup = nothing,
    hook: Hook | None = None,
    tick: Callable[[], None] | None = None,
) -> list[Result]:
    """Call ``function(state, item)`` for every item, by workers that are started for it.

    See `open_crew` and `Crew.map`.

    >>> map_tasks(lambda state, item: item + 1, [1, 2], engine=Engine())
    [2, 3]
    """
    with open_crew(engine, setup) as crew:
        return crew.map(function, items, hook, tick)
