"""``emofuse compare``: paired tests between runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare", epilog="Example: emofuse compare runs/audio runs/fusion --metric ua")(
        compare
    )


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run directories.")],
    metric: Annotated[str, typer.Option(help="ua | wa | wf1 | mf1")] = "ua",
    seed: Annotated[int, typer.Option(min=0, help="Of all random draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
) -> None:
    """Test whether runs differ on the utterances they share, pairing by speaker.

    Each pair gets the difference, its 95 % interval (speakers drawn with replacement) and a
    p-value (runs swapped within speakers), corrected over all pairs after Holm.
    """
    from emofuse.evaluation.compare import compare_runs
    from emofuse.evaluation.runs import read_run
    from emofuse.evaluation.tables import comparison_table

    read = [read_run(path) for path in runs]
    with progress_bar() as progress:
        found = compare_runs(read, metric, seed=seed, progress=progress)
    if as_json:
        emit_json(found.to_json())
    else:
        table = comparison_table(found)
        print_table(table.title, table.columns, table.rows, numeric=table.numeric)
    for note in found.notes:
        say(note)
    for pair in found.pairs:
        for note in pair.notes:
            say(f"{pair.first} against {pair.second}: {note}")
    for run in read:
        for problem in run.problems:
            say(f"{run.name}: {problem}")
