"""Tables of an analysis: calibration, areas under curves, dimensions, groups, variance."""

from __future__ import annotations

from collections.abc import Sequence

from emofuse.evaluation.analysis import Analysis
from emofuse.evaluation.fairness import LEADING, Fairness
from emofuse.evaluation.honesty import Measured, Quality
from emofuse.evaluation.intervals import Interval
from emofuse.evaluation.tables import Table, p_value, percent
from emofuse.evaluation.variance import PARTS

__all__ = ["analysis_tables", "fairness_tables"]


def analysis_tables(analyses: Sequence[Analysis], names: Sequence[str]) -> list[Table]:
    """Give the tables of one run or several, groups aside: see `fairness_tables`."""
    named = list(zip(names, analyses, strict=True))
    tables = [_calibration(named), _sets(named), _curves(named), _dimensions(named)]
    tables += [_variance(named), _power(named)]
    return [table for table in tables if table is not None]


Named = Sequence[tuple[str, Analysis]]


def _shown(one: Measured | None, digits: int = 1, scale: float = 100.0) -> str:
    """A figure and its interval: ``74.2 (70.1–78.0)``."""
    if one is None:
        return "–"
    return f"{scale * one.value:.{digits}f}{_within(one.interval, digits, scale)}"


def _within(interval: Interval, digits: int = 1, scale: float = 100.0) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f" ({scale * interval.low:.{digits}f}–{scale * interval.high:.{digits}f})"


def _calibration(named: Named) -> Table:
    def row(name: str, kind: str, found: Quality) -> tuple[str, ...]:
        return (
            name,
            kind,
            _shown(found.calibration_error),
            _shown(found.brier, 3, 1.0),
            _shown(found.likelihood, 3, 1.0),
        )

    rows = []
    for name, one in named:
        rows.append(row(name, "raw", one.honesty.raw))
        if one.honesty.calibrated is not None:
            rows.append(row(name, "calibrated on dev", one.honesty.calibrated))
    heads = ("run", "probabilities", "ECE %", "Brier", "NLL (nats)")
    return Table("calibration on test (95 % interval)", heads, tuple(rows), 2)


def _sets(named: Named) -> Table | None:
    rows = []
    for name, one in named:
        sets, silence = one.honesty.sets, one.honesty.silence
        if sets is None or silence is None:
            continue
        lowest = "–"
        if sets.by_speaker:
            lowest = f"{percent(sets.by_speaker[0][1])} ({sets.by_speaker[0][0]})"
        rows.append(
            (
                name,
                _shown(sets.coverage),
                lowest,
                _shown(sets.size, 2, 1.0),
                _shown(silence.answered),
                _shown(silence.risk),
            )
        )
    heads = ("run", "sets hold it %", "worst speaker", "set size", "answered %", "of them wrong %")
    title = "sets of emotions and silence, fitted on dev, on test"
    return Table(title, heads, tuple(rows)) if rows else None


def _curves(named: Named) -> Table:
    rows = []
    for name, one in named:
        for curve in (*one.discrimination.classes, one.discrimination.mean):
            guess = "" if curve.name == "mean" else percent(curve.share)
            rows.append((name, curve.name, _shown(curve.auc), _shown(curve.ap), guess))
    heads = ("run", "class against the rest", "ROC AUC %", "AP %", "AP of guessing %")
    return Table("telling one class from the rest (95 % interval)", heads, tuple(rows), 2)


def _dimensions(named: Named) -> Table | None:
    rows = [
        (
            name,
            dimension,
            _shown(found.ccc, 3, 1.0),
            _shown(found.pearson, 3, 1.0),
            _shown(found.mae, 3, 1.0),
            f"{found.utterances:,}",
        )
        for name, one in named
        if one.dimensions is not None
        for dimension, found in one.dimensions.dimensions.items()
    ]
    heads = ("run", "dimension", "CCC", "Pearson", "MAE", "utterances")
    return Table("dimensions (95 % interval)", heads, tuple(rows), 2) if rows else None


def _variance(named: Named) -> Table | None:
    rows = [
        (name, found.metric.upper(), *(percent(found.share.get(part)) for part in PARTS))
        for name, one in named
        for found in one.variance
    ]
    title = "where the spread of a speaker's score comes from, share in %"
    return Table(title, ("run", "metric", *PARTS), tuple(rows), 2) if rows else None


def _power(named: Named) -> Table:
    rows = tuple(
        (
            name,
            f"{one.power.utterances:,}",
            f"{one.power.clusters:,} {one.power.unit}s",
            percent(one.power.disagreement) + ("" if one.power.measured else " (assumed)"),
            f"{one.power.design_effect:.1f}",
            f"{100 * one.power.noise:.1f}",
            f"{100 * one.power.found:.1f}",
        )
        for name, one in named
    )
    heads = ("run", "items", "units", "one right %", "design effect", "noise below", "found from")
    return Table("what a comparison on these items can tell, points of WA", heads, rows)


def fairness_tables(analysis: Analysis, name: str = "") -> list[Table]:
    """Give a table for each attribute of a run: groups, what each figure rests on, the gap.

    Args:
        analysis: of the run.
        name: of the run, for the titles.
    """
    return [_groups(one, f"{name} " if name else "") for one in analysis.fairness]


def _groups(found: Fairness, start: str) -> Table:
    rows = []
    for group in found.groups:
        marks = [
            mark
            for mark, here in (("worst", found.worst), ("best", found.best))
            if here == group.name
        ]
        marks += ["few" if group.small else "", f"lacks {len(group.lacks)}" if group.lacks else ""]
        cells = (
            f"{percent(group.metrics[name])}{_within(group.intervals[name])}"
            for name in (LEADING, "wa", "mf1")
        )
        speakers = "unknown" if group.speakers is None else f"{group.speakers:,}"
        remark = ", ".join(mark for mark in marks if mark)
        rows.append((group.name, *cells, f"{group.utterances:,}", speakers, remark))
    if found.gap is not None and found.gap_interval is not None:
        p = (
            ""
            if found.p_holm is None
            else f"p {p_value(found.p or 0.0)}, Holm {p_value(found.p_holm)}"
        )
        gap = f"{percent(found.gap)}{_within(found.gap_interval)}"
        rows.append(("gap", gap, "", "", "", "", f"by chance {percent(found.gap_by_chance)}, {p}"))
    heads = (found.attribute, "UA %", "WA %", "MF1 %", "utterances", "speakers", "remarks")
    return Table(f"{start}by {found.attribute} (95 % interval)", heads, tuple(rows))
