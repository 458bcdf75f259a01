"""``emofuse report``: the tables and the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.errors import OptionError, UsageError, nearest_hint
from emofuse.progress import ProgressEvent

if TYPE_CHECKING:
    from emofuse.evaluation.report import Report


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report", epilog="Example: emofuse report runs/emodb --html emodb.html")(report)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    *,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Where the page goes; RUN/report.html each unless told."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")] = False,
    form: Annotated[
        str | None, typer.Option("--format", help="table | json | markdown | latex | html")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="Groups: speaker, gender, age, language, session, corpus; with commas."
        ),
    ] = None,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Put no recordings of mistakes into the page.")
    ] = False,
) -> None:
    """Print the scores of one run or several and write them as a page.

    Every figure is recomputed from predictions.parquet: UA, WA, WF1 and MF1 with mean and standard
    deviation over seeds and a 95 % interval drawn by speaker, and the recall of each class.
    """
    form = _form(form, {"json": as_json, "markdown": markdown, "latex": latex})
    groups = tuple(name.strip() for name in by.split(",") if name.strip()) if by else None
    from emofuse.evaluation.analysis_tables import fairness_tables
    from emofuse.evaluation.fairness import ATTRIBUTES
    from emofuse.evaluation.report import read_report, report_json, report_notes, report_tables
    from emofuse.evaluation.tables import label

    reports = []
    with progress_bar() as progress:
        for done, path in enumerate(runs, start=1):
            reports.append(read_report(path, by=groups or ATTRIBUTES))
            progress(ProgressEvent("report", done, len(runs), "runs"))
    tables = report_tables(reports)
    if groups:
        for one in reports:
            told = label(one.run.name, one.run.stamp.text)
            tables += fairness_tables(one.analysis, " ".join(told.split()))
    if form == "json":
        emit_json(report_json(reports))
    elif form == "table":
        for table in tables:
            print_table(table.title, table.columns, table.rows, numeric=table.numeric)
    else:
        typer.echo("\n\n".join(getattr(table, f"to_{form}")() for table in tables))
    for one in reports:
        say(f"{one.run.name}: {one.run.stamp.line}")
        for note in report_notes(one):
            say(f"{one.run.name}: {note}")
    _write_pages(reports, page, audio=not no_audio)


def _write_pages(reports: list[Report], page: Path | None, *, audio: bool) -> None:
    from emofuse.evaluation.report import report_html
    from emofuse.storage import write_text

    pages = [(page, reports)] if page else [(r.run.path / "report.html", [r]) for r in reports]
    for path, shown in pages:
        write_text(path, report_html(shown, audio=audio))
        say(f"wrote {path}")


FORMS = ("table", "json", "markdown", "latex", "html")


def _form(given: str | None, flags: dict[str, bool]) -> str:
    """Give the one format that is asked for."""
    asked = [name for name, on in flags.items() if on]
    if len(asked) + (given is not None) > 1:
        raise UsageError("--json, --markdown, --latex and --format exclude one another; choose one")
    form = given or (asked[0] if asked else "table")
    if form not in FORMS:
        raise OptionError(f"unknown format {form!r}; {nearest_hint(form, FORMS)}")
    return form
