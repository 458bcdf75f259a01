"""The options of ``emofuse search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[str, typer.Argument(help="Path of a recipe, or a built-in name.")]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SEARCH.yaml] [KEY=RANGE|KEY=VALUE]...",
        help="A search file, ranges, changes to the recipe.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the search.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials (50 unless told).")]
Sampler = Annotated[str | None, typer.Option(help="tpe or random.")]
Pruner = Annotated[str | None, typer.Option(help="median, hyperband or none.")]
PruneBy = Annotated[str | None, typer.Option(help="fold or epoch.")]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Trials that may go side by side (4 unless told).")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of every draw.")]
Nested = Annotated[
    bool, typer.Option("--nested", help="Search anew within train and dev of every fold.")
]
Inner = Annotated[int | None, typer.Option(min=2, help="Inner folds of --nested.")]
TrainBest = Annotated[
    bool, typer.Option("--train", help="Train the best recipe at the end, into FOLDER/run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
