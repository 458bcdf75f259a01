"""Which trainings can be stacked, how many at once, and what is said where they cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from emofuse.features.table import FeatureTable
from emofuse.training.crew import Task
from emofuse.training.fit import Fit
from emofuse.training.jobs import keep_job
from emofuse.training.judge import HeldOut
from emofuse.training.memory import is_out_of_memory
from emofuse.training.options import TrainerOptions
from emofuse.training.stacking.fits import share_feeders
from emofuse.training.stacking.rehearsal import rehearse
from emofuse.training.stacking.save import Saver
from emofuse.training.stacking.stacked import Stack
from emofuse.training.stacking.tensors import NotStackable
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trained, Trainer

__all__ = ["train_stacked", "wants_stack", "why_not"]

TaskHook = Callable[[int, str, Row], None]
CPU_BYTES = 1 << 30
DEVICE_SHARE = 0.4
COPIES = 10
"""How often the parameters of a model are held: weights, gradients, two momenta, best, and room."""
NOTE = "trained one by one, not stacked: "


def wants_stack(options: TrainerOptions, device: str, jobs: int) -> bool:
    """Tell whether stacking is asked for: by name, or by an accelerator that gains from it."""
    if options.stack == "auto":
        return jobs > 1 and device == "cuda" and not options.deterministic
    return options.stack and jobs > 1


def why_not(options: TrainerOptions, tasks: Sequence[Task]) -> str:
    """Say what in the options or the data forbids stacking; empty where nothing does."""
    found = {
        "optimiser lbfgs takes all items at once": options.optimiser == "lbfgs",
        "select fits many candidates": options.select is not None,
        "stages come one after the other": bool(options.stages),
        "trackers look into one model at a time": bool(options.tracking),
        "deterministic": options.deterministic,
        "the losses have a learning rate of their own": options.objective_learning_rate is not None,
        "accumulate, ema, feature_noise, mixup or curriculum": _unusual(options),
        "centre moves the features of each training": bool(options.centre),
        "training items are augmented": any(task.train.views is not None for task in tasks),
    }
    return next((reason for reason, holds in found.items() if holds), "")


def _unusual(options: TrainerOptions) -> bool:
    more = (options.ema, options.feature_noise, options.mixup, options.curriculum)
    return options.accumulate > 1 or any(one is not None for one in more)


def train_stacked(
    trainer: Trainer,
    table: FeatureTable,
    tasks: Sequence[tuple[int, Task]],
    hook: TaskHook,
) -> str:
    """Train tasks in stacks, as many models at once as memory holds, and keep their results.

    Args:
        trainer: model, objective, options.
        table: on the device.
        tasks: place and task; all or none are trained.
        hook: as in `run_tasks`.

    Returns:
        Why they could not be stacked, as a note for each of them; empty where they were.

    Raises:
        TrainingError: a loss is no number any more, or a checkpoint is damaged.
    """
    reason = why_not(trainer.options, [task for _, task in tasks])
    if reason:
        return NOTE + reason
    waiting, width = list(tasks), 0
    while waiting:
        try:
            width = width or _width(trainer, table, waiting[0][1])
            _train(trainer, table, waiting[:width], hook)
        except NotStackable as error:
            return NOTE + " ".join(str(error).split())[:200]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            width = min(width, len(waiting)) // 2
            if width < 2:
                return f"{NOTE}two models together do not fit into memory"
            continue
        waiting = waiting[width:]
    return ""


def _train(
    trainer: Trainer, table: FeatureTable, tasks: Sequence[tuple[int, Task]], hook: TaskHook
) -> None:
    """Train one stack: fit, refit where asked for, results."""
    options = trainer.options
    places = [place for place, _ in tasks]
    chosen = [task for _, task in tasks]
    folder = chosen[0].job.folder.parent
    fits = _fits(trainer, table, chosen, refit=False)
    saver = Saver(folder, "fit", chosen, options)
    _run(fits, saver, _teller(hook, places, "fit"))
    dev = [fit.outcome.best for fit in fits]
    history: list[list[Row]] = [
        [{"phase": "fit", **row} for row in fit.outcome.history] for fit in fits
    ]
    epochs = [fit.outcome.best_epoch for fit in fits]
    held = [_held_out(fit) for fit in fits]
    again = options.refit and all(fit.dev is not None for fit in fits)
    if again:
        fits = _fits(trainer, table, chosen, refit=True, epochs=epochs)
        saver = Saver(folder, "refit", chosen, options)
        _run(fits, saver, _teller(hook, places, "refit"))
        for rows, fit in zip(history, fits, strict=True):
            rows += [{"phase": "refit", **row} for row in fit.outcome.history]
    for row, (place, task) in enumerate(tasks):
        alone = "no dev part: nothing was held out, the last epoch counts"
        notes = (alone,) if dev[row] is None else ()
        fit, course = fits[row], tuple(history[row])
        trained = Trained(fit.fusion, dev[row], epochs[row], {}, course, notes, {}, fit, held[row])
        keep_job(task.job, trained, task.test_rows)
        hook(place, "done", {})
    for phase in ("fit", "refit"):
        Saver(folder, phase, chosen, options).forget()


def _run(fits: Sequence[Fit], saver: Saver, hook: Callable[[int, Row], None]) -> None:
    stack = Stack(fits)
    rehearse(stack)
    saver.restore(stack)
    stack.run(hook, lambda: saver.save(stack))


def _held_out(fit: Fit) -> HeldOut | None:
    return None if fit.dev is None else HeldOut(fit.dev, fit.judge(fit.dev).logits, "dev")


def _teller(hook: TaskHook, places: Sequence[int], phase: str) -> Callable[[int, Row], None]:
    def told(row: int, shown: Row) -> None:
        hook(places[row], phase, shown)

    return told


def _fits(
    trainer: Trainer,
    table: FeatureTable,
    tasks: Sequence[Task],
    *,
    refit: bool,
    epochs: Sequence[int] | None = None,
) -> list[Fit]:
    """Make the fits of some tasks; tasks of one fold share their features."""
    fits: list[Fit] = []
    parts: list[bytes] = []
    for row, task in enumerate(tasks):
        dev = task.dev if task.dev is not None and len(task.dev) else None
        train = task.train.join(dev) if refit and dev is not None else task.train
        fit = Fit(
            trainer.blueprint,
            trainer.options,
            table,
            train,
            None if refit else dev,
            seed=task.job.seed,
            accelerator=trainer.accelerator,
            epochs=None if epochs is None else epochs[row],
        )
        fits.append(fit)
        parts.append(train.rows.cpu().numpy().tobytes())
        share_feeders(fits, parts)
    return fits


def _width(trainer: Trainer, table: FeatureTable, task: Task) -> int:
    """Say how many models fit into memory at once."""
    (fit,) = _fits(trainer, table, [task], refit=False)
    numbers = sum(one.numel() for one in fit.fusion.parameters())
    if fit.device.type == "cuda":
        free = int(torch.cuda.mem_get_info(fit.device)[0] * DEVICE_SHARE)
    else:
        free = CPU_BYTES
    return max(2, free // max(1, numbers * 4 * COPIES))
