"""The options of ``emofuse import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[Path, typer.Argument(help="A feature pickle, or a CSV/TSV table.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Manifest to write.")]
Name = Annotated[str, typer.Option(help="What imported:NAME will say.")]
Features = Annotated[
    list[str] | None, typer.Option(help="MODALITY=FILE.npy, row by row with the table.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(help="MODALITY=PATTERN,...: numbers in the table's own columns."),
]
Column = Annotated[
    list[str] | None, typer.Option(help="FIELD=COLUMN of the table; others are guessed.")
]
Join = Annotated[
    Path | None, typer.Option(help="Manifest whose utterances the rows belong to, by id.")
]
Match = Annotated[
    str | None, typer.Option(help="Regular expression: its groups are what ids share.")
]
Classes = Annotated[str, typer.Option(help="Class names in order, for integer labels.")]
Corpus = Annotated[str | None, typer.Option(help="Name of the corpus.")]
Split = Annotated[str | None, typer.Option(help="train, dev or test, for all rows.")]
LabelledOn = Annotated[list[str] | None, typer.Option(help="Corpus the extractor saw with labels.")]
Licence = Annotated[str, typer.Option(help="Licence of the extractor.")]
Store = Annotated[Path | None, typer.Option(help="Feature store (.emofuse/features unless told).")]
Replace = Annotated[bool, typer.Option("--replace", help="Give NAME to new vectors.")]
Strict = Annotated[bool, typer.Option("--strict", help="A bad vector is fatal.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
