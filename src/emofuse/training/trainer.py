"""The trainer: choose hyper-parameters and the epoch within train and dev, then fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from emofuse.errors import FeatureError, OptionError
from emofuse.features.table import FeatureTable
from emofuse.models.contract import FusionModel
from emofuse.models.shared import share_model
from emofuse.training.finetuning.stage import Finetuning, Learnt, WaveShelf
from emofuse.training.fit import Blueprint, Fit
from emofuse.training.judge import HeldOut, Recognised, recognise
from emofuse.training.options import StageOptions, TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.selection import Choice, choose
from emofuse.training.steppers import Row

__all__ = ["Trained", "Trainer", "Watcher"]

PhaseHook = Callable[[str, Row], None]
"""Told the phase (``select``, ``fit``, ``refit``) and the row of every epoch that ends."""
Watcher = Callable[[str, Row, Fit], None]
"""As `PhaseHook`, and shown the fit itself."""


@dataclass(frozen=True)
class Trained:
    """A fitted model and how it came about.

    Attributes:
        model: takes features; in evaluation mode, on the device it was trained on.
        dev: the monitored metric within train and dev, more is better; None where nothing was held
            out.
        epochs: epochs it was trained for.
        chosen: hyper-parameters that were chosen.
        history: one row an epoch, each with its phase.
        notes: what a reader of the numbers should know.
        learnt: modality -> weights of its encoder that were learned, by their names in its folder.
        fit: the last fit: what it fitted, and the feeder of it.
        held_out: what was said of items not learned from, to calibrate by; None where nothing was
            held out. Where the model was trained again on train and dev together, this comes from
            the one before.
    """

    model: FusionModel
    dev: float | None
    epochs: int
    chosen: Mapping[str, float]
    history: tuple[Row, ...]
    notes: tuple[str, ...]
    learnt: Learnt
    fit: Fit
    held_out: HeldOut | None = None

    def recognise(self, rows: Tensor, *, extras: bool = False) -> Recognised:
        """Recognise rows of the table, from raw audio and text where encoders were learned."""
        return recognise(share_model(self.fit.model), self.fit.feeder(rows), extras=extras)


class Trainer:
    """Fits models. It is given train and dev; test labels have no way in.

    Args:
        blueprint: model and objective.
        options: how to train.

    Raises:
        OptionError: no such device, or encoders that should have been adapted before.
    """

    def __init__(self, blueprint: Blueprint, options: TrainerOptions) -> None:
        if options.adapted and not blueprint.adapted:
            name = options.adapted[0].name
            raise OptionError(
                f"stage {name!r} adapts encoders fold by fold, which emofuse train does; here the "
                "features are made beforehand: leave the stage out"
            )
        self.blueprint = blueprint
        self.options = options
        self.accelerator = Accelerator(cpu=options.device == "cpu" and not _has_accelerator())
        self.device = _device(options.device, self.accelerator)
        self._shelf = WaveShelf()

    def fit(
        self,
        table: FeatureTable,
        train: Part,
        dev: Part | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        hook: PhaseHook | None = None,
        watch: Watcher | None = None,
    ) -> Trained:
        """Fit one model.

        Args:
            table: features of at least the items of train and dev; best on `device` already.
            train: what to learn from.
            dev: what to choose by.
            seed: of every draw.
            folder: where checkpoints go; a training that was killed goes on from there.
            hook: told about every epoch.
            watch: shown every epoch; it changes nothing.

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
        told = _Told(folder, hook, watch)
        best = choice.score
        limits: list[int] | None = None
        fits: list[Fit] = []
        held_out = choice.held_out
        judged_by_folds = choice.score is not None and options.optimiser == "lbfgs"
        if not (options.refit and judged_by_folds):
            more = options.refit and dev is not None
            fits = self._stages(
                table, train, dev, options, phase="fit", seed=seed, told=told, keep_end=more
            )
            best = fits[-1].outcome.best if choice.score is None else choice.score
            limits = [one.outcome.best_epoch for one in fits]
            if dev is not None:
                held_out = HeldOut(dev, fits[-1].judge(dev).logits, "dev")
        if not fits or (options.refit and dev is not None):
            whole = train if dev is None else train.join(dev)
            given = None if options.optimiser == "lbfgs" else limits
            fits = self._stages(
                table, whole, None, options, phase="refit", seed=seed, told=told, limits=given
            )
            limits = [one.outcome.epoch for one in fits]
        return _trained(choice, fits, best, limits, told=told, held_out=held_out)

    def _stages(
        self,
        table: FeatureTable,
        train: Part,
        dev: Part | None,
        options: TrainerOptions,
        *,
        phase: str,
        seed: int,
        told: _Told,
        limits: Sequence[int] | None = None,
        keep_end: bool = False,
    ) -> list[Fit]:
        """Fit every stage, each from the best weights of the last; without stages, fit once."""
        fits: list[Fit] = []
        for place, stage in enumerate(options.fitted or (None,)):
            fit = self._fit(
                table,
                train,
                dev,
                options if stage is None else options.for_stage(stage),
                seed=seed,
                epochs=None if limits is None else limits[place],
                after=fits[-1] if fits else None,
                stage=stage,
            )
            last = place + 1 >= len(options.fitted)
            told.run(fit, phase, None if stage is None else stage.name, keep_end or not last)
            fits.append(fit)
        return fits

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
        after: Fit | None = None,
        stage: StageOptions | None = None,
    ) -> Fit:
        tuning: Finetuning | None = None
        if stage is not None and stage.kind == "finetune":
            tuning = self._tuning(
                stage, options, table, {} if after is None else after.learnt(), seed
            )
        return Fit(
            self.blueprint,
            options,
            table,
            train,
            dev,
            seed=seed,
            accelerator=self.accelerator,
            epochs=epochs,
            start=start if after is None else after.fusion.state_dict(),
            objective_start=None if after is None else after.objective.state_dict(),
            freeze=() if stage is None else stage.freeze,
            tuning=tuning,
        )

    def _tuning(
        self,
        stage: StageOptions,
        options: TrainerOptions,
        table: FeatureTable,
        learnt: Learnt,
        seed: int,
    ) -> Finetuning:
        raw = self.blueprint.raw
        if raw is None:
            raise OptionError(
                f"stage {stage.name!r} learns encoders from raw audio and text; only features are "
                "at hand here"
            )
        return Finetuning(
            stage,
            options,
            raw,
            table,
            learnt=learnt,
            shelf=self._shelf,
            seed=seed,
            device=self.device,
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


class _Told:
    """Runs fits, names their checkpoints, and collects their history."""

    def __init__(
        self, folder: Path | None, hook: PhaseHook | None, watch: Watcher | None = None
    ) -> None:
        self._folder, self._hook, self._watch = folder, hook, watch
        self.history: list[Row] = []

    def run(self, fit: Fit, phase: str, stage: str | None, keep_end: bool) -> None:
        """Run a fit to its end; epochs count on from stage to stage."""
        before = sum(row["phase"] == phase for row in self.history)
        name = phase if stage is None else f"{phase}-{stage}"
        checkpoint = None if self._folder is None else self._folder / f"{name}.safetensors"

        def dressed(row: Row) -> Row:
            more: Row = {} if stage is None else {"stage": stage}
            return {**row, "epoch": int(row["epoch"] or 0) + before, **more}

        def told(row: Row) -> None:
            shown = dressed(row)
            if self._watch is not None:
                self._watch(phase, shown, fit)
            if self._hook is not None:
                self._hook(phase, shown)

        fit.run(checkpoint, told, keep_end)
        self.history += [{"phase": phase, **dressed(row)} for row in fit.outcome.history]


def _trained(
    choice: Choice,
    fits: Sequence[Fit],
    best: float | None,
    limits: Sequence[int] | None,
    *,
    told: _Told,
    held_out: HeldOut | None,
) -> Trained:
    notes = list(choice.notes)
    if best is None:
        notes.append("no dev part: nothing was held out, the last epoch counts")
    notes += dict.fromkeys(note for one in fits for note in one.stepper.notes())
    return Trained(
        fits[-1].fusion,
        best,
        sum(limits or ()) or fits[-1].outcome.epoch,
        choice.values,
        tuple(told.history),
        tuple(notes),
        fits[-1].learnt(),
        fits[-1],
        held_out,
    )


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
