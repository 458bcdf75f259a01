"""``emofuse transfer``: from corpora to corpora, with few labels of the target or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.cli.engine import Address, EngineName, Workers, make_engine

if TYPE_CHECKING:
    from emofuse.training.transferring.transfer import Transfer

EXAMPLE = (
    "Example: emofuse transfer open-corpora data.manifest=[emodb.jsonl,ravdess.jsonl] "
    "sources=[emodb,ravdess] 'shots=[0,10%]' methods=[none,finetune,dann] -o transfer. "
    "RECIPE is the path of a YAML file or a built-in name (emofuse list transfers). "
    "The same command again goes on where it was stopped."
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("transfer", epilog=EXAMPLE)(transfer)


def transfer(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or a built-in name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the matrix.")],
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train on source corpora, adapt with shots or unlabelled items, judge on target corpora.

    Every source x target x shots x method x seed; every pair is audited first. Writes
    transfer.json, transfer.md, transfer.tex and heatmap.png/.svg; each setting below settings/ is
    a run that report and compare take.
    """
    from emofuse.training.transferring.recipe import load_transfer
    from emofuse.training.transferring.transfer import transfer as run_matrix

    resolved = load_transfer(recipe, overrides or [])
    who = make_engine(engine, address, workers)
    with progress_bar() as progress:
        found = run_matrix(resolved, output, progress, engine=who)
    if as_json:
        emit_json({"folder": str(output), **found.matrix.to_json()})
    else:
        _print(found)
    say(f"table: {output / 'transfer.md'} (transfer.tex, transfer.json)")
    say(f"heat map: {output / 'heatmap.png'} (heatmap.svg)")


def _print(found: Transfer) -> None:
    from emofuse.evaluation.transfer_table import matrix_table

    table = matrix_table(found.matrix)
    print_table(table.title, table.columns, table.rows, numeric=table.numeric)
    for key, value in found.matrix.setup.items():
        say(f"{key}: {value}")
    for note in found.matrix.notes:
        say(f"note: {note}")
