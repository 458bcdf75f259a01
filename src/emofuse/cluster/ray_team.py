"""Workers of a Ray cluster, or of a Ray that is started here for the time being."""

from __future__ import annotations

import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from emofuse.cluster.crew import Setup, Team
from emofuse.cluster.engine import Engine
from emofuse.cluster.outcome import Outcome, attempt
from emofuse.errors import MissingExtraError, WorkError

__all__ = ["RayTeam", "ray_team"]

KNOCK_SECONDS = 10.0
LISTENER = "ray_listen_error_messages"
STORE_BYTES = 256 << 20
"""Shared memory of a Ray that is started here; tasks and their results are small."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_worker_register_timeout_seconds": "600",
}
"""No telemetry, nothing written that nobody asked for, and patience on a busy machine."""


@contextmanager
def ray_team(engine: Engine, setup: Setup) -> Iterator[RayTeam]:
    """Connect to a cluster, or start Ray on this machine; let go of it when the block ends.

    A Ray that the calling program has running already is used and left running.

    Raises:
        MissingExtraError: Ray is not installed.
        WorkError: no cluster answers, or it fails.
    """
    with _environment(QUIET), _hushed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        ours = not ray.is_initialized()
        if ours:
            _connect(engine)
        team = RayTeam(_size(engine), setup, engine.gpus)
        try:
            yield team
        except ray.exceptions.RayError as error:
            raise WorkError(f"the Ray cluster failed: {_line(error)}") from error
        finally:
            team.close()
            if ours:
                ray.shutdown()


def _connect(engine: Engine) -> None:
    import ray

    common: dict[str, Any] = {"logging_level": "critical", "log_to_driver": False}
    try:
        _knock(engine.address)
        if engine.address is None:
            ray.init(
                address="local",  # never one that happens to run here
                num_cpus=engine.here,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                **common,
            )
        else:
            ray.init(address=engine.address, **common)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        where = "on this machine" if engine.address is None else f"at {engine.address}"
        raise WorkError(f"no Ray {where}: {_line(error)}; see: ray status") from error


def _knock(address: str | None) -> None:
    """See whether anything answers at ``HOST:PORT``; Ray itself would ask for minutes.

    Raises:
        OSError: nothing does.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))[
        :200
    ]


def _size(engine: Engine) -> int:
    """Give as many workers as asked for, but no more than the cluster has room for."""
    import ray

    found = ray.cluster_resources()
    room = int(found.get("CPU", 1))
    if engine.gpus:
        room = min(room, int(found.get("GPU", 0) / engine.gpus))
    if room < 1:
        raise WorkError(
            "no room for a worker in the Ray cluster (processors, GPUs); see: ray status"
        )
    return min(engine.workers or room, room)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set; afterwards all are as before, those that Ray set too."""
    before = dict(os.environ)
    os.environ.update({key: value for key, value in values.items() if key not in before})
    try:
        yield
    finally:
        for key in os.environ.keys() - before.keys():
            del os.environ[key]
        os.environ.update(before)


class _Hushed:
    """Standard output on which Ray's own thread, which tells of every killed worker, is silent."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, unless Ray's thread does."""
        if threading.current_thread().name == LISTENER:
            return len(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _hushed() -> Iterator[None]:
    before = sys.stdout
    sys.stdout = hushed = cast("TextIO", _Hushed(before))
    try:
        yield
    finally:
        if sys.stdout is hushed:
            sys.stdout = before


class RayTeam(Team):
    """Actors of a Ray cluster, one processor each.

    Args:
        size: how many at most.
        setup: makes the state of each.
        gpus: GPUs of each.
    """

    def __init__(self, size: int, setup: Setup, gpus: float = 0.0) -> None:
        import ray

        self.size = size
        self._setup = ray.put(setup)  # once, however large
        self._kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(_Actor)
        self._waiting: dict[Any, Any] = {}
        self._workers: list[Any] = []

    def hire(self) -> Any:
        """Start an actor, in the folder of the caller and with its modules."""
        worker = self._kind.remote(str(Path.cwd()), list(sys.path))
        self._workers.append(worker)
        return worker

    def give(self, worker: Any, function: Callable[[Any, Any], Any], item: Any) -> None:
        """Send a task."""
        self._waiting[worker.run.remote(self._setup, function, item)] = worker

    def wait(self, seconds: float) -> tuple[Any, Outcome | None] | None:
        """Give an actor that answered, or one that was killed."""
        import ray

        lost = (
            ray.exceptions.RayActorError,
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.ObjectLostError,
        )
        ready, _ = ray.wait(list(self._waiting), num_returns=1, timeout=seconds)
        if not ready:
            return None
        worker = self._waiting.pop(ready[0])
        try:
            return worker, ray.get(ready[0])
        except lost:
            return worker, None

    def dismiss(self, worker: Any) -> None:
        """Forget an actor that was killed."""
        self._workers.remove(worker)

    def close(self) -> None:
        """End every actor."""
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers.clear()
        self._waiting.clear()


class _Actor:
    """What runs in a worker."""

    def __init__(self, folder: str, path: list[str]) -> None:
        if Path(folder).is_dir():
            os.chdir(folder)
        sys.path += [entry for entry in path if entry not in sys.path]
        self._state: Outcome | None = None

    def run(self, setup: Setup, function: Callable[[Any, Any], Any], item: Any) -> Outcome:
        """Answer one task."""
        if self._state is None or self._state.error:
            self._state = attempt(setup)
        if self._state.error:
            return self._state
        return attempt(function, self._state.value, item)
