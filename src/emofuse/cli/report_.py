"""``emofuse report``: the tables and the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.errors import UsageError
from emofuse.progress import ProgressEvent


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report", epilog="Example: emofuse report runs/emodb --html emodb.html")(report)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Where the page goes; RUN/report.html each unless told."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")] = False,
) -> None:
    """Print the scores of one run or several and write them as a page.

    Every figure is recomputed from predictions.parquet: UA, WA, WF1 and MF1 with mean and standard
    deviation over seeds and a 95 % interval drawn by speaker, and the recall of each class.
    """
    if as_json + markdown + latex > 1:
        raise UsageError("--json, --markdown and --latex exclude one another; choose one")
    from emofuse.evaluation.report import (
        read_report,
        report_html,
        report_json,
        report_notes,
        report_tables,
    )
    from emofuse.storage import write_text

    reports = []
    with progress_bar() as progress:
        for done, path in enumerate(runs, start=1):
            reports.append(read_report(path))
            progress(ProgressEvent("report", done, len(runs), "runs"))
    tables = report_tables(reports)
    if as_json:
        emit_json(report_json(reports))
    elif markdown or latex:
        texts = [table.to_markdown() if markdown else table.to_latex() for table in tables]
        typer.echo("\n\n".join(texts))
    else:
        for table in tables:
            print_table(table.title, table.columns, table.rows, numeric=table.numeric)
    for one in reports:
        say(f"{one.run.name}: {one.run.stamp.line}")
        for note in report_notes(one):
            say(f"{one.run.name}: {note}")
    pages = [(page, reports)] if page else [(r.run.path / "report.html", [r]) for r in reports]
    for path, shown in pages:
        write_text(path, report_html(shown))
        say(f"wrote {path}")
