"""How many processes train side by side, and from when on: the hardware decides, not the user."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from pathlib import Path

from emofuse.training.options import TrainerOptions

__all__ = ["Pace", "may_spawn", "most_processes", "processors", "worth_starting"]

START_SECONDS = 4.0
"""What the start of a process costs: torch and the rest are loaded again."""
PROCESS_BYTES = 700 << 20
"""Memory of a process beside the features, which all share."""
MEMORY = Path("/proc/meminfo")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
RAY_WORKER = "default_worker.py"
GUARD = re.compile(r"^if\s+__name__\s*==", re.MULTILINE)


def processors() -> int:
    """Count the processors this process may use: affinity and container quota included."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = count or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        if quota != "max":
            found = min(found, max(1, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return found
    return found


def may_spawn() -> bool:
    """Tell whether more processes may be started from here without being asked to.

    Not from a process that was itself started by a launcher, by Ray or by `multiprocessing`, and
    not from a script that would run a second time when a new process imports it.
    """
    launched = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    if launched or multiprocessing.parent_process() is not None:
        return False
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is not None and Path(path).name == RAY_WORKER:
        return False
    if main is None or path is None or getattr(main, "__spec__", None) is not None:
        return True
    try:
        return GUARD.search(Path(path).read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False


def most_processes(options: TrainerOptions, jobs: int, device: str) -> int:
    """Give how many processes may train, this one included.

    Args:
        options: ``workers`` and ``threads``.
        jobs: trainings to come.
        device: where they run; an accelerator is not shared by several processes unless asked.
    """
    if options.workers != "auto":
        return max(1, min(options.workers, jobs))
    if device != "cpu" or jobs < 2 or not may_spawn():
        return 1
    return max(1, min(processors() // options.threads, jobs, 1 + _room()))


def _room() -> int:
    """Count the processes that fit into free memory, where the system tells how much there is."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMORY.read_text(encoding="ascii"))
    except (OSError, ValueError):
        found = None
    return 1 << 16 if found is None else (int(found[1]) << 10) // PROCESS_BYTES


def worth_starting(seconds_left: float, processes: int) -> bool:
    """Tell whether the time left is so long that starting more processes saves some.

    >>> worth_starting(10.0, 2), worth_starting(60.0, 2), worth_starting(60.0, 1)
    (False, True, False)
    """
    saved = seconds_left * (1.0 - 1.0 / max(processes, 1))
    return saved > 2.0 * START_SECONDS


class Pace:
    """Estimates the time left from the epochs and jobs that are done.

    Args:
        options: how long a job can be.
        jobs: how many there are.
    """

    def __init__(self, options: TrainerOptions, jobs: int) -> None:
        self._jobs = jobs
        self._done: list[float] = []
        early = options.patience is not None and options.optimiser != "lbfgs"
        self._epochs = options.total_epochs * (2 if options.refit else 1) / (2 if early else 1)

    def job_done(self, seconds: float) -> None:
        """Hear how long a job took."""
        self._done.append(seconds)

    def left(self, epochs: int, seconds: float) -> float:
        """Give the seconds left, were one process to do it all.

        Args:
            epochs: done in the job at hand.
            seconds: that it has taken so far.
        """
        if self._done:
            each = sum(self._done) / len(self._done)
        elif epochs:
            each = max(seconds, seconds / epochs * self._epochs)
        else:
            return 0.0
        return max(0.0, each * (self._jobs - len(self._done)) - seconds)
