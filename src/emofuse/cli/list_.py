"""``emofuse list``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from emofuse.cli.console import emit_json, print_table
from emofuse.errors import OptionError, nearest_hint

KINDS = ("corpora", "encoders", "models", "losses", "protocols", "recipes", "schemes", "transfers")


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
    if kind == "recipes":
        _recipes(as_json)
        return
    rows: list[tuple[str, str]] = getattr(catalogue, kind)()
    if as_json:
        listed = [{"name": name, "about": about} for name, about in rows]
        emit_json(listed if kind != "encoders" else [*listed, *_ledger_records()])
        return
    print_table(kind, ("name", "about"), rows, numeric=2)
    if kind == "encoders":
        _ledger_table()


def _ledger_records() -> list[dict[str, object]]:
    from dataclasses import asdict

    from emofuse.catalogue import ledger

    return [
        {"name": name, "about": f"weights known by name: {one.source}", "provenance": asdict(one)}
        for name, one in ledger()
    ]


def _ledger_table() -> None:
    """Show what well-known encoders saw; whatever is not listed is stamped as unknown."""
    from emofuse.catalogue import ledger

    rows = [
        (
            name,
            ", ".join(one.pretrained_on),
            ", ".join(one.labelled_on) or "-",
            one.licence,
            one.source,
            one.checked,
        )
        for name, one in ledger()
    ]
    heads = (
        *("hub name (pattern)", "pre-trained on", "saw emotion labels of", "licence"),
        *("source", "read there on"),
    )
    title = "what they saw before; others are PROVENANCE UNKNOWN"
    print_table(title, heads, rows, numeric=len(heads))


def _recipes(as_json: bool) -> None:
    """Show recipes with their protocol and the figure that a paper reports."""
    from emofuse.catalogue import recipe_entries

    entries = recipe_entries()
    if as_json:
        emit_json(
            [
                {
                    "name": one.name,
                    "about": one.about,
                    "protocol": one.protocol,
                    "published": dict(one.published) or None,
                    "ablations": list(one.ablations),
                }
                for one in entries
            ]
        )
        return
    rows = [(one.name, one.about, one.protocol, one.figure or "–") for one in entries]
    columns = ("name", "about", "protocol", "published (caveat)")
    print_table("recipes", columns, rows, numeric=len(columns))
