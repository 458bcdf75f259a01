"""``emofuse reproduce``: run a run again, and say what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say

EXAMPLE = (
    "Example: emofuse reproduce runs/emodb -o runs/emodb-again. Where the data lie elsewhere: "
    "emofuse reproduce runs/emodb data.manifest=copy/emodb.jsonl. Exit status 0: the results are "
    "equal within the tolerance; 1: they are not."
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("reproduce", epilog=EXAMPLE)(reproduce)


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run directory.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Where data lie; workers, device."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New run directory [RUN-again].")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Largest difference that counts as none.")
    ] = 1e-4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run RUN again from its own recipe, check folds and hashes, and say what differs."""
    from emofuse.training.reproduce import reproduce as run_again

    with progress_bar() as progress:
        found = run_again(run, output, overrides or [], tolerance=tolerance, progress=progress)
    if as_json:
        emit_json(found.to_json())
    else:
        rows = [(check.what, check.verdict, check.detail or "–") for check in found.checks]
        print_table(f"{found.original} and {found.again}", ("what", "verdict", "detail"), rows, 3)
        words = {
            "identical": "reproduced, byte for byte",
            "equal": f"reproduced: every result is equal within {tolerance:g}",
            "different": "NOT reproduced",
        }
        say(words[found.verdict])
    if found.verdict == "different":
        raise typer.Exit(1)
