"""``evaluate``: a finished run's models on their own test parts again, or on another manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from emofuse.cluster.engine import Engine
from emofuse.errors import UsageError, WorkError, shorten
from emofuse.evaluation.openings import record_opening
from emofuse.evaluation.predictions import PROBABILITY, read_predictions, write_predictions
from emofuse.evaluation.summary import summarise
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.manifest import Manifest
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import write_json, write_text
from emofuse.training.again.examine import (
    Exam,
    OpenedRun,
    ask,
    open_run,
)
from emofuse.training.again.seen import Seen, what_was_seen
from emofuse.training.again.workers import Place, ask_together
from emofuse.training.folder import environment, locked
from emofuse.training.jobs import Job

__all__ = ["Evaluated", "Models", "evaluate_again", "evaluate_on"]

Models = Literal["folds", "bundle"]
SAME = 1e-4
"""Largest difference of a probability that another machine or batch may make."""
OWN = "test"


@dataclass(frozen=True)
class Evaluated:
    """What came of an evaluation.

    Attributes:
        folder: where predictions and metrics lie.
        metrics: what ``metrics.json`` holds.
        notes: what the reader must know.
    """

    folder: Path
    metrics: dict[str, Any]
    notes: tuple[str, ...]


def evaluate_again(
    folder: Path, progress: Progress = silent, engine: Engine | None = None
) -> Evaluated:
    """Judge every model of a run on its own test part again, from stored features.

    The answers must be those in ``predictions.parquet``: a run whose models, features or folds
    were altered is found out.

    Args:
        folder: of a finished run.
        progress: told of ``evaluate``.
        engine: who asks the models; this process unless told.

    Raises:
        WorkError: no finished run, or answers that differ by more than `SAME`.
    """
    with locked(folder):
        run = open_run(folder, progress)
        exams = run.exams()
        run.opened(exams, "evaluate: the run's own test parts")
        frame = _ask(
            run,
            exams,
            run.data.manifest,
            run.data.table,
            place=Place(folder),
            engine=engine,
            progress=progress,
        )
        classes = run.scheme.classes
        stored, _ = read_predictions(folder / "predictions.parquet")
        worst = _difference(stored, frame, classes)
        place = folder / "evaluations" / OWN
        write_predictions(place / "predictions.parquet", frame, classes)
        if worst > SAME:
            raise WorkError(
                f"the models of {folder} do not answer as predictions.parquet says: probabilities "
                f"differ by up to {worst:.3g}; its files were altered, or come from elsewhere"
            )
        note = "the answers equal predictions.parquet"
        note += " to the last bit" if not worst else f" to {worst:.1e}"
        metrics = {
            "run": str(folder),
            "on": "own test parts",
            "largest_difference": worst,
            "stamp": run.metrics.get("stamp", ""),
            "summary": summarise(frame, classes).to_json(),
            "notes": [note],
        }
        write_json(place / "metrics.json", metrics)
    return Evaluated(place, metrics, (note,))


def _difference(stored: pd.DataFrame, frame: pd.DataFrame, classes: Sequence[str]) -> float:
    """Largest difference of a probability between two sets of predictions."""
    keys = ["id", "fold", "seed"]
    both = stored.merge(frame, on=keys, suffixes=("", ".now"), validate="one_to_one")
    if len(both) != len(stored) or len(both) != len(frame):
        raise WorkError(
            f"predictions.parquet holds {len(stored)} answers, the folds name {len(frame)}; "
            "train the run again"
        )
    columns = [PROBABILITY + name for name in classes]
    now = both[[f"{name}.now" for name in columns]].to_numpy()
    return float(np.abs(both[columns].to_numpy() - now).max())


def evaluate_on(
    folder: Path,
    manifest: Path,
    name: str = "",
    *,
    models: Models = "folds",
    root: Path | None = None,
    progress: Progress = silent,
    engine: Engine | None = None,
) -> Evaluated:
    """Judge a run's models on other utterances, after looking for any that they have seen.

    Labels go by name into the run's label scheme. Files, metrics and the audit go to
    ``RUN/evaluations/<name>``, which `report` and `compare` read like a run.

    Args:
        folder: of a finished run.
        manifest: of the utterances, labelled.
        name: of the evaluation; the manifest's unless told.
        models: ``folds``: every model of the run answers; ``bundle``: the one that it ships.
        root: where the media are, when not where the manifest says.
        progress: told of ``compare audio``, of encoding, and of ``evaluate``.
        engine: who asks the models; this process unless told.

    Raises:
        WorkError: no finished run, or no utterance of a class that it knows.
        LabelError: a label that the scheme neither names, merges nor drops.
    """
    slug = re.sub(r"[^\w.=+-]+", "-", name or manifest.stem, flags=re.ASCII).strip("-.")
    if not slug or slug == OWN:
        raise UsageError(f"{shorten(name or manifest.stem)} cannot name an evaluation; give --name")
    with locked(folder):
        run = open_run(folder, progress)
        jobs = run.jobs if models == "folds" else (run.best,)
        listed = Manifest.load(manifest, root).label(run.scheme)
        judged = listed.filter(lambda u: u.emotion is not None)
        if not len(judged):
            raise WorkError(
                f"{manifest} has no utterance of {', '.join(run.scheme.classes)}; nothing to judge"
            )
        seen = what_was_seen(run, jobs, judged, progress)
        store = FeatureStore(Path(run.recipe.data.store))
        table = load_table(judged, run.recipe.encoders, store, progress, device=run.device)
        ids = _with_features(table)
        exams = tuple(Exam(job, ids) for job in jobs)
        record_opening(folder, f"evaluate on {manifest.name} ({models})", len(ids))
        where = Place(folder, manifest, root)
        frame = _ask(run, exams, judged, table, place=where, engine=engine, progress=progress)
        place = folder / "evaluations" / slug
        notes = _notes(seen, listed, judged, ids, jobs)
        metrics = _write(run, place, frame, seen, exams=exams, notes=notes)
    return Evaluated(place, metrics, notes)


def _with_features(table: FeatureTable) -> tuple[str, ...]:
    lengths = torch.stack([part.lengths for part in table.modalities.values()])
    there = (lengths > 0).any(dim=0).tolist()
    return tuple(name for name, ok in zip(table.ids, there, strict=True) if ok)


def _notes(
    seen: Seen, listed: Manifest, judged: Manifest, ids: Sequence[str], jobs: Sequence[Job]
) -> tuple[str, ...]:
    notes = [*seen.warnings]
    if len(listed) > len(judged):
        notes.append(f"{len(listed) - len(judged):,} utterances have no emotion and are not judged")
    if len(judged) > len(ids):
        notes.append(f"{len(judged) - len(ids):,} utterances have no features and are left out")
    if len(jobs) > 1:
        notes.append(f"every utterance is judged by {len(jobs)} models, one a fold and seed")
    return tuple(notes)


def _ask(
    run: OpenedRun,
    exams: Sequence[Exam],
    manifest: Manifest,
    table: FeatureTable,
    *,
    place: Place,
    engine: Engine | None,
    progress: Progress,
) -> pd.DataFrame:
    if engine is not None and not engine.alone:
        return ask_together(place, exams, engine, progress)
    frames = []
    for done, exam in enumerate(exams, start=1):
        frames.append(ask(run, exam, manifest, table, progress))
        progress(ProgressEvent("evaluate", done, len(exams), "models"))
    return pd.concat(frames, ignore_index=True)


def _write(
    run: OpenedRun,
    place: Path,
    frame: pd.DataFrame,
    seen: Seen,
    *,
    exams: Sequence[Exam],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Write a folder that `report` and `compare` read like a run."""
    classes = run.scheme.classes
    write_predictions(place / "predictions.parquet", frame, classes)
    named = run.recipe.model_copy(update={"name": f"{run.recipe.name} on {place.name}"[:200]})
    write_text(place / "recipe.yaml", named.to_yaml())
    write_json(
        place / "environment.json",
        environment(run.recipe.trainer.device, run.recipe.trainer.threads),
    )
    folds = {exam.job.fold.name: list(exam.ids) for exam in exams}
    listed = [{"name": n, "train": [], "dev": [], "test": ids} for n, ids in folds.items()]
    write_json(place / "folds.json", {"folds": listed})
    write_json(place / "audit.json", seen.audit())
    metrics = {
        "run": str(run.folder),
        "on": place.name,
        "protocol": seen.protocol,
        "stamp": seen.stamp,
        "speaker_independent": seen.speaker_independent,
        "summary": summarise(frame, classes).to_json(),
        "notes": list(notes),
    }
    write_json(place / "metrics.json", metrics)
    return metrics
