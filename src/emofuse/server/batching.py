"""Requests that come together are answered together: one thread owns the recogniser."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from emofuse.recognition.answer import Recognition
from emofuse.recognition.query import Query

__all__ = ["Answer", "Batcher", "Noted"]

Answer = Callable[[Sequence[Query]], Sequence[Recognition]]
Noted = Callable[[int, float, Sequence[float]], None]
"""Told of every batch: its size, the seconds it took, and how long each query had waited."""

SMOOTHING = 0.2  # weight of the newest batch in the estimate of the seconds an utterance takes


@dataclass
class _Job:
    query: Query
    seconds: float
    future: Future[Recognition] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Gathers queries and answers them in batches, in the order in which they came.

    The first query that waits opens a batch. What waits already joins it, and what comes within
    ``gather`` seconds, until there are ``max_batch`` or they hold ``max_seconds`` of audio. While a
    batch is answered the next one gathers by itself.

    Args:
        answer: gives one answer a query, in order.
        max_batch: queries answered together.
        max_seconds: seconds of audio answered together; one query may have more.
        gather: seconds.
        noted: told of every batch.
    """

    def __init__(
        self,
        answer: Answer,
        max_batch: int = 16,
        max_seconds: float = 120.0,
        gather: float = 0.002,
        noted: Noted = lambda size, seconds, waits: None,
    ) -> None:
        self._answer, self._noted = answer, noted
        self._max_batch, self._max_seconds, self._gather = max_batch, max_seconds, gather
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._next: _Job | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="emofuse-batcher", daemon=True)
        self.seconds_each = 0.05

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Queries that no batch has taken yet."""
        return self._jobs.qsize() + (self._next is not None)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what was submitted, then end."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def submit(self, query: Query, seconds: float) -> Future[Recognition]:
        """Ask; a future that is cancelled before its batch begins costs nothing.

        Args:
            query: whose sound is read already.
            seconds: of its audio.
        """
        job = _Job(query, seconds)
        self._jobs.put(job)
        return job.future

    def _run(self) -> None:
        while not self._stopping:
            batch = [job for job in self._take() if job.future.set_running_or_notify_cancel()]
            if batch:
                self._work(batch)

    def _take(self) -> list[_Job]:
        first = self._next or self._jobs.get()
        self._next = None
        if first is None:
            self._stopping = True
            return []
        batch, held = [first], first.seconds
        until = time.monotonic() + self._gather
        while len(batch) < self._max_batch:
            try:
                job = self._jobs.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                break
            if job is None:
                self._stopping = True
                break
            if held + job.seconds > self._max_seconds:
                self._next = job
                break
            batch.append(job)
            held += job.seconds
        return batch

    def _work(self, batch: Sequence[_Job]) -> None:
        begun = time.monotonic()
        try:
            answers = self._answer([job.query for job in batch])
            for job, answer in zip(batch, answers, strict=True):
                job.future.set_result(answer)
        except Exception as error:  # noqa: BLE001 (whatever it is: the thread goes on)
            self._part(batch, error)
        took = time.monotonic() - begun
        each = took / len(batch)
        self.seconds_each += SMOOTHING * (each - self.seconds_each)
        self._noted(len(batch), took, [begun - job.since for job in batch])

    def _part(self, batch: Sequence[_Job], error: Exception) -> None:
        """Answer one by one, so that what breaks one query does not break its neighbours."""
        left = [job for job in batch if not job.future.done()]
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for job in left:
            try:
                job.future.set_result(self._answer([job.query])[0])
            except Exception as own:  # noqa: BLE001
                job.future.set_exception(own)
