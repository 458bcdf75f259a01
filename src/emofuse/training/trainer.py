"""The trainer: choose hyper-parameters and the epoch within train and dev, then fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from emofuse.errors import FeatureError, OptionError
from emofuse.features.table import FeatureTable
from emofuse.models.contract import FusionModel
from emofuse.training.fit import Blueprint, Fit
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.selection import Choice, choose
from emofuse.training.steppers import Row

__all__ = ["Trained", "Trainer"]

PhaseHook = Callable[[str, Row], None]
"""Told the phase (``select``, ``fit``, ``refit``) and the row of every epoch that ends."""


@dataclass(frozen=True)
class Trained:
    """A fitted model and how it came about.

    Attributes:
        model: in evaluation mode, on the device it was trained on.
        dev: the monitored metric within train and dev, more is better; None where nothing was held
            out.
        epochs: epochs it was trained for.
        chosen: hyper-parameters that were chosen.
        history: one row an epoch, each with its phase.
        notes: what a reader of the numbers should know.
    """

    model: FusionModel
    dev: float | None
    epochs: int
    chosen: Mapping[str, float]
    history: tuple[Row, ...]
    notes: tuple[str, ...]


class Trainer:
    """Fits models. It is given train and dev; test labels have no way in.

    Args:
        blueprint: model and objective.
        options: how to train.
    """

    def __init__(self, blueprint: Blueprint, options: TrainerOptions) -> None:
        self.blueprint = blueprint
        self.options = options
        self.accelerator = Accelerator(cpu=options.device == "cpu" and not _has_accelerator())
        self.device = _device(options.device, self.accelerator)

    def fit(
        self,
        table: FeatureTable,
        train: Part,
        dev: Part | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        hook: PhaseHook | None = None,
    ) -> Trained:
        """Fit one model.

        Args:
            table: features of at least the items of train and dev; best on `device` already.
            train: what to learn from.
            dev: what to choose by.
            seed: of every draw.
            folder: where checkpoints go; a training that was killed goes on from there.
            hook: told about every epoch.

        Raises:
            TrainingError: the loss is no number any more, or a checkpoint is damaged.
            FeatureError: there is nothing to learn from.
        """
        if not len(train):
            raise FeatureError("the training part has no items with features")
        dev = dev if dev is not None and len(dev) else None
        table = table.to(self.device)
        choice = self._choose(table, train, dev, seed=seed, folder=folder, hook=hook)
        options = self.options.model_copy(update=dict(choice.values))
        notes = list(choice.notes)
        history: list[Row] = []
        best, epochs = choice.score, None
        fit: Fit | None = None
        judged_by_folds = choice.score is not None and options.optimiser == "lbfgs"
        if not (options.refit and judged_by_folds):
            fit = self._fit(table, train, dev, options, seed=seed)
            more = options.refit and dev is not None
            history += _run(fit, "fit", folder, hook, keep_end=more)
            best = fit.outcome.best if choice.score is None else choice.score
            epochs = fit.outcome.best_epoch
        if fit is None or (options.refit and dev is not None):
            whole = train if dev is None else train.join(dev)
            limit = epochs if options.optimiser == "adamw" else None
            fit = self._fit(table, whole, None, options, seed=seed, epochs=limit)
            history += _run(fit, "refit", folder, hook, keep_end=False)
            epochs = fit.outcome.epoch
        if best is None:
            notes.append("no dev part: nothing was held out, the last epoch counts")
        return Trained(
            fit.model,
            best,
            epochs or fit.outcome.epoch,
            choice.values,
            tuple(history),
            tuple(notes),
        )

    def _fit(
        self,
        table: FeatureTable,
        train: Part,
        dev: Part | None,
        options: TrainerOptions,
        *,
        seed: int,
        epochs: int | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> Fit:
        return Fit(
            self.blueprint,
            options,
            table,
            train,
            dev,
            seed=seed,
            accelerator=self.accelerator,
            epochs=epochs,
            start=start,
        )

    def _choose(
        self,
        table: FeatureTable,
        train: Part,
        dev: Part | None,
        *,
        seed: int,
        folder: Path | None,
        hook: PhaseHook | None,
    ) -> Choice:
        if self.options.select is None:
            return Choice({}, None, ())

        def fit_one(
            options: TrainerOptions, one: Part, other: Part, start: Mapping[str, Tensor] | None
        ) -> Fit:
            return self._fit(table, one, other, options, seed=seed, start=start)

        cache = None if folder is None else folder / "select.json"
        return choose(fit_one, self.options, train, dev, cache=cache, hook=hook)


def _run(
    fit: Fit, phase: str, folder: Path | None, hook: PhaseHook | None, *, keep_end: bool
) -> list[Row]:
    checkpoint = None if folder is None else folder / f"{phase}.safetensors"
    told = None if hook is None else (lambda row: hook(phase, row))
    fit.run(checkpoint, told, keep_end)
    return [{"phase": phase, **row} for row in fit.outcome.history]


def _has_accelerator() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _device(wanted: str, accelerator: Accelerator) -> torch.device:
    if wanted == "auto":
        found: torch.device = accelerator.device
        return found
    legal = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not legal[wanted]:
        have = ", ".join(name for name, there in legal.items() if there)
        raise OptionError(f"trainer.device = {wanted!r} is not on this machine; there is: {have}")
    return torch.device(wanted)
