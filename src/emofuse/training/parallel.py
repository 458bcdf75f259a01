"""Jobs one after the other, or side by side in processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from emofuse.errors import TrainingError
from emofuse.features.table import FeatureTable
from emofuse.training.fit import Blueprint
from emofuse.training.jobs import Job, run_job
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trainer

__all__ = ["Task", "TaskHook", "run_tasks"]

TaskHook = Callable[[int, str, Row], None]
"""Told the place of a task, the phase and the row of an epoch; phase ``done`` ends a task."""


@dataclass(frozen=True)
class Task:
    """A job and all it needs: train and dev with labels, test without.

    Attributes:
        job: fold, seed, folder.
        train: what to learn from.
        dev: what to choose by.
        test_rows: rows to recognise at the end.
    """

    job: Job
    train: Part
    dev: Part | None
    test_rows: Tensor


def run_tasks(
    tasks: Sequence[Task],
    blueprint: Blueprint,
    options: TrainerOptions,
    table: FeatureTable,
    hook: TaskHook,
) -> None:
    """Run the tasks whose jobs are not finished.

    Args:
        tasks: what to run.
        blueprint: model and objective.
        options: how to train; with ``workers`` above 1 the tasks run side by side, and ``hook`` is
            told of finished tasks alone.
        table: features.
        hook: told of progress.

    Raises:
        TrainingError: a training diverged, or a process was killed.
    """
    open_tasks = [(place, task) for place, task in enumerate(tasks) if not task.job.finished]
    workers = min(options.workers, len(open_tasks))
    if workers > 1:
        _side_by_side(open_tasks, workers, (blueprint, options, table), hook)
        return
    if not open_tasks:
        return
    trainer = Trainer(blueprint, options)
    moved = table.to(trainer.device)
    for place, task in open_tasks:
        _run(task, trainer, moved, partial(hook, place))
        hook(place, "done", {})


def _run(
    task: Task, trainer: Trainer, table: FeatureTable, hook: Callable[[str, Row], None]
) -> None:
    run_job(task.job, trainer, table, (task.train, task.dev), task.test_rows, hook=hook)


def _side_by_side(
    tasks: Sequence[tuple[int, Task]],
    workers: int,
    setup: tuple[Blueprint, TrainerOptions, FeatureTable],
    hook: TaskHook,
) -> None:
    blueprint, options, table = setup
    for part in table.modalities.values():
        part.values.share_memory_()  # type: ignore[no-untyped-call]
    plain = FeatureTable(table.ids, dict(table.modalities), {})
    pool = ProcessPoolExecutor(workers, torch.multiprocessing.get_context("spawn"))
    try:
        places = {
            pool.submit(_work, task, blueprint, options, plain): place for place, task in tasks
        }
        for future in as_completed(places):
            future.result()
            hook(places[future], "done", {})
    except BrokenProcessPool as error:
        raise TrainingError(
            "a training process was killed (out of memory?); the same command goes on from here, "
            "with fewer trainer.workers if need be"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work(task: Task, blueprint: Blueprint, options: TrainerOptions, table: FeatureTable) -> None:
    trainer = Trainer(blueprint, options)
    _run(task, trainer, table.to(trainer.device), _leave_when_orphaned)


def _leave_when_orphaned(phase: str, row: Row) -> None:
    """End this process when the one that asked for the work was killed."""
    del phase, row
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
