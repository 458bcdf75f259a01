"""What stress does to a run's figures: every condition against the clean one, paired by speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.augment.stress import Condition
from emofuse.evaluation.intervals import (
    RESAMPLES,
    Interval,
    Unit,
    bootstrap,
    cluster_counts,
    interval_notes,
)
from emofuse.evaluation.metrics import METRICS
from emofuse.evaluation.paired import holm, paired_interval, swap_test

__all__ = ["StressRow", "StressSummary", "stress_summary"]

METRIC = "ua"


@dataclass(frozen=True)
class StressRow:
    """One condition.

    Attributes:
        label, group, kind, level, modality: see `augment.stress.Condition`.
        metrics: metric -> value under the condition, mean over seeds.
        clean: UA on the same utterances, undisturbed.
        interval: of UA under the condition.
        difference, difference_interval: UA under the condition less clean UA, paired by speaker.
        p, p_holm: of the swap test, and corrected over all conditions.
        answers_changed: share of the answers that are another class than when undisturbed.
        utterances: judged.
        failed: utterances that could not be made or encoded, and are left out on both sides.
        note: what was measured of the condition itself.
    """

    label: str
    group: str
    kind: str
    level: float | None
    modality: str
    metrics: Mapping[str, float]
    clean: float
    interval: Interval
    difference: float
    difference_interval: Interval
    p: float
    p_holm: float
    answers_changed: float
    utterances: int
    failed: int
    note: str = ""


@dataclass(frozen=True)
class StressSummary:
    """All conditions of a run.

    Attributes:
        clean: metric -> value, undisturbed; mean over seeds.
        clean_interval: of UA.
        unit, clusters: what intervals draw, and how many there are.
        chance: UA of a blind guess.
        rows: one a condition, in the order asked for.
        skipped: label -> why the condition does not apply to this run.
        notes: what the reader must know.
    """

    clean: Mapping[str, float]
    clean_interval: Interval
    unit: Unit
    clusters: int
    chance: float
    rows: tuple[StressRow, ...]
    skipped: Mapping[str, str]
    notes: tuple[str, ...]


def stress_summary(
    clean: pd.DataFrame,
    stressed: Sequence[tuple[Condition, pd.DataFrame, str]],
    classes: Sequence[str],
    *,
    skipped: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StressSummary:
    """Compare every condition with the undisturbed answers of the same models.

    Args:
        clean: undisturbed predictions (see `evaluation.predictions`).
        stressed: conditions, their predictions (fewer rows where something failed), and a note.
        classes: class names in order.
        skipped: label -> why.
        notes: what else the reader must know.
        resamples: of the bootstrap.
        seed: of all draws.
    """
    whole = cluster_counts(clean, classes)
    rows = [_row(clean, one, classes, (resamples, seed)) for one in stressed]
    corrected = holm([row.p for row in rows])
    said = [*interval_notes(whole.unit, len(whole)), *notes]
    return StressSummary(
        clean=_metrics(whole.counts),
        clean_interval=bootstrap(whole, (METRIC,), resamples, seed)[METRIC],
        unit=whole.unit,
        clusters=len(whole),
        chance=1.0 / clean["gold"].nunique(),
        rows=tuple(replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True)),
        skipped=dict(skipped or {}),
        notes=tuple(said),
    )


def _row(
    clean: pd.DataFrame,
    one: tuple[Condition, pd.DataFrame, str],
    classes: Sequence[str],
    draw: tuple[int, int],
) -> StressRow:
    condition, frame, note = one
    keys = ["id", "fold", "seed"]
    before = frame[keys].merge(clean, on=keys, how="left", validate="one_to_one")
    base, now = cluster_counts(before, classes), cluster_counts(frame, classes)
    first, second = (part.counts.mean(axis=1) for part in (now, base))
    p, _, _ = swap_test(first, second, METRIC, seed=draw[1])
    metrics = _metrics(now.counts)
    undisturbed = _metrics(base.counts)[METRIC]
    same = before["predicted"].to_numpy() == frame["predicted"].to_numpy()
    return StressRow(
        label=condition.label,
        group=condition.group,
        kind=condition.kind,
        level=condition.level,
        modality=condition.modality,
        metrics=metrics,
        clean=undisturbed,
        interval=bootstrap(now, (METRIC,), *draw)[METRIC],
        difference=metrics[METRIC] - undisturbed,
        difference_interval=paired_interval(first, second, METRIC, *draw),
        p=p,
        p_holm=p,
        answers_changed=float(1.0 - same.mean()),
        utterances=len(frame.drop_duplicates(["corpus", "id"])),
        failed=len(clean.drop_duplicates(["corpus", "id"]))
        - len(frame.drop_duplicates(["corpus", "id"])),
        note=note,
    )


def _metrics(counts: NDArray[np.float64]) -> dict[str, float]:
    """Mean over seeds of each metric, from ``(clusters, seeds, classes, classes)``."""
    matrices = counts.sum(axis=0)
    return {name: float(np.mean(METRICS[name](matrices))) for name in METRICS}
