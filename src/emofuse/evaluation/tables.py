"""Tables of one run or several: plain cells, and how they look in Markdown and LaTeX."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from emofuse.evaluation.compare import Comparison
from emofuse.evaluation.metrics import METRICS
from emofuse.evaluation.runs import RunFolder
from emofuse.evaluation.summary import ClassRow, Estimate, Summary

__all__ = [
    "Table",
    "class_table",
    "comparison_table",
    "data_table",
    "label",
    "percent",
    "score_cells",
    "score_table",
    "weight_table",
]

SOUND = "speaker-independent"
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        "−": "$-$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows, in which unit.
        columns: heads.
        rows: cells, as many a row as there are heads.
        numeric: number of leading columns that are words, the rest being figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int = 1

    def to_markdown(self) -> str:
        """Write GitHub's Markdown."""
        heads = [_markdown(cell) for cell in self.columns]
        rule = ["---" if place < self.numeric else "--:" for place in range(len(heads))]
        rows = [[_markdown(cell) for cell in row] for row in self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in [heads, rule, *rows]]
        return "\n".join([f"**{_markdown(self.title)}**", "", *lines])

    def to_html(self) -> str:
        """Write an HTML ``table``, to be put into a page of one's own."""

        def line(cells: tuple[str, ...], tag: str) -> str:
            shown = [html.escape(cell).replace("\n", "<br>") for cell in cells]
            return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in shown) + "</tr>"

        rows = "\n".join(line(row, "td") for row in self.rows)
        return (
            f"<table>\n<caption>{html.escape(self.title)}</caption>\n"
            f"<thead>{line(self.columns, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
        )

    def to_latex(self) -> str:
        """Write a LaTeX ``tabular`` (plain, no packages needed)."""
        letters = "".join("l" if p < self.numeric else "r" for p in range(len(self.columns)))
        lines = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in self.rows]
        heads = " & ".join(_latex(cell) for cell in self.columns) + r" \\"
        return "\n".join(
            [
                f"% {' '.join(self.title.split())}",
                rf"\begin{{tabular}}{{{letters}}}",
                r"\hline",
                heads,
                r"\hline",
                *lines,
                r"\hline",
                r"\end{tabular}",
            ]
        )


def _markdown(cell: str) -> str:
    escaped = html.escape(cell, quote=False).replace("\\", "\\\\").replace("|", "\\|")
    for mark in "*_`[]":
        escaped = escaped.replace(mark, "\\" + mark)
    return "<br>".join(escaped.split("\n"))


def _latex(cell: str) -> str:
    return ", ".join(" ".join(line.split()) for line in cell.split("\n")).translate(LATEX)


def percent(value: float | None) -> str:
    """Show a share in per cent without the sign, one digit after the point.

    >>> percent(0.7416), percent(None)
    ('74.2', '–')
    """
    return "–" if value is None else f"{100 * value:.1f}"


def score_cells(estimate: Estimate) -> tuple[str, str]:
    """Show a metric and its interval: ``("74.2 ± 1.1", "70.1–78.0")``."""
    spread = "" if estimate.std_seeds is None else f" ± {100 * estimate.std_seeds:.1f}"
    interval = estimate.interval
    ends = "no interval" if interval.low is None else _ends(interval.low, interval.high)
    return percent(estimate.mean) + spread, ends


def _ends(low: float | None, high: float | None) -> str:
    return f"{percent(low)}–{percent(high)}"


def label(name: str, stamp: str) -> str:
    """Name a run in a table, with its stamp where that is not the best one."""
    return name if stamp == SOUND else f"{name}\n{stamp}"


def score_table(
    runs: Sequence[RunFolder], summaries: Sequence[Summary], names: Sequence[str]
) -> Table:
    """Scores with spread and interval, protocol and stamp: one row a run."""
    rows = [
        (
            name,
            f"{run.stamp.protocol}\n{run.stamp.text}",
            *("\n".join(score_cells(summary.metrics[metric])) for metric in METRICS),
        )
        for name, run, summary in zip(names, runs, summaries, strict=True)
    ]
    units = sorted({summary.unit for summary in summaries})
    title = f"scores in %: mean ± std over seeds, 95 % interval by {' or '.join(units)}"
    return Table(title, ("run", "protocol", *(m.upper() for m in METRICS)), tuple(rows), 2)


def data_table(
    runs: Sequence[RunFolder], summaries: Sequence[Summary], names: Sequence[str]
) -> Table:
    """What was judged and what guessing would give: one row a run."""
    rows = [
        (
            label(name, run.stamp.text),
            f"{s.utterances:,}",
            "unknown" if s.speakers is None else f"{s.speakers:,}",
            f"{s.folds:,}",
            f"{s.seeds:,}",
            percent(s.metrics["ua"].std_folds),
            percent(s.chance_ua),
            percent(s.majority_wa),
        )
        for name, run, s in zip(names, runs, summaries, strict=True)
    ]
    columns = ("run", "utterances", "speakers", "folds", "seeds")
    guesses = ("UA std over folds", "chance UA", "majority WA")
    return Table("judged; spread and guessing in %", (*columns, *guesses), tuple(rows))


def class_table(
    runs: Sequence[RunFolder], summaries: Sequence[Summary], names: Sequence[str]
) -> Table:
    """Recall of each class in %: one row a class, one column a run."""
    classes = list(dict.fromkeys(c for summary in summaries for c in summary.classes))
    found = [{row.name: row for row in summary.per_class} for summary in summaries]
    heads = [label(name, run.stamp.text) for name, run in zip(names, runs, strict=True)]
    rows = []
    for name in classes:
        cells = []
        for by_name in found:
            row = by_name.get(name)
            shown = "not a class" if row is None else percent(row.recall) + _within(row)
            cells.append(shown if row is None else f"{shown} (n {row.support:,})")
        rows.append((name, *cells))
    return Table("recall in %, 95 % interval (n utterances)", ("class", *heads), tuple(rows))


def _within(row: ClassRow) -> str:
    """The interval of a recall: `` (70.1–78.0)``."""
    one = row.intervals.get("recall")
    return "" if one is None or one.low is None else f" ({_ends(one.low, one.high)})"


def weight_table(
    runs: Sequence[RunFolder], summaries: Sequence[Summary], names: Sequence[str]
) -> Table | None:
    """Mean share of each modality in the decision, in %; None where no run has several."""
    modalities = list(dict.fromkeys(m for summary in summaries for m in summary.weights))
    if len(modalities) < 2:
        return None
    rows = [
        (label(name, run.stamp.text), *(percent(summary.weights.get(m)) for m in modalities))
        for name, run, summary in zip(names, runs, summaries, strict=True)
    ]
    return Table("mean share of the decision in %", ("run", *modalities), tuple(rows))


def comparison_table(comparison: Comparison) -> Table:
    """Pairs of runs: difference in points, interval, p-values."""
    rows = [
        (
            label(pair.first, pair.first_stamp),
            label(pair.second, pair.second_stamp),
            percent(pair.first_value),
            percent(pair.second_value),
            f"{100 * pair.difference:+.1f}",
            "none"
            if pair.interval.low is None or pair.interval.high is None
            else f"{100 * pair.interval.low:+.1f} to {100 * pair.interval.high:+.1f}",
            p_value(pair.p),
            p_value(pair.p_holm),
            f"{pair.only_first:,} : {pair.only_second:,}",
            p_value(pair.p_mcnemar_holm),
            f"{100 * pair.noise:.1f}",
            f"{pair.common:,}",
            f"{pair.clusters:,} {pair.unit}s",
        )
        for pair in comparison.pairs
    ]
    figures = ("run A", "run B", "A", "B", "A−B", "95 % interval", "p", "p Holm")
    heads = (*figures, "right alone", "McNemar Holm", "noise WA", "common", "units")
    title = f"{comparison.metric.upper()} in %, paired on common utterances"
    return Table(title, heads, tuple(rows), 2)


def p_value(value: float) -> str:
    """Show a p-value.

    >>> p_value(0.0312), p_value(0.00006)
    ('0.031', '<0.001')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}"
