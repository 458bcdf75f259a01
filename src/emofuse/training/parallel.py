"""All trainings of a run: one after the other, or side by side where that is faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from emofuse.errors import TrainingError
from emofuse.features.table import FeatureTable
from emofuse.training.crew import Crew, Setup, Task
from emofuse.training.fit import Blueprint
from emofuse.training.jobs import run_job
from emofuse.training.options import TrainerOptions
from emofuse.training.repeatable import threads
from emofuse.training.schedule_jobs import Pace, most_processes, worth_starting
from emofuse.training.stacking.plan import train_stacked, wants_stack
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trainer

__all__ = ["Task", "TaskHook", "run_tasks"]

TaskHook = Callable[[int, str, Row], None]
"""Told the place of a task, the phase and the row of an epoch; phase ``done`` ends a task."""


def run_tasks(
    tasks: Sequence[Task],
    blueprint: Blueprint,
    options: TrainerOptions,
    table: FeatureTable,
    hook: TaskHook,
) -> None:
    """Run the tasks whose jobs are not finished.

    This process trains; others join it where the options and the time left say so. The numbers do
    not depend on who trains what.

    Args:
        tasks: what to run.
        blueprint: model and objective.
        options: how to train; ``workers`` and ``stack`` say how many at a time.
        table: features.
        hook: told of every epoch here, and of every task that is done.

    Raises:
        EmofuseError: what a training raised.
        TrainingError: a training diverged, or a process was killed.
    """
    waiting = [(place, task) for place, task in enumerate(tasks) if not task.job.finished]
    if not waiting:
        return
    trainer = Trainer(blueprint, options)
    if wants_stack(options, trainer.device.type, len(waiting)):
        with threads(options.threads):
            note = train_stacked(trainer, table.to(trainer.device), waiting, hook)
        waiting = [
            (place, replace(task, notes=(note,)))
            for place, task in waiting
            if not task.job.finished
        ]
        if not waiting:
            return
    crew = Crew(Setup(blueprint, options, table), waiting)
    try:
        _Foreman(crew, trainer, table, len(waiting), hook).run()
    finally:
        crew.dismiss()


class _Foreman:
    """Trains in this process, and starts others as soon as it is clear that they pay."""

    def __init__(
        self, crew: Crew, trainer: Trainer, table: FeatureTable, jobs: int, hook: TaskHook
    ) -> None:
        self._crew, self._trainer, self._hook = crew, trainer, hook
        self._table = table.to(trainer.device)
        self._most = most_processes(trainer.options, jobs, trainer.device.type)
        self._pace = Pace(trainer.options, jobs)
        self._began, self._epochs = time.monotonic(), 0
        if trainer.options.workers != "auto" and self._most > 1:
            crew.hire(self._most - 1)

    def run(self) -> None:
        while (taken := self._crew.take()) is not None:
            self._train(*taken)
            self._hear(wait=False)
        self._hear(wait=True)

    def _train(self, place: int, task: Task) -> None:
        self._began, self._epochs = time.monotonic(), 0

        def told(phase: str, row: Row) -> None:
            self._epochs += phase != "select"
            self._hook(place, phase, row)
            self._hear(wait=False)

        parts = (task.train, task.dev)
        run_job(
            task.job,
            self._trainer,
            self._table,
            parts,
            task.test_rows,
            hook=told,
            notes=task.notes,
        )
        self._pace.job_done(time.monotonic() - self._began)
        self._began, self._epochs = time.monotonic(), 0
        self._hook(place, "done", {})

    def _hire_if_possible(self) -> None:
        try:
            self._crew.hire(self._most - 1)
        except TrainingError:  # nobody asked for processes: this one does it all
            self._most = 1

    def _hear(self, wait: bool) -> None:
        if not wait and self._crew.size + 1 < self._most:
            left = self._pace.left(self._epochs, time.monotonic() - self._began)
            if worth_starting(left, self._most):
                self._hire_if_possible()
        for place in self._crew.finished(wait):
            self._hook(place, "done", {})
