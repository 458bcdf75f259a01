"""Processes that train side by side: each asks for a job, trains it, and asks for the next."""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emofuse.errors import EmofuseError, TrainingError
from emofuse.features.table import FeatureTable
from emofuse.training.fit import Blueprint
from emofuse.training.jobs import Job, run_job
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trainer

__all__ = ["Crew", "Setup", "Task"]


SHARED = Path("/dev/shm")  # noqa: S108 (where the system keeps shared memory)


@dataclass(frozen=True)
class Task:
    """A job and all it needs: train and dev with labels, test without.

    Attributes:
        job: fold, seed, folder.
        train: what to learn from.
        dev: what to choose by.
        test_rows: rows to recognise at the end.
        notes: what goes into the notes of its result.
    """

    job: Job
    train: Part
    dev: Part | None
    test_rows: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What all jobs have in common: model and objective, how to train, features."""

    blueprint: Blueprint
    options: TrainerOptions
    table: FeatureTable


class Crew:
    """Hands out tasks to this process and to those it has started.

    The features are moved to shared memory when the first process is started, so that each has
    them without a copy.

    Args:
        setup: what all tasks share.
        tasks: place and task, in the order in which they are handed out.
    """

    def __init__(self, setup: Setup, tasks: Sequence[tuple[int, Task]]) -> None:
        self._setup = setup
        self._waiting = list(reversed(tasks))
        self._lock = threading.Lock()
        self._news: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()
        self._processes: list[BaseProcess] = []
        self._open = 0

    @property
    def size(self) -> int:
        """Processes started."""
        return len(self._processes)

    def take(self) -> tuple[int, Task] | None:
        """Take the next task; None when all are taken."""
        with self._lock:
            return self._waiting.pop() if self._waiting else None

    def hire(self, count: int) -> None:
        """Start so many processes; each begins to work when it is up.

        Raises:
            TrainingError: shared memory is too small for the features.
        """
        context = torch.multiprocessing.get_context("spawn")
        table = self._setup.table
        _share([part.values for part in table.modalities.values()])
        plain = FeatureTable(table.ids, dict(table.modalities), {})
        given = Setup(self._setup.blueprint, self._setup.options, plain)
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, given), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._open += 1
            threading.Thread(target=self._serve, args=(ours,), daemon=True).start()

    def finished(self, wait: bool) -> list[int]:
        """Give the places of tasks that processes have finished since the last call.

        Args:
            wait: until every process has left.

        Raises:
            EmofuseError: what a training raised in its process.
            TrainingError: a process was killed.
        """
        found: list[int] = []
        while self._open if wait else not self._news.empty():
            news = self._news.get()
            if isinstance(news, Exception):
                raise news
            if news is None:
                self._open -= 1
            else:
                found.append(news)
        return found

    def dismiss(self) -> None:
        """End every process, finished or not."""
        with self._lock:
            self._waiting.clear()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def _serve(self, line: Connection) -> None:
        """Answer one process until it leaves (in a thread)."""
        try:
            while True:
                said = line.recv()
                if isinstance(said, int):
                    self._news.put(said)
                elif said is not None:
                    self._news.put(_error(*said))
                    return
                else:
                    task = self.take()
                    line.send(task)
                    if task is None:
                        self._news.put(None)
                        return
        except (EOFError, OSError):
            self._news.put(
                TrainingError(
                    "a training process was killed (out of memory?); the same command goes on "
                    "from here, with fewer trainer.workers if need be"
                )
            )
        finally:
            line.close()


def _share(parts: Sequence[Tensor]) -> None:
    """Move tensors into shared memory; where there is too little, writing to it would kill."""
    unshared = [part for part in parts if not part.is_shared()]  # type: ignore[no-untyped-call]
    needed = sum(int(part.nbytes) for part in unshared)
    free = shutil.disk_usage(SHARED).free if SHARED.is_dir() else needed
    hint = "set trainer.workers=0, or give the container more shared memory (docker: --shm-size)"
    if needed > free:
        raise TrainingError(
            f"shared memory ({SHARED}) has room for {free >> 20:,} MB of {needed >> 20:,} MB of "
            f"features; {hint}"
        )
    try:
        for part in parts:
            part.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise TrainingError(f"features cannot be shared: {error}; {hint}") from error


def _error(kind: type[Exception], message: str) -> Exception:
    """Make again what was raised elsewhere."""
    if not issubclass(kind, EmofuseError):
        return TrainingError(f"a training failed: {kind.__name__}: {message}")
    made = kind.__new__(kind)
    EmofuseError.__init__(made, message)
    return made


def _work(line: Connection, setup: Setup) -> None:
    """Ask for tasks and train them (in a process of its own)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    try:
        trainer = Trainer(setup.blueprint, setup.options)
        table = setup.table.to(trainer.device)
        while True:
            line.send(None)
            answer: Any = line.recv()
            if answer is None:
                return
            place, task = answer
            parts = (task.train, task.dev)
            run_job(
                task.job,
                trainer,
                table,
                parts,
                task.test_rows,
                hook=_leave_when_orphaned,
                notes=task.notes,
            )
            line.send(place)
    except (EOFError, BrokenPipeError):
        return
    except (EmofuseError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as err:
        with suppress(OSError):
            line.send((type(err), str(err)))


def _leave_when_orphaned(phase: str, row: Row) -> None:
    """End this process when the one that asked for the work was killed."""
    del phase, row
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
