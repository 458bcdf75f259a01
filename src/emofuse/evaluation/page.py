"""The page of one run or several: everything in one file, nothing asked of any server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

from emofuse.errors import EmofuseError
from emofuse.evaluation.compare import compare_runs, distinct_names
from emofuse.evaluation.metrics import METRIC_NAMES, METRICS
from emofuse.evaluation.openings import read_openings
from emofuse.evaluation.page_parts import (
    calibration_part,
    curves_part,
    errors_part,
    fairness_part,
    png_uri,
    stress_part,
)
from emofuse.evaluation.page_plots import forest_png, risk_png
from emofuse.evaluation.plots import confusion_png, curves_png
from emofuse.evaluation.report import (
    openings_of_test,
    report_json,
    report_notes,
    report_tables,
)
from emofuse.evaluation.summary import Summary
from emofuse.evaluation.tables import comparison_table, percent, score_cells

if TYPE_CHECKING:
    from emofuse.evaluation.report import Report

__all__ = ["render"]

LONGEST_TEXT = 100_000
LEGACY = "legacy-"


def render(reports: Sequence[Report], audio: bool = True) -> str:
    """Write the page.

    Args:
        reports: one run, or several beside one another.
        audio: whether recordings of mistakes may be put in.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("emofuse.evaluation").joinpath("templates", "report.html.j2")
    names = distinct_names([report.run for report in reports])
    sections = [
        _section(r, name, n, audio) for n, (r, name) in enumerate(zip(reports, names, strict=True))
    ]
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        title=", ".join(names) if len(names) < 4 else f"{len(names)} runs",
        tables=report_tables(reports) if len(reports) > 1 else [],
        beside=_beside(reports, names),
        sections=sections,
        metric_names={name.upper(): text for name, text in METRIC_NAMES.items()},
    )


def _beside(reports: Sequence[Report], names: Sequence[str]) -> dict[str, Any] | None:
    """Several runs in one picture, and each pair tested on what both judged."""
    if len(reports) < 2:
        return None
    rows = []
    for report, name in zip(reports, names, strict=True):
        ua = report.summary.metrics["ua"]
        ends = [None if e is None else 100 * e for e in (ua.interval.low, ua.interval.high)]
        rows.append((name, 100 * ua.mean, ends[0], ends[1]))
    try:
        table = comparison_table(compare_runs([report.run for report in reports]))
        refused = ""
    except EmofuseError as error:
        table, refused = None, str(error)
    text = "; ".join(f"{name} {value:.1f} %" for name, value, _, _ in rows)
    picture = png_uri(forest_png(rows, "UA, % (95 %)", None))
    return {"picture": picture, "text": text, "table": table, "refused": refused}


def _section(report: Report, name: str, number: int, audio: bool) -> dict[str, Any]:
    """Everything the template shows of one run."""
    run, summary = report.run, report.summary
    figures = report_json([report])["runs"][0]
    curves = curves_png(run.histories)
    notes = report_notes(report)
    stress = stress_part(run, notes)
    return {
        "number": number,
        "name": name,
        "path": str(run.path),
        "stamp": run.stamp,
        "legacy": run.stamp.protocol.startswith(LEGACY),
        "notes": notes,
        "scores": [
            (metric.upper(), METRIC_NAMES[metric], *score_cells(summary.metrics[metric]))
            for metric in METRICS
        ],
        "facts": _facts(report),
        "audit": _audit(run.audit),
        "confusion": png_uri(confusion_png(summary.confusion, summary.classes)),
        "confusion_text": _confusion_text(summary),
        "classes": [
            (row.name, f"{row.support:,}", *map(percent, (row.recall, row.precision, row.f1)))
            for row in summary.per_class
        ],
        "parts": [("fold", summary.per_fold), ("seed", summary.per_seed)],
        "metrics": tuple(METRICS),
        "percent": percent,
        "curves": None if curves is None else png_uri(curves),
        "jobs": len(run.histories),
        "weights": _weights(summary),
        "confidence": _confidence(report),
        "risk": png_uri(
            risk_png(
                report.confidence.curve.coverage.tolist(), report.confidence.curve.risk.tolist()
            )
        ),
        "calibration": calibration_part(figures),
        "discrimination": curves_part(figures),
        "fairness": fairness_part(figures),
        "stress": stress,
        "errors": errors_part(run, audio),
        "openings": [
            (one.at, one.why, "?" if one.utterances is None else f"{one.utterances:,}")
            for one in read_openings(run.path)
        ],
        "recipe": _dump(run.recipe),
        "environment": _dump(run.environment),
    }


def _confidence(report: Report) -> list[tuple[str, str]]:
    found = report.confidence
    return [
        (f"answered at no more than {percent(risk)} % wrong", f"{percent(share)} %")
        for risk, share in found.answered.items()
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


def _dump(value: Mapping[str, Any]) -> str:
    """Show a file's content as YAML, cut where it is endless."""
    plain = json.loads(json.dumps(dict(value), default=str))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100) if plain else ""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "\n…"
