"""The run of a nested search: each fold trained with the values that its own search chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emofuse.evaluation.predictions import write_predictions
from emofuse.evaluation.summary import summarise
from emofuse.progress import Progress, ProgressEvent
from emofuse.storage import write_json
from emofuse.training.collect import best_job, metrics_note, predictions_frame, write_best
from emofuse.training.data import RunData
from emofuse.training.fold_encoders import raw_items
from emofuse.training.fold_recipes import write_fold_recipes
from emofuse.training.folder import claim, environment, locked
from emofuse.training.jobs import Job, make_jobs, run_job
from emofuse.training.recipe import Recipe
from emofuse.training.run import folds_note
from emofuse.training.searching.bench import Bench, blueprint_of
from emofuse.training.trainer import Trainer

__all__ = ["train_nested"]


def train_nested(
    recipes: Sequence[Recipe],
    found: Mapping[str, Any],
    note: str,
    folder: Path,
    progress: Progress,
) -> None:
    """Train every fold with its own recipe and write a run directory like any other.

    ``recipe.yaml`` is the recipe of the first fold, ``fold-recipes.yaml`` holds that of each, and
    ``search.json`` how they were found. Finished trainings are kept; the test parts are opened
    once, at the end.

    Args:
        recipes: the best of each fold, in the order of the folds.
        found: the searches, as ``search.json`` holds them.
        note: for the reader of the numbers.
        folder: of the run.
        progress: told of every training.

    Raises:
        TrainingError: a training diverged, or the folder is in use.
    """
    with locked(folder):
        claim(folder, recipes[0])
        if (folder / "metrics.json").exists():
            return
        bench = Bench(recipes[0], progress)
        parts = [_Fold(bench, recipe, place, folder) for place, recipe in enumerate(recipes)]
        first = parts[0].data
        write_json(folder / "search.json", found)
        write_fold_recipes(folder, {part.fold.name: part.recipe for part in parts})
        write_json(
            folder / "folds.json", folds_note([part.data.folds[n] for n, part in enumerate(parts)])
        )
        write_json(folder / "data.json", first.note)
        trainer = recipes[0].trainer
        write_json(folder / "environment.json", environment(trainer.device, trainer.threads))
        jobs = [job for part in parts for job in part.jobs]
        done = 0
        for part in parts:
            for job in part.jobs:
                part.train(job)
                done += 1
                progress(ProgressEvent("train", done, len(jobs), "trainings"))
        _collect(parts, bench, note, folder)


class _Fold:
    """One fold, its recipe, its features and its trainings."""

    def __init__(self, bench: Bench, recipe: Recipe, place: int, folder: Path) -> None:
        self.recipe = recipe
        self.data: RunData = bench.data(recipe)
        self.fold = self.data.folds[place]
        every = make_jobs(self.data.folds, recipe.seeds, folder / "jobs")
        self.jobs: list[Job] = [job for job in every if job.fold.name == self.fold.name]

    def train(self, job: Job) -> None:
        """Train once, unless that is done."""
        if job.finished:
            return
        blueprint = blueprint_of(self.recipe, raw_items(self.recipe, self.data))
        trainer = Trainer(blueprint, self.recipe.trainer)
        table = self.data.table.to(trainer.device)
        run_job(job, trainer, table, self.data.parts(self.fold), self.data.test_rows(self.fold))


def _collect(parts: Sequence[_Fold], bench: Bench, note: str, folder: Path) -> None:
    classes = parts[0].data.scheme.classes
    jobs = [job for part in parts for job in part.jobs]
    results = [job.result() for job in jobs]
    data = parts[0].data
    frame = predictions_frame(jobs, results, data, folder)
    write_predictions(folder / "predictions.parquet", frame, classes)
    audit = bench.audit(parts[0].recipe)
    write_json(folder / "audit.json", audit.model_dump(mode="json"))
    metrics: dict[str, Any] = metrics_note(summarise(frame, classes), audit, data, jobs, results)
    metrics["notes"] = [*metrics["notes"], note]
    best = jobs[best_job(results)]
    owner = next(part for part in parts if best in part.jobs)
    write_best(folder / "bundle", owner.recipe, owner.data, best, metrics)
    write_json(folder / "metrics.json", metrics)
