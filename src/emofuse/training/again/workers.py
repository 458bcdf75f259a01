"""Looking at a run again by several workers: each opens it for itself, once, and answers tasks.

The caller holds the run's lock and has encoded what the store lacked; workers read the run, and
write nothing but features of encoders that a fold or a training has for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emofuse.augment.stress import StressOptions
from emofuse.cluster.crew import map_tasks
from emofuse.cluster.engine import Engine
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.manifest import Manifest
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.training.again.examine import Exam, OpenedRun, ask, open_run
from emofuse.training.again.stress import Stress, families

__all__ = ["Place", "ask_together", "judged_on", "stress_together"]


@dataclass(frozen=True)
class Place:
    """What workers open.

    Attributes:
        folder: of a finished run.
        manifest: other utterances to judge; None = the run's own.
        root: where their media are.
    """

    folder: Path
    manifest: Path | None = None
    root: Path | None = None


def judged_on(
    run: OpenedRun, manifest: Path, root: Path | None, progress: Progress = silent
) -> tuple[Manifest, FeatureTable]:
    """Give the labelled utterances of a manifest, and their features by the recipe's encoders."""
    judged = Manifest.load(manifest, root).label(run.scheme)
    judged = judged.filter(lambda u: u.emotion is not None)
    store = FeatureStore(Path(run.recipe.data.store))
    return judged, load_table(judged, run.recipe.encoders, store, progress, device=run.device)


@dataclass(frozen=True)
class _Opener:
    """Opens a run in a worker."""

    place: Place

    def __call__(self) -> tuple[OpenedRun, Manifest, FeatureTable]:
        run = open_run(self.place.folder)
        if self.place.manifest is None:
            return run, run.data.manifest, run.data.table
        return run, *judged_on(run, self.place.manifest, self.place.root)


def ask_together(
    place: Place, exams: Sequence[Exam], engine: Engine, progress: Progress
) -> pd.DataFrame:
    """Ask every model about its utterances; the rows are those of one process, in its order.

    Args:
        place: what workers open.
        exams: which models, about what.
        engine: who does the work.
        progress: told of ``evaluate``.
    """

    def told(done: int, total: int) -> None:
        progress(ProgressEvent("evaluate", done, total, "models"))

    tasks = [(exam.job.fold.name, exam.job.seed, exam.ids) for exam in exams]
    frames = map_tasks(_answer, tasks, engine=engine, setup=_Opener(place), hook=told)
    return pd.concat(frames, ignore_index=True)


def _answer(
    state: tuple[OpenedRun, Manifest, FeatureTable], task: tuple[str, int, tuple[str, ...]]
) -> pd.DataFrame:
    run, manifest, table = state
    fold, seed, ids = task
    job = next(one for one in run.jobs if (one.fold.name, one.seed) == (fold, seed))
    return ask(run, Exam(job, ids), manifest, table)


@dataclass(frozen=True)
class _Stresser:
    """Gets the stress of a run ready in a worker."""

    folder: Path
    options: StressOptions

    def __call__(self) -> Stress:
        return Stress(open_run(self.folder), self.options, silent)


def stress_together(
    stress: Stress, folder: Path, options: StressOptions, engine: Engine, progress: Progress
) -> None:
    """Let workers carry out the conditions that are not finished, a kind of them at a time."""
    kinds = [name for name, _ in families(stress.applicable()[0])]

    def told(done: int, total: int) -> None:
        progress(ProgressEvent("stress", done, total, "kinds"))

    map_tasks(_carry_out, kinds, engine=engine, setup=_Stresser(folder, options), hook=told)


def _carry_out(stress: Stress, kind: str) -> None:
    stress.carry_out(kind)
