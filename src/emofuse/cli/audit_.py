"""``emofuse audit``: what the folds of a protocol share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli.console import emit_json, out, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.protocols.audit import Audit

SHOWN = ("speaker", "session", "dialogue", "exact text", "text", "audio", "near audio")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "audit",
        epilog="Example: emofuse audit emodb.jsonl --protocol group-kfold by=speaker k=5",
    )(audit_)


def audit_(
    *,
    manifest: Annotated[Path, typer.Argument(help="Manifest (JSONL).")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of the protocol, key=value.")
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", help="See: emofuse list protocols.")
    ] = "leave-one-speaker-out",
    scheme: Annotated[
        str | None, typer.Option("--scheme", "-s", help="Label scheme; the native labels if none.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="Where the media are.")] = None,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Do not read and compare the recordings.")
    ] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=256)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what train and test share in every fold; exit 1 on an overlap nobody declared."""
    from emofuse.labels import get_scheme
    from emofuse.manifest import Manifest
    from emofuse.options import apply_overrides
    from emofuse.protocols.audit import audit
    from emofuse.protocols.build import make_folds

    spec = apply_overrides({"name": protocol}, options or [])
    listed = Manifest.load(manifest, root)
    if scheme is not None:
        listed = listed.label(get_scheme(scheme))
    made, folds = make_folds(listed, spec)
    with progress_bar() as progress:
        result = audit(listed, made, folds, audio=not no_audio, workers=workers, progress=progress)
    if as_json:
        emit_json(result.model_dump(mode="json"))
    else:
        _print(result)
    if result.violations:
        result.enforce()


def _print(result: Audit) -> None:
    shown = [name for name in SHOWN if any(fold.test[name].known for fold in result.folds)]
    rows: list[tuple[str, ...]] = [
        (
            fold.name,
            " / ".join(f"{fold.sizes[part]:,}" for part in ("train", "dev", "test")),
            *(_cell(fold.test[measure]) for measure in shown),
        )
        for fold in result.folds
    ]
    cut = " or ".join(sorted({fold.dev_by for fold in result.folds if fold.sizes["dev"]}))
    title = "test utterances that share with train or dev" + (f"; dev cut by {cut}" if cut else "")
    print_table(title, ("fold", "train / dev / test", *shown), rows)
    unknown = [name for name in SHOWN if name not in shown]
    if unknown:
        say(f"note: not known here, so not compared: {', '.join(unknown)}")
    classes = sorted({name for fold in result.folds for name in fold.balance["train"]})
    totals: dict[str, dict[str, int]] = {
        part: dict.fromkeys(classes, 0) for part in ("train", "dev", "test")
    }
    rows = []
    for fold in result.folds:
        for part, counts in totals.items():
            for name in classes:
                counts[name] += fold.balance[part].get(name, 0)
    for part, counts in totals.items():
        size = max(sum(counts.values()), 1)
        rows.append((part, *(f"{n:,} ({n / size:.0%})" for n in counts.values())))
    print_table("classes, over all folds", ("part", *classes), rows)
    out.print(f"text cue: {result.text_cue.verdict}", markup=False)
    out.print(f"  {result.text_cue.note}", markup=False)
    for warning in result.warnings:
        if not warning.startswith("text: "):  # shown above
            say(f"note: {warning}")
    for violation in result.violations:
        say(f"undeclared: {violation}")
    out.print(result.stamp, markup=False)


def _cell(overlap: Any) -> str:
    if not overlap.known:
        return "–"
    return f"{overlap.utterances:,} ({overlap.share:.0%})" if overlap.utterances else "0"
