"""``emofuse prepare``: a corpus in, a manifest out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.corpora.contract import Corpus, Prepared
    from emofuse.manifest import Manifest

EPILOG = (
    "Example: emofuse prepare ravdess /data/ravdess -o ravdess.jsonl --scheme ravdess8   |   "
    "emofuse prepare table calls.csv -o calls.jsonl --option root=/data/calls "
    "--option columns.emotion=label"
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("prepare", epilog=EPILOG)(prepare)


def prepare(
    corpus: Annotated[str, typer.Argument(help="A reader; see: emofuse list corpora.")],
    root: Annotated[
        list[Path],
        typer.Argument(help="The corpus folder; for table and scp the list file, or several."),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write (JSONL).")],
    scheme: Annotated[
        str | None,
        typer.Option(help="Apply a label scheme: a built-in name or the path of a YAML file."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the reader, key=value; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 where the copy lacks something.")
    ] = False,
) -> None:
    """Read a corpus into a manifest, and say exactly what this copy lacks."""
    from emofuse.corpora import CORPORA
    from emofuse.labels import get_scheme
    from emofuse.options import apply_overrides

    reader: Corpus[Any] = CORPORA.load(corpus)
    labels = get_scheme(scheme) if scheme is not None else None
    options = apply_overrides({}, option or ())
    with progress_bar() as progress:
        prepared = reader.prepare(root if len(root) > 1 else root[0], progress=progress, **options)
    manifest = prepared.manifest if labels is None else prepared.manifest.label(labels)
    manifest.save(output)
    if as_json:
        emit_json(_report(reader, prepared, manifest, output, scheme))
    else:
        _show(reader, prepared, manifest, scheme)
    say(f"{len(manifest):,} utterances in {output}")
    if strict and any(finding.serious for finding in prepared.findings):
        raise typer.Exit(1)


def _classes(reader: Corpus[Any], prepared: Prepared) -> list[dict[str, Any]]:
    """Give a row a native class: label, word, found, expected (None where nobody knows)."""
    words = {
        str(u.extra["native_emotion"]): u.emotion
        for u in prepared.manifest
        if u.extra.get("native_emotion") is not None
    }
    natives = dict.fromkeys((*prepared.expected, *reader.labels, *sorted(prepared.counts)))
    return [
        {
            "native": native,
            "emotion": words.get(native) or reader.labels.get(native),
            "found": prepared.counts.get(native, 0),
            "expected": prepared.expected.get(native),
        }
        for native in natives
        if native in prepared.counts or native in prepared.expected
    ]


def _report(
    reader: Corpus[Any], prepared: Prepared, manifest: Manifest, output: Path, scheme: str | None
) -> dict[str, Any]:
    return {
        "corpus": reader.name,
        "manifest": str(output),
        "root": str(manifest.root.resolve()),
        "utterances": len(manifest),
        "read": len(prepared.manifest),
        "classes": _classes(reader, prepared),
        "scheme": scheme,
        "after_scheme": None if scheme is None else _labelled(manifest),
        "dropped_by_scheme": _dropped(prepared, manifest),
        "findings": [finding.model_dump(mode="json") for finding in prepared.findings],
    }


def _labelled(manifest: Manifest) -> dict[str, int]:
    return dict(Counter(u.emotion or "(none)" for u in manifest))


def _dropped(prepared: Prepared, manifest: Manifest) -> dict[str, int]:
    kept = set(manifest.ids)
    return dict(Counter(str(u.emotion) for u in prepared.manifest if u.id not in kept))


def _show(reader: Corpus[Any], prepared: Prepared, manifest: Manifest, scheme: str | None) -> None:
    rows = [
        (row["native"], row["emotion"] or "", row["found"], _number(row["expected"]))
        for row in _classes(reader, prepared)
    ]
    total = sum(prepared.expected.values())
    rows.append(("all", "", sum(prepared.counts.values()), _number(total or None)))
    print_table(reader.name, ("native label", "emotion", "found", "expected"), rows, numeric=2)
    if scheme is not None:
        classes = sorted(_labelled(manifest).items())
        print_table(f"after scheme {scheme}", ("class", "utterances"), classes)
        dropped = _dropped(prepared, manifest)
        listed = ", ".join(f"{word} x {count}" for word, count in sorted(dropped.items()))
        say(f"dropped by scheme {scheme}: {listed or 'nothing'}")
    for finding in prepared.findings:
        say(finding.line())


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
