"""One fitting of one model: epochs, dev metric, early stopping, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from emofuse.features.table import FeatureTable
from emofuse.layers.gather import process_count, process_rank
from emofuse.losses.contract import LossContext, Targets
from emofuse.losses.objective import Objective, build_objective
from emofuse.models.build import build_model, seeded
from emofuse.models.contract import FusionModel, ModelSpec
from emofuse.models.shared import share_model
from emofuse.training.augmenting import training_feeder
from emofuse.training.centring import centre_groups
from emofuse.training.checkpoint import (
    load_state,
    random_state,
    save_state,
    set_random_state,
    under,
)
from emofuse.training.feeder import Feeder
from emofuse.training.finetuning.data import RawItems
from emofuse.training.finetuning.network import FinetuneNetwork, kept_state, put_state
from emofuse.training.finetuning.stage import Finetuning
from emofuse.training.freezing import freeze_parts
from emofuse.training.judge import Recognised, better_is_higher, judge, recognise
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.steppers import Row, Stepper, Work
from emofuse.training.together.shards import agreed, is_sharded, let_go, shard
from emofuse.training.together.tensors import spread, whole
from emofuse.training.whole import make_stepper

__all__ = ["Blueprint", "EpochHook", "Fit", "Outcome"]

EpochHook = Callable[[Row], None]


@dataclass(frozen=True)
class Blueprint:
    """What is fitted, before any data.

    Attributes:
        model: name of the model.
        model_options: its options.
        objective: the loss terms, as in a recipe.
        classes: class names.
        vad: ranges of valence, arousal and dominance in the label scheme.
        raw: where raw audio and text are, for stages that learn encoders.
        adapted: whether the features are those of encoders that the options' stages of kind
            ``adapt`` have adapted.
    """

    model: str
    model_options: Mapping[str, Any]
    objective: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    vad: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    raw: RawItems | None = None
    adapted: bool = False


@dataclass
class Outcome:
    """Where a fitting stands, and at its end what came of it.

    Attributes:
        epoch: epochs done.
        best_epoch: the epoch whose weights are kept; without dev, the last.
        best: its dev metric, more is better; None without dev.
        waiting: epochs since then.
        finished: whether training is over.
        history: one row an epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best: float | None = None
    waiting: int = 0
    finished: bool = False
    history: list[Row] = field(default_factory=list)


class Fit:
    """Fits one model to one training part.

    All randomness (initial weights, order, dropout, hidden modalities) comes from ``seed``.

    Args:
        blueprint: model and objective.
        options: how to train.
        table: features, on the device to train on.
        train: what to learn from.
        dev: what to choose the epoch by; None = the last epoch counts.
        seed: of every draw.
        accelerator: backward pass and clipping.
        epochs: how many epochs; ``options.epochs`` unless told. The learning-rate schedule always
            spans ``options.epochs``.
        start: weights to begin with instead of drawn ones.
        objective_start: the losses' own parameters to begin with.
        freeze: names of parts of the model that do not learn.
        tuning: encoders that learn with the model; None = the model alone learns, on the table.
        statistics: rows that the model standardises by; the training items' unless told, none = as
            in ``start``.
        first_epoch: the first epoch that dev may choose.
        stepper: how an epoch is trained.

    Attributes:
        fusion: the model that takes features.
        model: what is fitted: the same, or encoders and it together.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        options: TrainerOptions,
        table: FeatureTable,
        train: Part,
        dev: Part | None,
        *,
        seed: int,
        accelerator: Accelerator,
        epochs: int | None = None,
        start: Mapping[str, Tensor] | None = None,
        objective_start: Mapping[str, Tensor] | None = None,
        freeze: Sequence[str] = (),
        tuning: Finetuning | None = None,
        statistics: Tensor | None = None,
        first_epoch: int = 1,
        stepper: Callable[[Work], Stepper] = make_stepper,
    ) -> None:
        self.options, self.seed, self._first = options, seed, first_epoch
        self.epochs = options.epochs if epochs is None else epochs
        self.classes = blueprint.classes
        self.device = next(iter(table.modalities.values())).values.device
        self._blueprint, self._table, self._tuning = blueprint, table, tuning
        feeder = _learns_from(table, train, options.centre if tuning is None else ())
        targets = _to(train.targets, self.device)
        self.dev = dev if dev is not None and len(dev) else None
        self.fusion = self._built(start)
        if statistics is not None or tuning is None or start is None:
            self._standardise(feeder if statistics is None else Feeder(table, statistics))
        frozen = freeze_parts(self.fusion, freeze)
        self.model = self.fusion if tuning is None else tuning.network(self.fusion)
        if tuning is None:
            feeder.condense(self.fusion)
        else:
            feeder = tuning.feeder(train.rows)
        if self.dev is not None:
            self.dev_feeder = self.feeder(self.dev.rows)
            self.dev_feeder.condense(self.fusion)
            self.dev_targets = _to(self.dev.targets, self.device)
        self.objective = _objective(blueprint, self.model, feeder, targets, seed)
        if options.sharding == "fsdp" and process_count() > 1:
            shard(self.model)
        if objective_start is not None:
            self.objective.load_state_dict(dict(objective_start))
        work = Work(
            self.model,
            self.objective,
            feeder,
            targets,
            options,
            options.dropout_for(len(table.dims)),
            seed,
            accelerator,
            frozen,
            self.classes,
        )
        self.stepper = stepper(work)
        self.outcome = Outcome()
        self._best_state: dict[str, Tensor] = {}

    def run(
        self,
        checkpoint: Path | None = None,
        hook: EpochHook | None = None,
        keep_end: bool = True,
    ) -> Outcome:
        """Train to the end, from the checkpoint where there is one, and load the best weights.

        Args:
            checkpoint: where checkpoints go; None = nowhere.
            hook: told about every epoch.
            keep_end: write one more at the end, for a caller that has more to do.

        Raises:
            TrainingError: the loss is no number any more, or the checkpoint is damaged.
        """
        with seeded(self.seed):
            if checkpoint is not None:
                self._restore(checkpoint)
            saved = time.monotonic()
            while not self.outcome.finished:
                started = time.monotonic()
                row = self._epoch()
                row["seconds"] = round(time.monotonic() - started, 4)
                if hook is not None:
                    hook(row)
                due = time.monotonic() - saved >= self.options.checkpoint_seconds
                due = agreed(due and self.stepper.resumable)
                if checkpoint is not None and (keep_end if self.outcome.finished else due):
                    self._save(checkpoint)
                    saved = time.monotonic()
        if not self._best_state:
            with self.stepper.averaged():
                self._best_state = _copy(kept_state(self.model))
        put_state(self.model, self._best_state)
        if is_sharded(self.model):
            self._put_together()
        if isinstance(self.model, FinetuneNetwork):
            self.model.merge()
        self.model.eval()
        return self.outcome

    def _put_together(self) -> None:
        """Take a plain model in place of one that the processes hold a share of each."""
        state = whole(kept_state(self.model))
        self._best_state = {}
        self.model = self.fusion = self._built()
        if self._tuning is not None:
            self._tuning = self._tuning.opened_again()
            self.model = self._tuning.network(self.fusion)
        put_state(self.model, state)

    def _built(self, start: Mapping[str, Tensor] | None = None) -> FusionModel:
        """Make the model on its device, with the weights of ``start`` or drawn ones."""
        blueprint = self._blueprint
        spec = ModelSpec(self._table.dims, len(blueprint.classes))
        model = build_model(blueprint.model, blueprint.model_options, spec, self.seed)
        if start is not None:
            model.load_state_dict(dict(start))
        return model.to(self.device)

    def _standardise(self, feeder: Feeder) -> None:
        if len(feeder):
            self.fusion.fit_normalisation(feeder.statistics_batch())

    def feeder(self, rows: Tensor) -> Feeder:
        """Feed rows of the table to `model`, as they are when nothing is learned."""
        if self._tuning is None:
            return Feeder(self._table, rows)
        return self._tuning.feeder(rows)

    def judge(self, part: Part) -> Recognised:
        """Give logits, weights and the loss of items of train or dev."""
        targets = _to(part.targets, self.device)
        feeder = self.feeder(part.rows) if part is not self.dev else self.dev_feeder
        return recognise(share_model(self.model), feeder, self.objective, targets)

    def learnt(self) -> dict[str, dict[str, Tensor]]:
        """Give modality -> weights of its encoder that were learned; after `run`."""
        if isinstance(self.model, FinetuneNetwork):
            return self.model.encoder_states()
        return {}

    def look(self) -> tuple[Recognised, Tensor] | None:
        """Give what the model says of dev just now, extras too, and dev's labels on the CPU."""
        if self.dev is None:
            return None
        with self.stepper.averaged():
            seen = recognise(share_model(self.model), self.dev_feeder, extras=True)
            let_go(self.model)
        return seen, self.dev_targets.labels.cpu()

    def _epoch(self) -> Row:
        outcome = self.outcome
        row: Row = {"epoch": outcome.epoch + 1, **self.stepper.epoch(outcome.epoch)}
        outcome.epoch += 1
        if self.dev is not None:
            with self.stepper.averaged():
                found = self._judge_dev()
                let_go(self.model)
                row |= {f"dev_{name}": value for name, value in found.items()}
                self._compare(better_is_higher(found, self.options.monitor))
        else:
            outcome.best_epoch = outcome.epoch
        self.stepper.judged(float(row.get("dev_loss", row["loss"]) or 0.0))
        outcome.history.append(row)
        if self.options.withholds(outcome.epoch):
            outcome.waiting = 0
        patience = self.options.patience
        stops_early = self.options.optimiser != "lbfgs" and patience is not None
        outcome.finished = (
            self.stepper.converged
            or outcome.epoch >= self.epochs
            or (stops_early and outcome.waiting >= (patience or 0))
        )
        return row

    def _judge_dev(self) -> dict[str, float]:
        model = share_model(self.model)
        seen = recognise(model, self.dev_feeder, self.objective, self.dev_targets)
        labels = self.dev_targets.labels.cpu()
        found = judge(labels, seen.logits.argmax(dim=1), len(self.classes))
        return {"loss": seen.loss or 0.0, **found}

    def _compare(self, score: float) -> None:
        """Keep the weights of the best epoch; L-BFGS goes downhill all the way: its last counts."""
        outcome = self.outcome
        if outcome.epoch < min(self._first, self.epochs):
            return
        last_counts = self.options.optimiser == "lbfgs"
        if outcome.best is None or score > outcome.best or last_counts:
            outcome.best, outcome.best_epoch, outcome.waiting = score, outcome.epoch, 0
            if not last_counts:
                self._best_state = _copy(kept_state(self.model))
        else:
            outcome.waiting += 1

    def _save(self, path: Path) -> None:
        parts = {
            "model": kept_state(self.model),
            "best": self._best_state,
            "objective": self.objective.state_dict(),
            "stepper": self.stepper.state(),
            "random": random_state(self.device),
        }
        tensors = {
            f"{kind}.{n}": part for kind, group in parts.items() for n, part in whole(group).items()
        }
        if process_rank() == 0:
            save_state(path, tensors, asdict(self.outcome))

    def _restore(self, path: Path) -> None:
        loaded = load_state(path)
        if loaded is None:
            return
        tensors, note = loaded
        self.outcome = Outcome(**note)
        own = kept_state(self.model)
        put_state(self.model, _shares(under("model", tensors), own))
        self.objective.load_state_dict(under("objective", tensors))
        best = {n: p.to(self.device) for n, p in under("best", tensors).items()}
        self._best_state = _shares(best, own)
        if not self.outcome.finished:
            self.stepper.restore(under("stepper", tensors))
            set_random_state(under("random", tensors))


def _learns_from(table: FeatureTable, train: Part, centre: Sequence[str]) -> Feeder:
    if centre:
        table, train = centre_groups(table, train, centre)
    return training_feeder(table, train)


def _shares(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: spread(one, like[name]) for name, one in state.items()}


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: part.detach().clone() for name, part in state.items()}


def _objective(
    blueprint: Blueprint, model: FusionModel, feeder: Feeder, targets: Targets, seed: int
) -> Objective:
    counts = torch.bincount(targets.labels.cpu(), minlength=len(blueprint.classes))
    model.eval()
    with torch.no_grad():
        shown = model(feeder.batch(torch.arange(min(2, len(feeder)), device=feeder.rows.device)))
    sizes = {name: int(part.shape[-1]) for name, part in shown.embeddings.items()}
    with seeded(seed):
        objective = build_objective(
            blueprint.objective,
            LossContext(counts, sizes, blueprint.classes, dict(blueprint.vad)),
        )
    return objective.to(targets.labels.device)


def _to(targets: Targets, device: torch.device) -> Targets:
    return Targets(
        targets.labels.to(device),
        None if targets.soft is None else targets.soft.to(device),
        None if targets.vad is None else targets.vad.to(device),
    )
