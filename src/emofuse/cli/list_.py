"""``emofuse list``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from emofuse.cli.console import emit_json, print_table
from emofuse.errors import OptionError, nearest_hint

KINDS = ("corpora", "encoders", "models", "losses", "protocols", "recipes", "schemes")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("list", epilog="Example: emofuse list models")(list_)


def list_(
    kind: Annotated[str, typer.Argument(help=" | ".join(KINDS))],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List corpora, encoders, models, losses, protocols, recipes or label schemes."""
    from emofuse import catalogue

    if kind not in KINDS:
        raise OptionError(f"nothing to list under {kind!r}; {nearest_hint(kind, KINDS)}")
    rows: list[tuple[str, str]] = getattr(catalogue, kind)()
    if as_json:
        emit_json([{"name": name, "about": about} for name, about in rows])
    else:
        print_table(kind, ("name", "about"), rows, numeric=2)
