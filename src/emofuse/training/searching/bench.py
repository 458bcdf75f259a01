"""Judging a recipe within train and dev: what every trial of a search does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emofuse.errors import OptionError
from emofuse.features.table import FeatureTable
from emofuse.progress import Progress, silent
from emofuse.protocols.audit import Audit, audit
from emofuse.protocols.build import make_folds
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json, write_json
from emofuse.training.adaptation.adapted import check_adapted
from emofuse.training.data import RunData, gather, load_manifest
from emofuse.training.finetuning.data import RawItems
from emofuse.training.fit import Blueprint
from emofuse.training.fold_encoders import check_stages, raw_items
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.recipe import Recipe
from emofuse.training.repeatable import threads
from emofuse.training.selection import group_folds
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trainer

__all__ = ["Bench", "Cut", "Judged", "blueprint_of", "quiet_options", "steps_of"]

KEPT = 2
"""Feature tables that are held in memory."""
Tell = Callable[[int, float], None]
"""Told the step and the score so far; may raise to end the trial."""


@dataclass(frozen=True)
class Cut:
    """What to learn from and what to choose by.

    Attributes:
        name: of the fold.
        seed: of every draw.
        train, dev: with labels; no item of test.
    """

    name: str
    seed: int
    train: Part
    dev: Part


@dataclass(frozen=True)
class Judged:
    """How a recipe does on dev.

    Attributes:
        score: the monitored metric, averaged over folds and seeds; more is better.
        folds: fold and seed -> its score.
    """

    score: float
    folds: dict[str, float]


class Bench:
    """Manifest, folds and features of a search; test labels are out of its reach.

    Args:
        recipe: as given, the ranges not yet applied.
        progress: told of auditing and encoding.

    Raises:
        OptionError: a stage adapts encoders, or an encoder cannot be fine-tuned.
        ProtocolError: folds cannot be made, or overlap in a way nobody declared.
        EmofuseError: what reading manifests can raise.
    """

    def __init__(self, recipe: Recipe, progress: Progress = silent) -> None:
        _check_searchable(recipe)
        self._progress = progress
        self.manifest = load_manifest(recipe)
        self._protocol, folds = make_folds(self.manifest, recipe.protocol)
        self.folds: tuple[Fold, ...] = tuple(folds)
        self._audit = audit(self.manifest, self._protocol, folds, progress=progress)
        self._audit.enforce()
        self._tables: dict[str, RunData] = {}

    def audit(self, recipe: Recipe) -> Audit:
        """Give the audit of a recipe's folds, its encoders included."""
        return check_adapted(recipe, self.manifest, list(self.folds), self._audit)

    def data(self, recipe: Recipe) -> RunData:
        """Give the features of a recipe; recipes with the same encoders share them.

        Raises:
            ProtocolError: an encoder was adapted on what a fold tests.
            EmofuseError: what encoding can raise.
        """
        plain = recipe.model_dump(mode="json", include={"encoders", "augment"})
        key = json.dumps(plain, sort_keys=True)
        if key not in self._tables:
            self.audit(recipe).enforce()
            while len(self._tables) >= KEPT:
                del self._tables[next(iter(self._tables))]
            self._tables[key] = gather(recipe, self.manifest, self.folds, self._progress)
        return self._tables[key]

    def cuts(self, recipe: Recipe, fold: str | None = None, inner: int = 0) -> list[Cut]:
        """Give what a trial is judged on.

        Args:
            recipe: of the trial.
            fold: search within train and dev of this fold alone; None = the dev of every fold.
            inner: cuts of that fold's train and dev, by group.

        Raises:
            OptionError: there is nothing to choose by.
        """
        data = self.data(recipe)
        found: list[Cut] = []
        for one in data.folds:
            if fold is not None and one.name != fold:
                continue
            train, dev = data.parts(one)
            if fold is None:
                pairs = [(one.name, train, _needed(one, dev))]
            else:
                pairs = list(_inner(one, train if dev is None else train.join(dev), inner))
            found += [
                Cut(name, seed, left, right) for name, left, right in pairs for seed in recipe.seeds
            ]
        return found

    def judge(
        self, recipe: Recipe, cuts: Sequence[Cut], folder: Path, tell: Tell, by_epoch: bool = False
    ) -> Judged:
        """Train on every cut and average the monitored dev metric.

        Args:
            recipe: of the trial.
            cuts: see `cuts`.
            folder: where checkpoints and finished cuts go.
            tell: told after every cut, or after every epoch.
            by_epoch: which of them.

        Raises:
            TrainingError: a training diverged.
            EmofuseError: what encoding can raise.
        """
        data = self.data(recipe)
        options = quiet_options(recipe.trainer)
        trainer = Trainer(blueprint_of(recipe, raw_items(recipe, data)), options)
        table = data.table.to(trainer.device)
        teller = _Teller(tell, options, by_epoch)
        found: dict[str, float] = {}
        with threads(options.threads):
            for place, cut in enumerate(cuts):
                teller.begin(place)
                score = _judge_one(trainer, table, cut, folder / str(place), teller.epoch)
                found[f"{cut.name}, seed {cut.seed}"] = score
                teller.end(place, score)
        return Judged(sum(found.values()) / len(found), found)


def _judge_one(
    trainer: Trainer,
    table: FeatureTable,
    cut: Cut,
    folder: Path,
    hook: Callable[[str, Row], None],
) -> float:
    note = folder / "score.json"
    if note.exists():
        return float(read_json(note)["score"])
    trained = trainer.fit(table, cut.train, cut.dev, seed=cut.seed, folder=folder, hook=hook)
    if trained.dev is None:
        raise OptionError(f"fold {cut.name!r} gave no dev metric to search by")
    write_json(note, {"score": trained.dev})
    return float(trained.dev)


class _Teller:
    """Turns epochs and cuts into steps with the score so far."""

    def __init__(self, tell: Tell, options: TrainerOptions, by_epoch: bool) -> None:
        self._tell, self._by_epoch = tell, by_epoch
        self._metric = f"dev_{options.monitor}"
        self._sign = -1.0 if options.monitor == "loss" else 1.0
        self._per_cut = options.total_epochs if by_epoch else 1
        self._scores: list[float] = []
        self._place, self._best = 0, -float("inf")

    def begin(self, place: int) -> None:
        self._place, self._best = place, -float("inf")

    def epoch(self, phase: str, row: Row) -> None:
        value = row.get(self._metric)
        if not self._by_epoch or phase != "fit" or not isinstance(value, float | int):
            return
        self._best = max(self._best, self._sign * value)
        step = self._place * self._per_cut + int(row.get("epoch") or 0)
        if step < (self._place + 1) * self._per_cut:
            self._tell(step, _mean([*self._scores, self._best]))

    def end(self, place: int, score: float) -> None:
        self._scores.append(score)
        self._tell((place + 1) * self._per_cut, _mean(self._scores))


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def steps_of(options: TrainerOptions, cuts: int, by_epoch: bool) -> int:
    """Count the steps of a trial that is not ended early."""
    return cuts * (options.total_epochs if by_epoch else 1)


def quiet_options(options: TrainerOptions) -> TrainerOptions:
    """Give the trainer's options without what a trial does not need."""
    given: dict[str, Any] = {"refit": False, "workers": 0, "tensorboard": False, "tracking": ()}
    known = type(options).model_fields
    return options.model_copy(update={key: one for key, one in given.items() if key in known})


def blueprint_of(recipe: Recipe, raw: RawItems | None = None) -> Blueprint:
    """Give what a recipe fits.

    Args:
        recipe: without stages that adapt encoders.
        raw: for stages that fine-tune encoders (`raw_items`).
    """
    scheme = recipe.data.label_scheme
    return Blueprint(
        recipe.model["name"],
        recipe.model_options,
        recipe.objective,
        scheme.classes,
        scheme.vad,
        raw,
    )


def _check_searchable(recipe: Recipe) -> None:
    for stage in recipe.trainer.adapted:
        raise OptionError(
            f"stage {stage.name!r} adapts encoders fold by fold, and a search does not: leave it "
            "out, or adapt beforehand (emofuse adapt) and name the result as the encoder"
        )
    check_stages(recipe)


def _needed(fold: Fold, dev: Part | None) -> Part:
    if dev is None or not len(dev):
        raise OptionError(
            f"fold {fold.name!r} has no dev part to search by; set protocol.dev above 0, or "
            "search nested"
        )
    return dev


def _inner(fold: Fold, whole: Part, inner: int) -> Iterator[tuple[str, Part, Part]]:
    places = group_folds(whole.groups, inner)
    if len(places) < 2:
        raise OptionError(
            f"fold {fold.name!r}: train and dev are of one group; there is nothing to cut a nested "
            "search by; set protocol.dev_by to something finer"
        )
    everything = torch.arange(len(whole))
    for number, place in enumerate(places):
        rest = everything[~torch.isin(everything, place)]
        yield f"{fold.name}, inner {number + 1}", whole.take(rest), whole.take(place)
