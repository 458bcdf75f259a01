"""The report of one run or several: tables, JSON, and a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.evaluation.analysis import Analysis, analyse
from emofuse.evaluation.analysis_tables import analysis_tables
from emofuse.evaluation.compare import distinct_names
from emofuse.evaluation.confidence import Confidence, confidence_of
from emofuse.evaluation.fairness import ATTRIBUTES
from emofuse.evaluation.intervals import RESAMPLES
from emofuse.evaluation.openings import count_openings
from emofuse.evaluation.runs import RunFolder, read_run
from emofuse.evaluation.summary import Summary, summarise
from emofuse.evaluation.tables import (
    Table,
    class_table,
    data_table,
    label,
    score_table,
    weight_table,
)

__all__ = [
    "Report",
    "read_report",
    "report_html",
    "report_json",
    "report_notes",
    "report_tables",
]

ANALYSIS_RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Report:
    """A run and its figures, recomputed from its predictions."""

    run: RunFolder
    summary: Summary
    confidence: Confidence
    analysis: Analysis


def read_report(
    path: Path, resamples: int = RESAMPLES, seed: int = 0, by: Sequence[str] = ATTRIBUTES
) -> Report:
    """Read a run directory and compute every figure from its predictions.

    Args:
        path: the run.
        resamples: of the intervals of scores.
        seed: of all draws.
        by: attributes to cut groups of speakers by.

    Raises:
        WorkError: the directory or its predictions cannot be read.
        OptionError: an unknown attribute.
    """
    run = read_run(path)
    return Report(
        run,
        summarise(run.predictions, run.classes, resamples, seed),
        confidence_of(run.predictions, run.classes),
        analyse(run.predictions, run.classes, by, min(resamples, ANALYSIS_RESAMPLES), seed),
    )


def report_tables(reports: Sequence[Report]) -> list[Table]:
    """Give the tables of one run or several: scores, recalls, weights, and the analysis."""
    runs = [report.run for report in reports]
    summaries = [report.summary for report in reports]
    names = distinct_names(runs)
    shared = (runs, summaries, names)
    tables = [score_table(*shared), data_table(*shared), class_table(*shared)]
    weights = weight_table(*shared)
    tables += [] if weights is None else [weights]
    told = [label(name, run.stamp.text) for name, run in zip(names, runs, strict=True)]
    return [*tables, *analysis_tables([report.analysis for report in reports], told)]


def report_notes(report: Report) -> list[str]:
    """What the reader must know: doubts on the figures, contamination, files that are missing."""
    alarm = leak_alarm(report)
    stamp = (*report.run.stamp.contaminated, *report.run.stamp.unknown)
    power = report.analysis.power.note
    notes = (*report.summary.notes, power, *stamp, *report.run.problems)
    return [alarm, *notes] if alarm else list(notes)


def leak_alarm(report: Report) -> str | None:
    """Tell when a model of words alone beats chance on words that carry no emotion by design.

    Returns:
        one line, or None: the model had more than words, the audit found that words may tell
        something, or the 95 % interval of UA holds chance.
    """
    cue = report.run.audit.get("text_cue")
    verdict = cue.get("verdict") if isinstance(cue, Mapping) else None
    encoders = report.run.recipe.get("encoders")
    if set(encoders or ()) != {"text"} or not str(verdict).startswith("none"):
        return None
    ua, chance = report.summary.metrics["ua"], report.summary.chance_ua
    low, high = ua.interval.low, ua.interval.high
    if low is None or high is None or low <= chance:
        return None
    return (
        f"LEAK ALARM: words alone reach UA {100 * ua.mean:.1f} % "
        f"({100 * low:.1f} to {100 * high:.1f}) where chance is {100 * chance:.1f} % "
        "and the sentences carry no emotion: some are commoner under some emotions, or text leaks"
    )


def report_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Give everything the tables say as plain values, full precision."""
    return {
        "runs": [
            {
                "name": report.run.name,
                "path": str(report.run.path),
                "protocol": report.run.stamp.protocol,
                "speaker_independent": report.run.stamp.independent,
                "contaminated": list(report.run.stamp.contaminated),
                "unknown_encoders": list(report.run.stamp.unknown),
                "stamp": report.run.stamp.text,
                "audit_stamp": report.run.stamp.line,
                "test_openings": openings_of_test(report.run),
                **report.summary.to_json(),
                "confidence": report.confidence.to_json(),
                **report.analysis.to_json(),
                "problems": list(report.run.problems),
            }
            for report in reports
        ]
    }


def openings_of_test(run: RunFolder) -> int | None:
    """How often the run opened test, by its record; None where it does not say."""
    recorded = count_openings(run.path)
    if recorded:
        return recorded
    for source in (run.metrics, run.environment):
        value = source.get("test_openings")
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, dict):
            return sum(v for v in value.values() if isinstance(v, int))
    return None


def report_html(reports: Sequence[Report], *, audio: bool = True) -> str:
    """Write the page: one HTML text with pictures and sound inside and no request to anywhere.

    Args:
        reports: one run, or several beside one another.
        audio: whether recordings of mistakes may be put in, where their licence lets them.
    """
    from emofuse.evaluation.page import render

    return render(reports, audio)
