"""The figures of a run, from its predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.errors import WorkError
from emofuse.evaluation.intervals import (
    RESAMPLES,
    Interval,
    Unit,
    bootstrap,
    cluster_counts,
    interval_notes,
)
from emofuse.evaluation.metrics import (
    CLASS_METRICS,
    METRICS,
    Scores,
    confusion_matrix,
    mean_defined,
    scores_of,
)
from emofuse.evaluation.predictions import WEIGHT, modalities_of
from emofuse.evaluation.resampling import sum_intervals

__all__ = ["ClassRow", "Estimate", "PartRow", "Summary", "summarise"]


@dataclass(frozen=True)
class Estimate:
    """A metric of a run.

    Attributes:
        mean: mean over seeds; each seed's value comes from all its folds' predictions at once.
        std_seeds: standard deviation (n - 1) over seeds; None with one seed.
        std_folds: standard deviation (n - 1) over folds of the fold's mean over seeds; None with
            one fold.
        interval: 95 % bootstrap interval of the mean.
    """

    mean: float
    std_seeds: float | None
    std_folds: float | None
    interval: Interval


@dataclass(frozen=True)
class ClassRow:
    """One class: values are means over seeds; None where undefined (see `metrics`).

    Attributes:
        name: of the class.
        support: its utterances in gold.
        recall, precision, f1: the values.
        intervals: the 95 % interval of each of the three.
    """

    name: str
    support: int
    recall: float | None
    precision: float | None
    f1: float | None
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class PartRow:
    """One fold (mean over seeds) or one seed (all folds at once)."""

    name: str
    utterances: int
    speakers: int | None
    metrics: Mapping[str, float]
    absent: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Summary:
    """Everything a report says in figures.

    Attributes:
        classes: class names in order.
        metrics: metric name -> estimate.
        per_class, per_fold, per_seed: the rows of the tables.
        confusion: ``(classes, classes)`` counts over all seeds, rows gold.
        utterances: different utterances judged.
        speakers: different speakers; None where some are unknown.
        folds, seeds: how many.
        unit: what the interval draws: speakers, dialogues or utterances.
        clusters: how many of them.
        chance_ua: UA of any constant or blind guess: 1 / classes present.
        majority_wa: WA of always naming the largest class.
        weights: modality -> mean share of the decision; empty where the model gives none.
        class_weights: modality -> class -> mean share where gold is that class.
        notes: what the reader must know about these figures.
    """

    classes: tuple[str, ...]
    metrics: Mapping[str, Estimate]
    per_class: tuple[ClassRow, ...]
    per_fold: tuple[PartRow, ...]
    per_seed: tuple[PartRow, ...]
    confusion: NDArray[np.int64]
    utterances: int
    speakers: int | None
    folds: int
    seeds: int
    unit: Unit
    clusters: int
    chance_ua: float
    majority_wa: float
    weights: Mapping[str, float]
    class_weights: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {**asdict(self), "confusion": self.confusion.tolist(), "notes": list(self.notes)}


def summarise(
    frame: pd.DataFrame, classes: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Summary:
    """Sum predictions up.

    Args:
        frame: checked predictions (see `evaluation.predictions`).
        classes: class names in order.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        WorkError: there are no predictions.
    """
    if not len(frame):
        raise WorkError("there are no predictions to sum up")
    per_seed = [(str(s), part) for s, part in frame.groupby("seed", sort=True)]
    per_fold = [(str(f), part) for f, part in frame.groupby("fold", sort=False)]
    seed_scores = [_score(part, classes) for _, part in per_seed]
    fold_rows = tuple(_row(name, part, classes) for name, part in per_fold)
    clusters = cluster_counts(frame, classes)
    intervals = bootstrap(clusters, resamples=resamples, seed=seed)
    support = frame.drop_duplicates(["corpus", "id"])["gold"].value_counts()
    counts = [int(support.get(name, 0)) for name in classes]
    weights, class_weights = _weights(frame, classes)
    return Summary(
        classes=tuple(classes),
        metrics={
            name: Estimate(
                mean=float(np.mean([getattr(s, name) for s in seed_scores])),
                std_seeds=_std([getattr(s, name) for s in seed_scores]),
                std_folds=_std([row.metrics[name] for row in fold_rows]),
                interval=intervals[name],
            )
            for name in METRICS
        },
        per_class=_class_rows(
            classes, counts, seed_scores, _class_intervals(clusters.counts, resamples, seed)
        ),
        per_fold=fold_rows,
        per_seed=tuple(_row(name, part, classes) for name, part in per_seed),
        confusion=np.sum([s.confusion for s in seed_scores], axis=0),
        utterances=len(frame.drop_duplicates(["corpus", "id"])),
        speakers=_speakers(frame),
        folds=len(per_fold),
        seeds=len(per_seed),
        unit=clusters.unit,
        clusters=len(clusters),
        chance_ua=1.0 / sum(count > 0 for count in counts),
        majority_wa=max(counts) / sum(counts),
        weights=weights,
        class_weights=class_weights,
        notes=_notes(frame, classes, counts, clusters.unit, len(clusters)),
    )


def _score(part: pd.DataFrame, classes: Sequence[str]) -> Scores:
    places = {name: place for place, name in enumerate(classes)}
    gold, predicted = (part[n].map(places).to_numpy(np.int64) for n in ("gold", "predicted"))
    return scores_of(confusion_matrix(gold, predicted, len(classes)))


def _row(name: str, part: pd.DataFrame, classes: Sequence[str]) -> PartRow:
    found = [_score(one, classes) for _, one in part.groupby("seed", sort=True)]
    means = {m: float(np.mean([getattr(s, m) for s in found])) for m in METRICS}
    return PartRow(
        name=name,
        utterances=len(part.drop_duplicates(["corpus", "id"])),
        speakers=_speakers(part),
        metrics=means,
        absent=tuple(classes[place] for place in found[0].absent),
    )


def _class_rows(
    classes: Sequence[str],
    counts: Sequence[int],
    found: Sequence[Scores],
    intervals: Sequence[Mapping[str, Interval]],
) -> tuple[ClassRow, ...]:
    return tuple(
        ClassRow(
            name=name,
            support=counts[place],
            recall=_mean([s.recall[place] for s in found]),
            precision=_mean([s.precision[place] for s in found]),
            f1=_mean([s.f1[place] for s in found]),
            intervals=intervals[place],
        )
        for place, name in enumerate(classes)
    )


def _class_intervals(
    counts: NDArray[np.float64], resamples: int, seed: int
) -> list[dict[str, Interval]]:
    """Intervals of recall, precision and F1 of each class, averaged over seeds."""
    clusters, seeds, width = counts.shape[:3]

    def measure(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        matrices = flat.reshape(len(flat), seeds, width, width)
        kinds = [mean_defined(np.moveaxis(one(matrices), 1, -1)) for one in CLASS_METRICS.values()]
        return np.concatenate(kinds, axis=1)

    found = sum_intervals(counts.reshape(clusters, -1), measure, resamples, seed)
    return [
        {name: found[kind * width + place] for kind, name in enumerate(CLASS_METRICS)}
        for place in range(width)
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _speakers(frame: pd.DataFrame) -> int | None:
    if bool(frame["speaker"].isna().any()):
        return None
    return len(frame.drop_duplicates(["corpus", "speaker"]))


def _weights(
    frame: pd.DataFrame, classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    given = [n for n in modalities_of(frame) if bool(frame[WEIGHT + n].any())]
    names = modalities_of(frame) if given else ()
    columns = [WEIGHT + name for name in names]
    overall = {n: float(frame[c].mean()) for n, c in zip(names, columns, strict=True)}
    by_class = {
        n: {k: float(frame.loc[frame["gold"] == k, c].mean()) for k in _present(frame, classes)}
        for n, c in zip(names, columns, strict=True)
    }
    return overall, by_class


def _present(frame: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    found = set(frame["gold"])
    return [name for name in classes if name in found]


def _notes(
    frame: pd.DataFrame, classes: Sequence[str], counts: Sequence[int], unit: Unit, clusters: int
) -> tuple[str, ...]:
    notes = [*interval_notes(unit, clusters)]
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        names = ", ".join(absent)
        notes.append(f"no test utterance of {names}: it has no recall and is not part of UA")
    sizes = frame.groupby("seed").size()
    if sizes.nunique() > 1:
        listed = ", ".join(f"seed {s}: {n}" for s, n in sizes.items())
        notes.append(f"the run is incomplete, seeds differ in predictions ({listed})")
    repeats = int(frame.duplicated(["corpus", "id", "seed"]).sum())
    if repeats:
        notes.append(f"{repeats} predictions are of utterances that another fold tests too")
    return tuple(notes)
