"""What comes together is answered together, in as many lanes as the model has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from emofuse.errors import WorkError
from emofuse.recognition.answer import Recognition
from emofuse.recognition.reading import AnswerLoaded, Loaded
from emofuse.server.waiting import Waiting

__all__ = ["Batcher", "Noted"]

Noted = Callable[[int, float, Sequence[float]], None]
"""Told of every batch: its size, the seconds it took, and how long each query had waited."""

SMOOTHING = 0.2  # weight of the newest batch in the estimate of the seconds an utterance takes


@dataclass(eq=False)
class _Job:
    asked: Loaded
    future: Future[Recognition] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.asked.seconds or 0.0

    def fresh(self) -> Loaded:
        """A copy to work on: what is half done is no good for a second attempt."""
        return replace(self.asked, features=dict(self.asked.features))


class Batcher:
    """Gathers queries and answers them in batches, each asker in turn.

    A lane that is free takes its share of what waits (all of it divided by the lanes), up to
    ``max_batch`` queries or ``max_seconds`` of audio. While a batch has room and more is on its way
    it waits ``gather`` seconds for company. While batches are answered the next ones gather by
    themselves.

    Args:
        answer: gives one answer a query, in order; called from every lane.
        max_batch: queries answered together.
        max_seconds: seconds of audio answered together; one query may have more.
        gather: seconds.
        noted: told of every batch.
        lanes: batches at once.
        coming: says how many queries are about to be submitted.
    """

    def __init__(
        self,
        answer: AnswerLoaded,
        max_batch: int = 16,
        max_seconds: float = 120.0,
        gather: float = 0.002,
        noted: Noted = lambda size, seconds, waits: None,
        *,
        lanes: int = 1,
        coming: Callable[[], int] = lambda: 1,
    ) -> None:
        self._answer, self._noted, self._coming = answer, noted, coming
        self._max_batch, self._max_seconds, self._gather = max_batch, max_seconds, gather
        self._waiting: Waiting[_Job] = Waiting()
        self._change = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"emofuse-lane-{n}", daemon=True)
            for n in range(lanes)
        ]
        self.seconds_each = 0.05

    @property
    def alive(self) -> bool:
        """Whether every lane works."""
        return all(one.is_alive() for one in self._threads)

    @property
    def waiting(self) -> int:
        """Queries that no batch has taken yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin."""
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        """Answer what was submitted, then end."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        for one in self._threads:
            if one.is_alive():
                one.join()

    def submit(self, asked: Loaded, who: Hashable = None) -> Future[Recognition]:
        """Ask; a future that is cancelled before its batch begins costs nothing.

        Args:
            asked: a query whose sound is read already.
            who: whose it is; of several askers each gets a turn. None = of its own.
        """
        return self._put([asked], who)[0]

    def answer(self, asked: Sequence[Loaded], who: Hashable) -> list[Recognition]:
        """Ask for several and wait for all of them; never from a lane.

        Raises:
            WorkError: the batcher was stopped.
        """
        return [one.result() for one in self._put(asked, who)]

    def _put(self, asked: Sequence[Loaded], who: Hashable) -> list[Future[Recognition]]:
        """Let queries wait, all of them at once."""
        jobs = [_Job(one) for one in asked]
        with self._change:
            for job in jobs:
                if self._stopping:
                    job.future.set_exception(WorkError("the service is being shut down"))
                else:
                    self._waiting.put(job if who is None else who, job)
            self._change.notify_all()
        return [job.future for job in jobs]

    def _run(self) -> None:
        while taken := self._take():
            batch = [job for job in taken if job.future.set_running_or_notify_cancel()]
            if batch:
                self._work(batch)

    def _take(self) -> list[_Job]:
        """Wait for the next batch; nothing once all is answered and the end has come."""
        with self._change:
            while not len(self._waiting):
                if self._stopping:
                    return []
                self._change.wait()
            batch = [self._waiting.take()]
            until = time.monotonic() + self._gather
            while len(batch) < self._max_batch:
                if self._room(batch):
                    batch.append(self._waiting.take())
                    continue
                left = until - time.monotonic()
                if len(self._waiting) or left <= 0 or self._stopping:
                    break
                if self._coming() < len(self._threads):
                    break
                self._change.wait(left)
            if len(self._waiting):
                self._change.notify()  # this lane may have been told instead of one that is free
            return batch

    def _room(self, batch: Sequence[_Job]) -> bool:
        """Whether the next job that waits, if any does, belongs to a batch."""
        if not len(self._waiting):
            return False
        share = (len(batch) + len(self._waiting)) / len(self._threads)
        held = sum(job.seconds for job in batch) + self._waiting.look().seconds
        return len(batch) < share and held <= self._max_seconds

    def _work(self, batch: Sequence[_Job]) -> None:
        begun = time.monotonic()
        try:
            answers = self._answer([job.fresh() for job in batch])
            for job, answer in zip(batch, answers, strict=True):
                job.future.set_result(answer)
        except Exception as error:  # noqa: BLE001 (whatever it is: the thread goes on)
            self._part(batch, error)
        took = time.monotonic() - begun
        each = took / len(batch) / len(self._threads)
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
                job.future.set_result(self._answer([job.fresh()])[0])
            except Exception as own:  # noqa: BLE001
                job.future.set_exception(own)
