"""The report of one run or several: tables, JSON, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from emofuse.evaluation.analysis import Analysis, analyse
from emofuse.evaluation.analysis_tables import analysis_tables
from emofuse.evaluation.compare import distinct_names
from emofuse.evaluation.confidence import Confidence, confidence_of, confidence_png
from emofuse.evaluation.fairness import ATTRIBUTES
from emofuse.evaluation.intervals import RESAMPLES
from emofuse.evaluation.metrics import METRIC_NAMES, METRICS
from emofuse.evaluation.openings import count_openings
from emofuse.evaluation.plots import confusion_png, curves_png
from emofuse.evaluation.runs import RunFolder, read_run
from emofuse.evaluation.summary import Summary, summarise
from emofuse.evaluation.tables import (
    Table,
    class_table,
    data_table,
    label,
    percent,
    score_cells,
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

LONGEST_TEXT = 100_000
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


def report_html(reports: Sequence[Report]) -> str:
    """Write the page: one HTML text with its pictures inside and no request to anywhere."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("emofuse.evaluation").joinpath("templates", "report.html.j2")
    names = distinct_names([report.run for report in reports])
    sections = [
        _section(r, name, n) for n, (r, name) in enumerate(zip(reports, names, strict=True))
    ]
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        title=", ".join(names) if len(names) < 4 else f"{len(names)} runs",
        tables=report_tables(reports) if len(reports) > 1 else [],
        sections=sections,
        metric_names={name.upper(): text for name, text in METRIC_NAMES.items()},
    )


def _section(report: Report, name: str, number: int) -> dict[str, Any]:
    """Everything the template shows of one run."""
    run, summary = report.run, report.summary
    curves = curves_png(run.histories)
    return {
        "number": number,
        "name": name,
        "path": str(run.path),
        "stamp": run.stamp,
        "notes": report_notes(report),
        "scores": [
            (metric.upper(), METRIC_NAMES[metric], *score_cells(summary.metrics[metric]))
            for metric in METRICS
        ],
        "facts": _facts(report),
        "audit": _audit(run.audit),
        "confusion": _data_uri(confusion_png(summary.confusion, summary.classes)),
        "confusion_text": _confusion_text(summary),
        "classes": [
            (row.name, f"{row.support:,}", *map(percent, (row.recall, row.precision, row.f1)))
            for row in summary.per_class
        ],
        "parts": [("fold", summary.per_fold), ("seed", summary.per_seed)],
        "metrics": tuple(METRICS),
        "percent": percent,
        "curves": None if curves is None else _data_uri(curves),
        "jobs": len(run.histories),
        "weights": _weights(summary),
        "confidence": _confidence(report.confidence),
        "confidence_png": _data_uri(confidence_png(report.confidence)),
        "recipe": _dump(run.recipe),
        "environment": _dump(run.environment),
    }


def _confidence(found: Confidence) -> list[tuple[str, str]]:
    answered = [
        (f"answered at no more than {percent(risk)} % wrong", f"{percent(share)} %")
        for risk, share in found.answered.items()
    ]
    return [
        ("expected calibration error", f"{percent(found.calibration_error)} %"),
        ("Brier score (0 best, 2 worst)", f"{found.brier:.3f}"),
        ("negative log-likelihood", f"{found.likelihood:.3f} nats"),
        *answered,
    ]


def _facts(report: Report) -> list[tuple[str, str]]:
    s, openings = report.summary, openings_of_test(report.run)
    spread = s.metrics["ua"].std_folds
    return [
        ("utterances", f"{s.utterances:,}"),
        ("speakers", "unknown" if s.speakers is None else f"{s.speakers:,}"),
        ("folds", f"{s.folds:,}"),
        ("seeds", f"{s.seeds:,}"),
        ("UA, std over folds", "one fold" if spread is None else f"{percent(spread)} points"),
        ("UA by chance", f"{percent(s.chance_ua)} %"),
        ("WA of the largest class", f"{percent(s.majority_wa)} %"),
        ("interval drawn by", f"{s.unit} ({s.clusters:,})"),
        ("openings of test", "not recorded" if openings is None else f"{openings:,}"),
    ]


def _audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    cue = audit.get("text_cue")
    cue = cue if isinstance(cue, dict) else {}
    return {
        "verdict": _line(cue.get("verdict", "")),
        "note": _line(cue.get("note", "")),
        "violations": [_line(one) for one in _list(audit.get("violations"))],
        "warnings": [
            line for line in map(_line, _list(audit.get("warnings"))) if not _told(line, cue)
        ],
        "folds": [_fold_line(one) for one in _list(audit.get("folds")) if isinstance(one, dict)],
    }


def _told(warning: str, cue: Mapping[str, Any]) -> bool:
    """Whether a warning only repeats what is shown of the text."""
    return bool(cue.get("note")) and warning == f"text: {_line(cue['note'])}"


def _fold_line(fold: Mapping[str, Any]) -> tuple[str, str]:
    """Name of a fold, and its sizes and overlaps in words."""
    sizes = fold.get("sizes")
    parts = [f"{key} {n}" for key, n in (sizes if isinstance(sizes, dict) else {}).items()]
    test = fold.get("test")
    for measure, overlap in test.items() if isinstance(test, dict) else ():
        shared = overlap.get("utterances") if isinstance(overlap, dict) else None
        if shared:
            parts.append(f"{shared} test utterances share their {measure} with training")
    return _line(fold.get("name", "")), ", ".join(parts)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _line(value: Any) -> str:
    """One line of anything an audit holds."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_line(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_line(inner) for inner in value)
    return " ".join(str(value).split())


def _weights(summary: Summary) -> dict[str, Any] | None:
    """Mean share of every modality: overall and by gold class."""
    if len(summary.weights) < 2:
        return None
    present = [row.name for row in summary.per_class if row.support]
    rows = [("all", *(percent(value) for value in summary.weights.values()))]
    rows += [(n, *(percent(part[n]) for part in summary.class_weights.values())) for n in present]
    return {"heads": ("gold class", *summary.weights), "rows": rows}


def _confusion_text(summary: Summary) -> str:
    """The confusion matrix for those who cannot see it."""
    lines = []
    for row, name in enumerate(summary.classes):
        counts = summary.confusion[row]
        if not counts.sum():
            lines.append(f"{name}: no test utterance")
            continue
        shares = sorted(zip(counts / counts.sum(), summary.classes, strict=True), reverse=True)
        shown = ", ".join(f"{other} {share:.0%}" for share, other in shares[:3] if share)
        lines.append(f"{name} recognised as {shown}")
    return "Confusion matrix. " + "; ".join(lines) + "."


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _dump(value: Mapping[str, Any]) -> str:
    """Show a file's content as YAML, cut where it is endless."""
    plain = json.loads(json.dumps(dict(value), default=str))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100) if plain else ""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "\n…"
