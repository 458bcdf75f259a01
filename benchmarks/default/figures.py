"""The figures of the card, as ``emofuse report RUN --by corpus,gender,speaker`` gives them.

All are in per cent. An entry is ``[value, low, high]``, the ends of the 95 % interval, or
``[value]`` where there is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emofuse.evaluation.fairness import fairness_of
from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.summary import Estimate, summarise

JUDGED = ("emodb", "ravdess", "nemo")
DRAWS = 2000
Entry = list[float]


def percent(*values: float | None) -> Entry:
    """Round to a tenth of a per cent; what is unknown stays out."""
    return [round(100.0 * value, 1) for value in values if value is not None]


def by_corpus(run: Path) -> dict[str, Entry]:
    """Give UA of each corpus, and of the mean of the three that are judged."""
    frame, classes = read_predictions(run / "predictions.parquet")
    (found,) = fairness_of(frame, classes, ["corpus"])
    rows = {g.name: percent(g.metrics["ua"], *ends(g.intervals["ua"])) for g in found.groups}
    if set(JUDGED) <= set(rows):
        rows = {"mean of the three": mean_of_three(frame, list(classes)), **rows}
    return rows


def ends(interval: Any) -> tuple[float | None, float | None]:
    """Give the two ends of an interval."""
    return interval.low, interval.high


def mean_of_three(frame: pd.DataFrame, classes: list[str]) -> Entry:
    """Give the mean of the three corpora's UA; speakers are drawn within each corpus."""
    random = np.random.default_rng(0)
    drawn: list[np.ndarray] = []
    value = 0.0
    for corpus in JUDGED:
        part = frame[frame["corpus"] == corpus]
        counts = np.stack([confusion(one, classes) for _, one in part.groupby("speaker")])
        value += recall(counts.sum(axis=0)) / len(JUDGED)
        picks = random.integers(len(counts), size=(DRAWS, len(counts)))
        drawn.append(np.array([recall(counts[pick].sum(axis=0)) for pick in picks]))
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return percent(value, float(low), float(high))


def confusion(part: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Count what was said of what."""
    table = pd.crosstab(part["gold"], part["predicted"])
    return table.reindex(index=classes, columns=classes, fill_value=0).to_numpy(np.float64)


def recall(counts: np.ndarray) -> float:
    """Give UA of a confusion matrix, over the classes that it has."""
    there = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[there] / counts.sum(axis=1)[there]))


def fairness(run: Path) -> list[dict[str, Any]]:
    """Give, for gender and speaker, who is served worst and best, and what chance would make."""
    frame, classes = read_predictions(run / "predictions.parquet")
    rows = []
    for one in fairness_of(frame, classes, ["gender", "speaker"]):
        groups = {g.name: percent(g.metrics["ua"], *ends(g.intervals["ua"])) for g in one.groups}
        gap = [one.gap, *(ends(one.gap_interval) if one.gap_interval else ())]
        rows.append(
            {
                "by": one.attribute,
                "worst": {str(one.worst): groups[str(one.worst)]},
                "best": {str(one.best): groups[str(one.best)]},
                "gap": percent(*gap),
                "by chance": percent(one.gap_by_chance),
                "p": round(float(one.p_holm if one.p_holm is not None else 1.0), 4),
            }
        )
    return rows


def stress(run: Path) -> dict[str, dict[str, Entry]]:
    """Give UA of the run under each condition of ``RUN/stress``, and what the condition costs."""
    folder = run / "stress"
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    found = {"clean": {"mean of the three": mean_under(folder / "predictions-clean.parquet")}}
    for row in summary["conditions"]:
        slug = "".join(c if c.isalnum() or c in "-." else "-" for c in row["label"])
        slug = "-".join(part for part in slug.split("-") if part)
        gap = row["difference_interval"]
        found[row["label"]] = {
            "mean of the three": mean_under(folder / f"predictions-{slug}.parquet"),
            "all judged together, less clean": percent(row["difference"], gap["low"], gap["high"]),
        }
    return found


def mean_under(file: Path) -> Entry:
    """Give the mean of the three corpora's UA in a file of predictions."""
    frame, classes = read_predictions(file)
    return mean_of_three(frame, list(classes))


def words(run: Path) -> dict[str, Entry]:
    """Give UA and WF1 of a run on MELD's test part."""
    frame, classes = read_predictions(run / "predictions.parquet")
    found = summarise(frame, classes).metrics
    return {name.upper(): of(found[name]) for name in ("ua", "wf1")}


def of(one: Estimate) -> Entry:
    """Give an estimate with its interval."""
    return percent(one.mean, *ends(one.interval))
