"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from emofuse.cluster.crew import Setup, Team
from emofuse.cluster.outcome import Outcome, attempt

__all__ = ["Processes"]


@dataclass(eq=False)
class _Worker:
    process: Any
    line: Connection
    busy: bool = False


class Processes(Team):
    """Processes that are started when they are needed.

    Args:
        size: how many at most.
        setup: makes the state of each.
    """

    def __init__(self, size: int, setup: Setup) -> None:
        self.size = size
        self._setup = setup
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def hire(self) -> _Worker:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._setup), daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def give(self, worker: _Worker, function: Callable[[Any, Any], Any], item: Any) -> None:
        """Send a task."""
        worker.busy = True
        with suppress(BrokenPipeError, ConnectionResetError):  # killed: `wait` will say so
            worker.line.send((function, item))

    def wait(self, seconds: float) -> tuple[_Worker, Outcome | None] | None:
        """Give a process that answered, or one that was killed."""
        busy = {worker.line: worker for worker in self._workers if worker.busy}
        for line in wait(list(busy), seconds):
            worker = busy[line]  # type: ignore[index]
            worker.busy = False
            try:
                return worker, worker.line.recv()
            except (EOFError, OSError):
                return worker, None
        return None

    def dismiss(self, worker: _Worker) -> None:
        """Forget a process that was killed."""
        self._workers.remove(worker)
        worker.line.close()
        worker.process.join()

    def close(self) -> None:
        """End every process."""
        for worker in self._workers:
            worker.line.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()


def _serve(line: Connection, setup: Setup) -> None:
    """Answer tasks until the other end is closed."""
    state: Outcome | None = None
    while True:
        try:
            function, item = line.recv()
        except (EOFError, OSError):
            return
        if state is None or state.error:
            state = attempt(setup)
        line.send(state if state.error else attempt(function, state.value, item))
