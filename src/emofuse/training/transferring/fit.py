"""What each method of a transfer matrix does with one fold: a model, and what it says of test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from emofuse.errors import OptionError, nearest_hint
from emofuse.features.table import FeatureTable
from emofuse.models.build import build_model
from emofuse.models.contract import FusionModel, ModelSpec
from emofuse.training.feeder import Feeder
from emofuse.training.fit import Fit
from emofuse.training.judge import recognise
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trainer
from emofuse.training.transferring.methods import (
    AlignedOptions,
    FinetuneOptions,
    MethodOptions,
    PrototypesOptions,
    parse_method,
)
from emofuse.training.transferring.prototypes import class_means, nearest_logits
from emofuse.training.transferring.steps import Mix, MixedBatches, fused_vector
from emofuse.training.whole import make_stepper

__all__ = ["Answer", "Material", "answer", "hash_state", "parts_to_freeze"]

Thing = TypeVar("Thing")
KEEP = torch.zeros(0, dtype=torch.long)
"""No rows to standardise by: the model's statistics stay."""


@dataclass(frozen=True)
class Material:
    """What a method is given for one fold. Of test there are rows alone.

    Attributes:
        table: features, on the device.
        source: source train; None where the method knows no source.
        source_dev: source dev.
        shots: the shots to learn from, all of them, and what dev was cut off them.
        pool_rows: rows of target train, without labels; None where the method may not see them.
        test_rows: rows of test.
        start: weights of the source model, where the method starts from them.
        statistics: rows of target train to standardise shots-only models by; None = the shots.
    """

    table: FeatureTable
    source: Part | None
    source_dev: Part | None
    shots: ShotParts | None
    pool_rows: Tensor | None
    test_rows: Tensor
    start: Mapping[str, Tensor] | None
    statistics: Tensor | None = None


@dataclass(frozen=True)
class ShotParts:
    """Shots with labels.

    Attributes:
        every: all of them.
        train: without dev.
        dev: to choose by; None = none was cut.
    """

    every: Part
    train: Part
    dev: Part | None


@dataclass(frozen=True)
class Answer:
    """What a method says of test, without having seen a label of it.

    Attributes:
        logits: ``(test items, classes)``.
        weights: modality -> ``(test items,)``.
        model: its model.
        note: dev metric, epochs, what dev was, notes.
    """

    logits: Tensor
    weights: Mapping[str, Tensor]
    model: FusionModel
    note: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    trainer: Trainer
    material: Material
    seed: int
    checkpoints: Path
    hook: Callable[[Row], None] | None


def answer(
    trainer: Trainer,
    method: Mapping[str, Any],
    material: Material,
    *,
    seed: int,
    checkpoints: Path,
    hook: Callable[[Row], None] | None = None,
) -> Answer:
    """Carry a method out on one fold.

    Args:
        trainer: model, objective, options, device.
        method: resolved options, as in the recipe.
        material: what it may see.
        seed: of every draw.
        checkpoints: path that names of checkpoints begin with.
        hook: told of every epoch.

    Raises:
        TrainingError: the loss is no number any more, or a checkpoint is damaged.
        OptionError: parts that the model does not have, or nothing that an alignment could move.
    """
    options, alignment = parse_method(method)
    job = _Job(trainer, material, seed, checkpoints, hook)
    if options.name == "none":
        return _read(job, _source_model(job), {"chosen_by": "source dev"})
    if isinstance(options, PrototypesOptions):
        return _prototypes(job, options)
    if isinstance(options, FinetuneOptions):
        return _finetune(job, options)
    if options.name == "target":
        return _alone(job, options)
    return _mixed(job, options, alignment)


def _source_model(job: _Job) -> FusionModel:
    trainer, material = job.trainer, job.material
    spec = ModelSpec(material.table.dims, len(trainer.blueprint.classes))
    model = build_model(trainer.blueprint.model, trainer.blueprint.model_options, spec)
    model.load_state_dict(dict(material.start or {}))
    return model.to(trainer.device).eval()


def _read(job: _Job, model: FusionModel, note: Mapping[str, Any]) -> Answer:
    seen = recognise(model, Feeder(job.material.table, job.material.test_rows))
    return Answer(seen.logits, seen.weights, model, note)


def _finetune(job: _Job, options: FinetuneOptions) -> Answer:
    shots = _need(job.material.shots)
    freeze = parts_to_freeze(_source_model(job), options.train, options.freeze)
    make = partial(_fit, job, options, start=job.material.start, freeze=freeze, statistics=KEEP)
    return _fitted(job, make, shots.train, shots.every, shots.dev)


def _alone(job: _Job, options: MethodOptions) -> Answer:
    shots = _need(job.material.shots)
    make = partial(_fit, job, options, statistics=job.material.statistics)
    return _fitted(job, make, shots.train, shots.every, shots.dev)


def _mixed(job: _Job, options: MethodOptions, alignment: Any) -> Answer:
    material, shots = job.material, job.material.shots
    source = _need(material.source)
    aligned = None if alignment is None else (options.name, alignment)

    def make(train: Part, dev: Part | None, few: int = 0, epochs: int | None = None) -> Fit:
        pool = material.pool_rows
        target = None if pool is None else Feeder(material.table, pool)
        mask = torch.arange(len(train)) >= len(train) - few
        mix = Mix(mask, getattr(options, "share", 0.5), target, aligned)
        settle = options.settle if isinstance(options, AlignedOptions) else 0.0
        return _fit(
            job,
            options,
            train,
            dev,
            epochs=epochs,
            statistics=source.rows,
            settle=settle,
            stepper=partial(MixedBatches, mix=mix),
        )

    if shots is None:
        every = source if material.source_dev is None else source.join(material.source_dev)
        return _fitted(job, make, source, every, material.source_dev, target=False)
    train, every = source.join(shots.train), source.join(shots.every)
    one, all_ = partial(make, few=len(shots.train)), partial(make, few=len(shots.every))
    return _fitted(job, one, train, every, shots.dev, again=all_)


def _fit(
    job: _Job,
    options: MethodOptions,
    train: Part,
    dev: Part | None,
    *,
    epochs: int | None = None,
    settle: float = 0.0,
    **more: Any,
) -> Fit:
    given = {"epochs": getattr(options, "epochs", None)}
    given["learning_rate"] = getattr(options, "learning_rate", None)
    update = {key: value for key, value in given.items() if value is not None}
    trainer: TrainerOptions = job.trainer.options.model_copy(update=update)
    return Fit(
        job.trainer.blueprint,
        trainer,
        job.material.table,
        train,
        dev,
        seed=job.seed,
        accelerator=job.trainer.accelerator,
        epochs=epochs,
        first_epoch=1 + int(settle * trainer.epochs),
        **{"stepper": make_stepper, **more},
    )


def _fitted(
    job: _Job,
    make: Callable[..., Fit],
    train: Part,
    every: Part,
    dev: Part | None,
    *,
    again: Callable[..., Fit] | None = None,
    target: bool = True,
) -> Answer:
    """Fit, choose the epoch on dev, and where the trainer refits, fit all of it for so long.

    Args:
        job: see `answer`.
        make: makes a fit of a train and a dev part.
        train: to learn from.
        every: the same, with what was cut off as dev.
        dev: what was cut off; None: source dev chooses where the method knows a source, else the
            last epoch counts.
        again: makes the fit of ``every``; ``make`` unless told.
        target: whether dev is a part of the shots.
    """
    chosen_by, refit = ("shots" if target else "source dev"), job.trainer.options.refit
    if dev is None and target and job.material.source is not None:
        dev, chosen_by, refit = job.material.source_dev, "source dev", False
    if dev is None:
        chosen_by, refit = "last epoch", False
    fit = make(train, dev)
    fit.run(_checkpoint(job, "fit"), job.hook, keep_end=refit)
    outcome = fit.outcome
    if refit:
        limit = None if job.trainer.options.optimiser == "lbfgs" else outcome.best_epoch
        fit = (again or make)(every, None, epochs=limit)
        fit.run(_checkpoint(job, "refit"), job.hook, keep_end=False)
    note = {"chosen_by": chosen_by, "dev": outcome.best, "epochs": outcome.best_epoch}
    return _read(job, fit.model, note)


def _checkpoint(job: _Job, phase: str) -> Path:
    return job.checkpoints.with_name(f"{job.checkpoints.name}.{phase}.safetensors")


def _prototypes(job: _Job, options: PrototypesOptions) -> Answer:
    material, classes = job.material, len(job.trainer.blueprint.classes)
    model = _source_model(job)
    support = _need(material.source) if material.shots is None else material.shots.every
    device = job.trainer.device
    means, known = class_means(
        _embed(model, material.table, support.rows), support.targets.labels.to(device), classes
    )
    notes = []
    if material.shots is not None and material.source is not None and not bool(known.all()):
        own = material.source
        rows = _embed(model, material.table, own.rows)
        others, there = class_means(rows, own.targets.labels.to(device), classes)
        lacking = [job.trainer.blueprint.classes[i] for i in torch.nonzero(~known).flatten()]
        notes.append(f"no shots of {', '.join(lacking)}: the source's prototype stands in")
        means, known = torch.where(known[:, None], means, others), known | there
    test = _embed(model, material.table, material.test_rows)
    logits = nearest_logits(test, means, known, options.distance, options.temperature)
    note = {"chosen_by": "source dev", "notes": notes}
    return Answer(logits.float().cpu(), {}, model, note)


@torch.no_grad()
def _embed(model: FusionModel, table: FeatureTable, rows: Tensor) -> Tensor:
    """Give what the classifier reads, ``(items, dim)``, in the order of the rows."""
    feeder = Feeder(table, rows)
    model.eval()
    order: list[Tensor] = []
    found: list[Tensor] = []
    for items in feeder.in_order(1024):
        batch = feeder.batch(items)
        order.append(items)
        found.append(fused_vector(model(batch), batch).float())
    return torch.cat(found)[torch.argsort(torch.cat(order))]


def parts_to_freeze(
    model: FusionModel, train: Sequence[str], freeze: Sequence[str] = ()
) -> tuple[str, ...]:
    """Name the parts that stay as they are.

    Args:
        model: the model.
        train: modules or parameters that learn; empty = all.
        freeze: those that do not, whatever ``train`` says.

    Raises:
        OptionError: a name that the model does not have, or nothing is left to learn.
    """
    names = [name for name, _ in model.named_parameters()]
    for wanted in (*train, *freeze):
        if not any(_within(name, wanted) for name in names):
            tops = sorted({name.split(".")[0] for name in names})
            raise OptionError(f"finetune: no part {wanted!r}; {nearest_hint(wanted, tops)}")

    def fixed(name: str) -> bool:
        chosen = not train or any(_within(name, one) for one in train)
        return not chosen or any(_within(name, one) for one in freeze)

    found = [name for name in names if fixed(name)]
    if len(found) == len(names):
        raise OptionError("finetune: train and freeze leave nothing that learns")
    modules = {name for name, _ in model.named_modules() if name}
    whole = [
        module
        for module in modules
        if any(_within(name, module) for name in names)
        and all(name in found for name in names if _within(name, module))
    ]
    single = [name for name in found if not any(_within(name, one) for one in whole)]
    return (*sorted(whole), *single)


def _within(name: str, part: str) -> bool:
    return f"{name}.".startswith(f"{part}.")


def _need(value: Thing | None) -> Thing:
    if value is None:
        raise OptionError("the method lacks what it learns from; this matrix gives it none")
    return value


def hash_state(model: FusionModel) -> str:
    """Hash names, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, part in model.state_dict().items():
        digest.update(f"{name} {tuple(part.shape)} {part.dtype}\n".encode())
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
