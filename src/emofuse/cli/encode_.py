"""``emofuse encode``: fill the feature store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.cli.engine import Address, EngineName, Workers, make_engine
from emofuse.errors import OptionError

if TYPE_CHECKING:
    from emofuse.features.encode import EncodeReport

EXAMPLE = (
    "Example: emofuse encode emodb.jsonl --audio logmel:pooling=mean+std --text ngrams. "
    "An encoder is NAME or NAME:key=value,key=value; NAME is built in (emofuse list encoders), "
    "a folder, or a Hugging Face hub name: facebook/hubert-base-ls960:layer=mean. "
    "Video: --video openai/clip-vit-large-patch14:granularity=frames,crop=left,max_frames=180"
)

FIGURES = (
    "encoder",
    "encoded",
    "already there, or alike",
    "without it",
    "quarantined",
    "time",
    "utterances/s",
    "real time",
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("encode", epilog=EXAMPLE)(encode)


def encode(
    manifest: Annotated[Path, typer.Argument(help="Manifest (JSONL).")],
    *,
    audio: Annotated[str | None, typer.Option(help="Audio encoder.")] = None,
    text: Annotated[str | None, typer.Option(help="Text encoder.")] = None,
    video: Annotated[str | None, typer.Option(help="Video encoder.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Feature store (.emofuse/features unless told).")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the media are.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
    strict: Annotated[bool, typer.Option("--strict", help="A bad utterance is fatal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Encode a manifest; what the store holds already is passed over.

    A bad utterance is quarantined, named and counted. Stop it when you like: the same
    command goes on from there. With --engine ray the workers of a cluster encode into the same
    store, which they need to see under the same path, as they do the media.
    """
    from emofuse.encoders.contract import EncoderSpec
    from emofuse.features.spread import encode_spread
    from emofuse.features.store import DEFAULT_STORE, FeatureStore
    from emofuse.manifest import ManifestFile, Modality

    asked: dict[Modality, str | None] = {"audio": audio, "text": text, "video": video}
    specs = {m: EncoderSpec.from_text(given) for m, given in asked.items() if given is not None}
    if not specs:
        raise OptionError("nothing to encode: give --audio, --text or --video ENCODER, or several")
    utterances = ManifestFile(manifest, root)
    features = FeatureStore(store or DEFAULT_STORE)
    who = make_engine(engine, address, workers, float(engine == "ray" and "cuda" in device))
    reports: dict[str, EncodeReport] = {}
    with progress_bar() as progress:
        for modality, spec in specs.items():
            reports[modality] = encode_spread(
                utterances,
                modality,
                spec,
                features,
                progress,
                engine=who,
                strict=strict,
                device=device,
            )
    names = {str(modality): spec.name for modality, spec in specs.items()}
    if as_json:
        emit_json({m: {"encoder": names[m], **asdict(r)} for m, r in reports.items()})
    else:
        _draw(reports, names, features.folder)
    if any(report.quarantined for report in reports.values()):
        raise typer.Exit(1)


def _draw(reports: dict[str, EncodeReport], names: dict[str, str], folder: Path) -> None:
    rows = zip(
        FIGURES, *(_figures(names[modality], r) for modality, r in reports.items()), strict=True
    )
    print_table("", ("", *reports), list(rows))
    for modality, report in reports.items():
        for name, reason in report.quarantined.items():
            say(f"quarantined ({modality}) {name}: {reason}")
        for warning in report.warnings:
            say(f"note ({modality}): {warning}")
    say(f"features in {folder}")


def _figures(name: str, report: EncodeReport) -> tuple[str, ...]:
    busy = report.done > 0 and report.seconds > 0
    return (
        name,
        f"{report.done:,}",
        f"{report.skipped:,}",
        f"{report.absent:,}",
        f"{len(report.quarantined):,}",
        f"{report.seconds:.1f} s",
        f"{report.done / report.seconds:,.1f}" if busy else "-",
        f"{report.audio_seconds / report.seconds:,.0f} x" if busy and report.audio_seconds else "-",
    )
