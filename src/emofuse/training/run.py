"""``train``: a recipe in, a run directory out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emofuse.evaluation.analysis import analyse
from emofuse.evaluation.predictions import write_predictions
from emofuse.evaluation.summary import summarise
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.protocols.audit import Audit, audit
from emofuse.protocols.build import make_folds
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json, sha256_text, write_json, write_text
from emofuse.training.adaptation.adapted import check_adapted
from emofuse.training.collect import best_job, metrics_note, predictions_frame, write_best
from emofuse.training.data import RunData, gather, load_manifest
from emofuse.training.fit import Blueprint
from emofuse.training.fold_encoders import check_stages, rounds
from emofuse.training.folder import claim, environment, keep_or_compare, locked
from emofuse.training.jobs import Job, make_jobs
from emofuse.training.parallel import Task, TaskHook, run_tasks
from emofuse.training.recipe import Recipe
from emofuse.training.repeatable import repeatable
from emofuse.training.scores import fit_scores, rules_note
from emofuse.training.steppers import Row
from emofuse.training.together.place import main_first, take_place, together
from emofuse.training.trackers.contract import prepare

__all__ = ["Run", "folds_note", "train"]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: its directory.
        recipe: the resolved recipe.
        metrics: what ``metrics.json`` holds.
    """

    folder: Path
    recipe: Recipe
    metrics: dict[str, Any]

    @property
    def predictions(self) -> Path:
        """One row an utterance, fold and seed."""
        return self.folder / "predictions.parquet"

    @property
    def bundle(self) -> Path:
        """The best model, ready for `Recognizer.load`."""
        return self.folder / "bundle"


def train(recipe: Recipe, folder: Path | str, progress: Progress = silent) -> Run:
    """Train every fold with every seed and write the run directory.

    The folds are audited first. What was finished before a kill is kept, so the same call goes on
    from there and ends with the same numbers; a run that is complete is only read. Processes that
    `torchrun` started train together; the run directory is written by the first of them.

    Args:
        recipe: see `load_recipe`.
        folder: of the run; new, empty, or of the same recipe.
        progress: told of encoding and of every epoch (stage ``train``).

    Raises:
        UsageError: the folder is of another recipe.
        ProtocolError: folds cannot be made, or overlap in a way nobody declared.
        TrainingError: the folder is in use, the data changed, or a training diverged.
        EmofuseError: what reading manifests and encoding can raise.
    """
    with take_place(Path(folder)) as place:
        run = _train(recipe, place.folder, progress if place.rank == 0 else silent)
    return Run(Path(folder), recipe, run.metrics)


def _train(recipe: Recipe, folder: Path, progress: Progress) -> Run:
    with locked(folder):
        claim(folder, recipe)
        recipe = together(recipe)
        if (folder / "metrics.json").exists():
            return Run(folder, recipe, read_json(folder / "metrics.json"))
        prepare(recipe.trainer.tracking, folder, folder.resolve().name)
        check_stages(recipe)
        manifest = load_manifest(recipe)
        protocol, folds = make_folds(manifest, recipe.protocol)
        found = audit(manifest, protocol, folds, progress=progress)
        found = check_adapted(recipe, manifest, folds, found)
        write_json(folder / "audit.json", found.model_dump(mode="json"))
        found.enforce()
        with repeatable(recipe.trainer.deterministic), main_first():
            data = gather(recipe, manifest, folds, progress)
        keep_or_compare(folder / "folds.json", folds_note(data.folds), "the folds")
        keep_or_compare(folder / "data.json", data.note, "manifest or features")
        if data.draws:
            lines = (draw.model_dump_json() + "\n" for draw in data.draws)
            write_text(folder / "augmentation.jsonl", "".join(lines))
        jobs = make_jobs(data.folds, recipe.seeds, folder / "jobs")
        _train_all(recipe, data, jobs, folder, progress)
        metrics = _collect(recipe, data, jobs, folder, found)
    return Run(folder, recipe, metrics)


def folds_note(folds: Sequence[Fold]) -> dict[str, Any]:
    """Give what ``folds.json`` holds: ids and hashes of every part."""
    listed = []
    for fold in folds:
        parts = {part: list(getattr(fold, part)) for part in ("train", "dev", "test")}
        hashes = {part: sha256_text("\n".join(ids)) for part, ids in parts.items()}
        listed.append({"name": fold.name, "dev_by": fold.dev_by, "sha256": hashes, **parts})
    return {"folds": listed}


def _train_all(
    recipe: Recipe, data: RunData, jobs: Sequence[Job], folder: Path, progress: Progress
) -> None:
    blueprint = Blueprint(
        recipe.model["name"],
        recipe.model_options,
        recipe.objective,
        data.scheme.classes,
        data.scheme.vad,
    )
    if not (folder / "environment.json").exists():
        write_json(
            folder / "environment.json", environment(recipe.trainer.device, recipe.trainer.threads)
        )
    tasks = [Task(job, *data.parts(job.fold), data.test_rows(job.fold)) for job in jobs]
    hook = _Teller(progress, tasks, recipe.trainer.total_epochs)
    for group, start in rounds(recipe, data, jobs, folder, progress):
        first = jobs.index(group[0])
        told = _shifted(hook, first)
        there = tasks[first : first + len(group)]
        run_tasks(
            there,
            replace(blueprint, raw=start.raw, adapted=True),
            recipe.trainer,
            start.table,
            told,
        )


def _shifted(hook: TaskHook, first: int) -> TaskHook:
    """Tell a hook of tasks that are counted from ``first``."""
    return lambda place, phase, row: hook(first + place, phase, row)


class _Teller:
    """Turns what trainings tell into one bar over all of them."""

    def __init__(self, progress: Progress, tasks: Sequence[Task], epochs: int) -> None:
        self._progress, self._tasks, self._epochs = progress, tasks, epochs
        self._done = sum(task.job.finished for task in tasks)

    def __call__(self, place: int, phase: str, row: Row) -> None:
        job, epoch = self._tasks[place].job, 0
        shown: dict[str, float | str] = {"fold": job.fold.name, "seed": str(job.seed)}
        if phase == "done":
            self._done += 1
        else:
            shown["phase"] = phase
            epoch = 0 if phase == "select" else min(int(row.get("epoch") or 0), self._epochs)
        named = {name: row.get(name) for name in ("loss", "dev_ua")}
        shown |= {name: value for name, value in named.items() if isinstance(value, float)}
        done, total = self._done * self._epochs + epoch, len(self._tasks) * self._epochs
        self._progress(ProgressEvent("train", min(done, total), total, "epochs", shown))


def _collect(
    recipe: Recipe, data: RunData, jobs: Sequence[Job], folder: Path, found: Audit
) -> dict[str, Any]:
    results = [job.result() for job in jobs]
    who = {u.id: (u.corpus, u.speaker) for u in data.manifest}
    rules = fit_scores(results, data.table.ids, who, data.scheme.classes, recipe.scores)
    names = [(job.fold.name, job.seed) for job in jobs]
    write_json(folder / "calibration.json", {"jobs": rules_note(names, rules)})
    frame = predictions_frame(jobs, results, data, folder, rules)
    write_predictions(folder / "predictions.parquet", frame, data.scheme.classes)
    summary = summarise(frame, data.scheme.classes)
    metrics = metrics_note(summary, found, data, jobs, results)
    metrics |= analyse(frame, data.scheme.classes).to_json()
    best = best_job(results)
    write_best(folder / "bundle", recipe, data, jobs[best], metrics, rules=rules[best])
    write_json(folder / "metrics.json", metrics)
    stored: dict[str, Any] = read_json(folder / "metrics.json")
    return stored
