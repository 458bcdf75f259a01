"""``emofuse doctor``: what is wrong with a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, out, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.corpora.doctor import Diagnosis, Summary

EXAMPLES = 3
SPEAKERS = 12


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor", epilog="Example: emofuse doctor emodb.jsonl")(doctor)


def doctor(
    *,
    manifest: Annotated[Path, typer.Argument(help="Manifest (JSONL).")],
    root: Annotated[Path | None, typer.Option("--root", help="Where the media are.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Threads that read files.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 on notes too, not on errors and warnings only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Open every file and look at every text; exit 1 on errors and warnings."""
    from emofuse.corpora.doctor import examine
    from emofuse.manifest import Manifest

    listed = Manifest.load(manifest, root)
    with progress_bar() as progress:
        diagnosis = examine(listed, workers, progress)
    if as_json:
        emit_json(diagnosis.model_dump(mode="json"))
    else:
        _print(diagnosis)
    if diagnosis.ill(strict):
        raise typer.Exit(1)


def _print(diagnosis: Diagnosis) -> None:
    _print_summary(diagnosis.summary)
    if not diagnosis.findings:
        say("nothing found")
        return
    rows = []
    for kind, count in diagnosis.counts().items():
        found = [one for one in diagnosis.findings if one.kind == kind]
        shown = "\n".join(f"{one.id}: {one.detail}" for one in found[:EXAMPLES])
        rows.append((found[0].severity, kind, f"{count:,}", shown))
    print_table("findings", ("severity", "kind", "utterances", "examples"), rows, numeric=4)


def _print_summary(summary: Summary) -> None:
    def listed(values: dict[str, int], unit: str = "") -> str:
        return ", ".join(f"{name}{unit} x {count:,}" for name, count in values.items()) or "none"

    def spread(values: dict[str, float], places: int) -> str:
        return ", ".join(f"{name} {value:.{places}f}" for name, value in values.items()) or "none"

    rows = [
        ("utterances", f"{summary.utterances:,}"),
        ("audio read", f"{summary.heard:,} ({summary.hours:.2f} h)"),
        ("formats", listed(summary.formats)),
        ("sample rates", listed(summary.sample_rates, " Hz")),
        ("channels", listed(summary.channels)),
        ("seconds", spread(summary.seconds, 2)),
        ("loudness (dBFS)", spread(summary.loudness, 1)),
        ("emotions", listed(summary.emotions)),
        ("speakers", _speakers(summary)),
    ]
    print_table("corpus", ("", ""), rows, numeric=2)
    if summary.speakers and len(summary.speakers) <= SPEAKERS:
        print_table(
            "speakers",
            ("speaker", "utterances", "minutes"),
            [
                (name, f"{int(one['utterances']):,}", f"{one['seconds'] / 60:.1f}")
                for name, one in summary.speakers.items()
            ],
        )
    out.print("")


def _speakers(summary: Summary) -> str:
    counts = sorted(int(one["utterances"]) for one in summary.speakers.values())
    if not counts:
        return "none named"
    return f"{len(counts):,} ({counts[0]:,} to {counts[-1]:,} utterances each)"
