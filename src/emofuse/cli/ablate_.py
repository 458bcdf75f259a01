"""``emofuse ablate``: every row of a recipe's switch table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.training.ablation.table import Ablation

EXAMPLE = (
    "Example: emofuse ablate fleser/iemocap data.manifest=iemocap.jsonl data.scheme=basic4 "
    "-o runs/fleser-ablation. The same command again goes on where it was stopped."
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("ablate", epilog=EXAMPLE)(ablate)


def ablate(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or a built-in name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to every row.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of all runs.")] = ...,  # type: ignore[assignment]
    rows: Annotated[
        list[str] | None, typer.Option(help="Rows to run: a,b (or given again). All unless told.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train the recipe and every row of its ablations, and compare each row with the full recipe.

    Rows are ordinary runs in FOLDER/<row>; finished ones are kept. The table goes to
    FOLDER/ablation.md and ablation.json. Exit status 1: a row failed.
    """
    from emofuse.training.ablation.ablate import ablate as run_rows

    with progress_bar() as progress:
        found = run_rows(recipe, output, overrides or [], rows or [], progress)
    if as_json:
        emit_json(found.to_json())
    else:
        _print(found)
    say(f"table: {output / 'ablation.md'}, {output / 'ablation.json'}")
    if found.failed:
        say(f"{found.failed} of {len(found.rows)} rows failed; the same command tries them again")
        raise typer.Exit(1)


def _print(found: Ablation) -> None:
    from emofuse.training.ablation.table import ablation_table

    table = ablation_table(found)
    heads, rows = table.columns[:-1], [row[:-1] for row in table.rows]
    print_table(table.title, heads, rows, numeric=table.numeric)
    for note in found.notes:
        say(f"every row: {note}")
    for row in found.rows:
        for note in row.notes:
            say(f"{row.name}: {note}")
