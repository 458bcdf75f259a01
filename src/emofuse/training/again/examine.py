"""A finished run's models, looked at again: which model is asked what, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from emofuse.augment.policy import AugmentOptions
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import TrainingError, WorkError
from emofuse.evaluation.openings import record_opening
from emofuse.evaluation.rules import AnswerRules
from emofuse.features.table import FeatureTable
from emofuse.labels import LabelScheme
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.models.build import build_model
from emofuse.models.contract import FusionModel, ModelSpec
from emofuse.progress import Progress, silent
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json
from emofuse.training.collect import answer_columns
from emofuse.training.data import RunData, gather, load_manifest
from emofuse.training.feeder import Feeder
from emofuse.training.fold_recipes import read_fold_recipes
from emofuse.training.jobs import Job, make_jobs
from emofuse.training.judge import Recognised, recognise
from emofuse.training.learned import learned_table, own_encoders
from emofuse.training.recipe import Recipe, load_recipe
from emofuse.training.scores import calibrated_columns

__all__ = ["Exam", "OpenedRun", "answer", "answers_frame", "ask", "load_model", "open_run"]


@dataclass(frozen=True)
class Exam:
    """One model and the utterances that it is asked about.

    Attributes:
        job: the training that gave the model.
        ids: utterances, in order.
    """

    job: Job
    ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A finished run, with its features in memory.

    Attributes:
        folder: its directory.
        recipe: as it was trained.
        data: manifest, folds and features.
        jobs: every training.
        metrics: what ``metrics.json`` holds.
        note: what ``data.json`` holds.
        rules: fold and seed -> how its logits become answers, where calibration was fitted.
        folds: fold -> its recipe, where a nested search gave each its own.
    """

    folder: Path
    recipe: Recipe
    data: RunData
    jobs: tuple[Job, ...]
    metrics: Mapping[str, Any]
    note: Mapping[str, Any]
    rules: Mapping[tuple[str, int], AnswerRules]
    folds: Mapping[str, Recipe] = field(default_factory=dict)

    def recipe_of(self, job: Job) -> Recipe:
        """Give the recipe that a training followed."""
        return self.folds.get(job.fold.name, self.recipe)

    @property
    def scheme(self) -> LabelScheme:
        """The label scheme; its classes are the models' outputs, in order."""
        return self.data.scheme

    @property
    def device(self) -> str:
        """Where models and encoders run."""
        return (
            "cuda" if torch.cuda.is_available() and self.recipe.trainer.device != "cpu" else "cpu"
        )

    @property
    def best(self) -> Job:
        """The training whose model is in the bundle."""
        named = self.metrics.get("best", {}).get("job")
        return next((job for job in self.jobs if job.folder.name == named), self.jobs[0])

    @property
    def learned(self) -> bool:
        """Whether encoders learned along, so that each fold or training has its own."""
        return any(stage.kind != "features" for stage in self.recipe.trainer.stages)

    @contextmanager
    def encoders(self, job: Job) -> Iterator[Mapping[Modality, EncoderSpec]]:
        """Give the encoders behind a model; fine-tuned ones are there while the block lasts."""
        if not self.learned:
            yield self.recipe.encoders
            return
        with own_encoders(self.recipe, job, self.folder, self.scheme.classes) as specs:
            yield specs

    def table_of(
        self, exam: Exam, manifest: Manifest, table: FeatureTable, progress: Progress = silent
    ) -> FeatureTable:
        """Give the features that an exam's model reads, a row an utterance, in the exam's order.

        Args:
            exam: model and utterances.
            manifest: of the utterances.
            table: their features by the recipe's encoders.
            progress: told of encoding.
        """
        rows = table.rows(exam.ids)
        parts = {name: part.take(rows) for name, part in table.modalities.items()}
        found = FeatureTable(exam.ids, parts, table.encoders)
        if not self.learned:
            return found
        chosen = manifest.select(exam.ids)
        with self.encoders(exam.job) as specs:
            return learned_table(self.recipe, specs, chosen, found, progress, device=self.device)

    def exams(self) -> tuple[Exam, ...]:
        """Ask every model about its own fold's test part."""
        return tuple(Exam(job, job.fold.test) for job in self.jobs)

    def opened(self, exams: Sequence[Exam], why: str) -> dict[str, Utterance]:
        """Write down that test labels are looked at, and give the utterances by id."""
        ids = {name for exam in exams for name in exam.ids}
        record_opening(self.folder, why, len(ids))
        return {name: self.data.manifest[name] for name in sorted(ids)}


def open_run(folder: Path, progress: Progress = silent) -> OpenedRun:
    """Read a finished run and look up its features.

    Args:
        folder: of the run.
        progress: told of encoding, where the store lacks something.

    Raises:
        WorkError: no run there, or one that is not finished.
        TrainingError: the manifest or the features are not those it was trained on.
    """
    if not (folder / "recipe.yaml").is_file():
        raise WorkError(f"{folder} is no run; give the folder that 'emofuse train' wrote")
    if not (folder / "metrics.json").is_file():
        raise WorkError(
            f"{folder} is not finished; finish it with the same 'emofuse train' command"
        )
    recipe = load_recipe(folder / "recipe.yaml")
    folds = _folds(folder / "folds.json")
    note, metrics = read_json(folder / "data.json"), read_json(folder / "metrics.json")
    plain = recipe.model_copy(update={"augment": AugmentOptions()})
    manifest = load_manifest(recipe)
    data = gather(plain, manifest, folds, progress, left_out=note.get("without_features", ()))
    for key, what in (("manifest_sha256", "the manifest"), ("features_sha256", "the features")):
        if note.get(key) != data.note[key]:
            raise TrainingError(
                f"{what} changed since {folder} was trained: its models cannot be judged again on "
                "the same data; restore it, or train anew"
            )
    jobs = tuple(make_jobs(data.folds, recipe.seeds, folder / "jobs"))
    rules = _rules(folder / "calibration.json")
    own = read_fold_recipes(folder)
    strange = next((name for name, one in own.items() if one.encoders != recipe.encoders), None)
    if strange is not None:
        raise WorkError(
            f"fold {strange!r} of {folder} has other encoders than the first one, so that no table "
            "of features serves all its models; emofuse report and reproduce work"
        )
    return OpenedRun(folder, recipe, data, jobs, metrics, note, rules, own)


def _folds(path: Path) -> tuple[Fold, ...]:
    try:
        return tuple(
            Fold(
                one["name"],
                tuple(one["train"]),
                tuple(one["dev"]),
                tuple(one["test"]),
                str(one.get("dev_by", "")),
            )
            for one in read_json(path)["folds"]
        )
    except (KeyError, TypeError) as error:
        raise WorkError(f"{path} holds no folds; train the run again") from error


def load_model(run: OpenedRun, job: Job) -> FusionModel:
    """Build the model of a training with its weights, in evaluation mode.

    Raises:
        WorkError: its weights are missing or do not fit.
    """
    spec = ModelSpec(run.data.table.dims, len(run.scheme.classes))
    recipe = run.recipe_of(job)
    model = build_model(recipe.model["name"], recipe.model_options, spec)
    weights = job.weights()
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise WorkError(f"{job.folder} holds no model of this recipe; train it again") from error
    return model.to(run.device).eval()


def answer(model: FusionModel, table: FeatureTable, device: str = "cpu") -> Recognised:
    """Ask a model about every row of a table; a modality that no row has is left out."""
    there = {name: part for name, part in table.modalities.items() if bool(part.lengths.any())}
    kept = FeatureTable(table.ids, there, table.encoders)
    return recognise(model, Feeder(kept.to(device), torch.arange(len(table.ids))))


def answers_frame(
    run: OpenedRun, exam: Exam, utterances: Sequence[Utterance], seen: Recognised
) -> pd.DataFrame:
    """Join answers with labels, as in ``predictions.parquet``; one row an utterance."""
    columns = answer_columns(exam.job, utterances, seen, run.scheme)
    if run.rules:
        rule = run.rules.get((exam.job.fold.name, exam.job.seed))
        logits = seen.logits.double().numpy()
        columns |= calibrated_columns(rule, logits, columns["corpus"], run.scheme.classes)
    return pd.DataFrame(columns)


def ask(
    run: OpenedRun,
    exam: Exam,
    manifest: Manifest,
    table: FeatureTable,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Ask a model about its utterances; one row each, with labels.

    Args:
        run: whose model it is.
        exam: model and utterances.
        manifest: of the utterances.
        table: their features by the recipe's encoders.
        progress: told of encoding.
    """
    own = run.table_of(exam, manifest, table, progress)
    seen = answer(load_model(run, exam.job), own, run.device)
    return answers_frame(run, exam, [manifest[name] for name in exam.ids], seen)


def _rules(path: Path) -> dict[tuple[str, int], AnswerRules]:
    """Fold and seed -> how its logits become answers; empty for a run that kept none."""
    if not path.is_file():
        return {}
    try:
        listed = read_json(path)["jobs"]
        return {
            (one["fold"], int(one["seed"])): AnswerRules.parse(one["rules"], str(path))
            for one in listed
            if one.get("rules") is not None
        }
    except (KeyError, TypeError, ValueError) as error:
        raise WorkError(f"{path} holds no calibration; train the run again") from error
