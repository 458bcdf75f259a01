"""A job: one fold, one seed. Finished jobs are kept; an unfinished one goes on where it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from emofuse.errors import TrainingError
from emofuse.features.table import FeatureTable
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json, write_json, write_text
from emofuse.training.checkpoint import load_state, save_state, under
from emofuse.training.fit import Fit
from emofuse.training.parts import Part
from emofuse.training.repeatable import repeatable, threads
from emofuse.training.steppers import Row
from emofuse.training.trackers.contract import Place
from emofuse.training.trainer import Trained, Trainer
from emofuse.training.watch import Watch

__all__ = ["Job", "JobResult", "keep_job", "make_jobs", "run_job"]

RESULT, MODEL, OUTPUTS = "result.json", "model.safetensors", "outputs.safetensors"
ENCODER = "encoder-"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        fold: what to learn from and be judged on.
        seed: of every draw.
        folder: where its files go, ``jobs/<fold>-<seed>``.
    """

    fold: Fold
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return (self.folder / RESULT).exists()

    def result(self) -> JobResult:
        """Read its result.

        Raises:
            WorkError: a file is missing or damaged.
        """
        note = read_json(self.folder / RESULT)
        outputs = load_state(self.folder / OUTPUTS)
        if outputs is None or "logits" not in outputs[0]:
            raise TrainingError(
                f"{self.folder} lacks {OUTPUTS}; delete the folder to train that part again"
            )
        tensors = outputs[0]
        weights = {n.removeprefix("w:"): t for n, t in tensors.items() if n.startswith("w:")}
        held_out = under("held_out", tensors)
        return JobResult(
            note, tensors["logits"], weights, tensors.get("vad"), held_out if held_out else None
        )

    def weights(self) -> Mapping[str, Tensor]:
        """Read the weights of its model.

        Raises:
            TrainingError: the file is missing or damaged.
        """
        loaded = load_state(self.folder / MODEL)
        if loaded is None:
            raise TrainingError(
                f"{self.folder} lacks {MODEL}; delete the folder to train that part again"
            )
        return loaded[0]

    def learnt(self) -> dict[str, Mapping[str, Tensor]]:
        """Read modality -> the weights of its encoder that were learned."""
        found: dict[str, Mapping[str, Tensor]] = {}
        for path in sorted(self.folder.glob(f"{ENCODER}*.safetensors")):
            loaded = load_state(path)
            if loaded is not None:
                found[path.stem.removeprefix(ENCODER)] = loaded[0]
        return found


@dataclass(frozen=True)
class JobResult:
    """What a job gave, without test labels.

    Attributes:
        note: dev metric, epochs, chosen hyper-parameters, notes.
        logits: ``(test items, classes)``, in the order of the fold's test part.
        weights: modality -> ``(test items,)``.
        vad: ``(test items, 3)`` in [-1, 1], where the model gives it.
        held_out: ``rows`` of the feature table, ``labels`` and ``logits`` of items of train and dev
            that were not learned from, where there were any; ``note["held_out"]`` says which.
    """

    note: Mapping[str, Any]
    logits: Tensor
    weights: Mapping[str, Tensor]
    vad: Tensor | None = None
    held_out: Mapping[str, Tensor] | None = None


def slug(name: str) -> str:
    """Turn the name of a fold into that of a folder."""
    return re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")[:60] or "fold"


def make_jobs(folds: tuple[Fold, ...], seeds: tuple[int, ...], folder: Path) -> list[Job]:
    """Give every fold with every seed, in order; names of folders are unique."""
    slugs: list[str] = []
    for fold in folds:
        name = slug(fold.name)
        taken = sum(other.split("~")[0].lower() == name.lower() for other in slugs)
        slugs.append(f"{name}~{taken + 1}" if taken else name)
    return [
        Job(fold, seed, folder / f"{name}-{seed}")
        for fold, name in zip(folds, slugs, strict=True)
        for seed in seeds
    ]


def run_job(
    job: Job,
    trainer: Trainer,
    table: FeatureTable,
    parts: tuple[Part, Part | None],
    test_rows: Tensor,
    *,
    hook: Callable[[str, Row], None] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Train, recognise the test rows without their labels, and keep everything in the job's folder.

    Raises:
        TrainingError: see `Trainer.fit`; the message names fold and seed.
        MissingExtraError: a tracker is asked for and not installed.
    """
    with threads(trainer.options.threads), repeatable(trainer.options.deterministic):
        try:
            trained = _train(job, trainer, table, parts, hook=hook)
        except TrainingError as error:
            raise TrainingError(f"fold {job.fold.name}, seed {job.seed}: {error}") from error
        keep_job(job, trained, test_rows, notes)


def _train(
    job: Job,
    trainer: Trainer,
    table: FeatureTable,
    parts: tuple[Part, Part | None],
    *,
    hook: Callable[[str, Row], None] | None,
) -> Trained:
    train, dev = parts
    watch = _watch(job, trainer) if trainer.options.tracking else None

    def shown(phase: str, row: Row, fit: Fit) -> None:
        if watch is not None:
            watch.epoch(phase, row, *(fit.look() or (None, None)))

    trained = trainer.fit(
        table,
        train,
        dev,
        seed=job.seed,
        folder=job.folder,
        hook=hook,
        watch=None if watch is None else shown,
    )
    if watch is not None:
        _show_best(watch, trained, dev)
        watch.close()
    return trained


def keep_job(job: Job, trained: Trained, test_rows: Tensor, notes: Sequence[str] = ()) -> None:
    """Recognise the test rows and keep everything; the result goes last and ends the job.

    Args:
        job: whose it is.
        trained: what its training gave.
        test_rows: rows to recognise.
        notes: what else a reader of the numbers should know.
    """
    seen = trained.recognise(test_rows)
    outputs = {"logits": seen.logits, **{f"w:{n}": part for n, part in seen.weights.items()}}
    outputs |= {} if seen.vad is None else {"vad": seen.vad}
    if (held := trained.held_out) is not None:
        outputs |= {"held_out.rows": held.part.rows, "held_out.logits": held.logits}
        outputs["held_out.labels"] = held.part.targets.labels
    save_state(job.folder / OUTPUTS, outputs, {"fold": job.fold.name, "seed": job.seed})
    save_state(job.folder / MODEL, trained.model.state_dict(), {"seed": job.seed})
    for modality, state in trained.learnt.items():
        save_state(job.folder / f"{ENCODER}{modality}.safetensors", state, {"seed": job.seed})
    _write_history(job, trained)
    write_json(job.folder / RESULT, _note(job, trained, notes))
    for pattern in ("select.json", "fit*.safetensors", "refit*.safetensors"):
        for left in job.folder.glob(pattern):
            left.unlink(missing_ok=True)


def _note(job: Job, trained: Trained, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "fold": job.fold.name,
        "seed": job.seed,
        "dev": trained.dev,
        "epochs": trained.epochs,
        "chosen": dict(trained.chosen),
        "notes": [*trained.notes, *notes],
        "held_out": None if trained.held_out is None else trained.held_out.source,
    }


def _write_history(job: Job, trained: Trained) -> None:
    """Write ``history.csv``, and ``history-refit.csv`` where the model was trained again."""
    phases = list(dict.fromkeys(str(row["phase"]) for row in trained.history))
    for place, phase in enumerate(phases):
        rows = [row for row in trained.history if row["phase"] == phase]
        stream = io.StringIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(stream, ["fold", "seed", *columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"fold": job.fold.name, "seed": job.seed, **row} for row in rows)
        name = "history.csv" if not place else f"history-{phase}.csv"
        write_text(job.folder / name, stream.getvalue())


def _watch(job: Job, trainer: Trainer) -> Watch:
    root = job.folder.parent.parent
    options, blueprint = trainer.options, trainer.blueprint
    settings: dict[str, str | int | float | bool] = {
        "fold": job.fold.name,
        "seed": job.seed,
        "model": blueprint.model,
        "objective": " + ".join(str(term.get("name")) for term in blueprint.objective),
    }
    for name, value in {**blueprint.model_options, **options.model_dump(mode="json")}.items():
        settings[name] = value if isinstance(value, str | int | float | bool) else str(value)
    place = Place(root, job.folder, root.resolve().name, job.folder.name, settings)
    return Watch(options.tracking, place, blueprint.classes)


def _show_best(watch: Watch, trained: Trained, dev: Part | None) -> None:
    """Show the model that was kept, on dev where there is one; after a refit it has seen dev."""
    if dev is None or not len(dev) or trained.dev is None:
        return
    seen = trained.recognise(dev.rows, extras=True)
    watch.best(trained.epochs, {"dev_score": trained.dev}, seen, dev.targets.labels.cpu())
