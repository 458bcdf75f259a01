"""``emofuse adapt``: the upper layers of an encoder learn on one fold's train part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.training.adaptation.adapt import AdaptedEncoder

EXAMPLE = (
    "Example: emofuse adapt iemocap.jsonl --encoder facebook/hubert-base-ls960 --modality audio "
    "--scheme basic4 --protocol leave-one-session-out --fold 'session 1' -o hubert-s1. Then: "
    "emofuse train RECIPE encoders.audio=hubert-s1 "
    "'protocol={name: given, path: hubert-s1/fold.json}' -o RUN"
)
OWN = ("manifest", "root", "output", "as_json", "set_options", "protocol_options", "protocol")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("adapt", epilog=EXAMPLE)(adapt)


def adapt(
    ctx: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="Manifest (JSONL).")],
    protocol_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Options of the protocol."),
    ] = None,
    *,
    encoder: Annotated[str, typer.Option(help="Hugging Face hub name or folder.")],
    modality: Annotated[str, typer.Option(help="audio or text.")],
    objective: Annotated[str, typer.Option(help="contrastive or supervised.")] = "contrastive",
    scheme: Annotated[
        str | None, typer.Option("--scheme", "-s", help="Label scheme; supervised needs one.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="See: emofuse list protocols.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Which of its folds.")] = None,
    freeze_layers: Annotated[
        int | None, typer.Option(help="Lowest layers that stay; half of them unless told.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Most epochs.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Utterances a step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(help="1e-4 for audio, 2e-5 for text unless told.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    set_options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other option, such as patience=5."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the media are.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new encoder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Adapt an encoder to a corpus, on the train part of one fold; dev says when to stop.

    The same command goes on where it was stopped.
    """
    from emofuse.errors import OptionError
    from emofuse.manifest import Manifest
    from emofuse.options import apply_overrides
    from emofuse.training.adaptation.adapt import adapt as run
    from emofuse.training.adaptation.options import AdaptOptions

    given: dict[str, Any] = {name: ctx.params[name] for name in ctx.params if name not in OWN}
    if protocol is not None:
        given["protocol"] = apply_overrides({"name": protocol}, protocol_options or [])
    elif protocol_options:
        raise OptionError(f"{protocol_options[0]!r} is an option of a protocol: give --protocol")
    options = AdaptOptions.parse(apply_overrides(given, set_options or []), "adapt")
    with progress_bar() as progress:
        found = run(Manifest.load(manifest, root), options, output, progress)
    if as_json:
        emit_json({"folder": str(found.folder), **found.note})
    else:
        _print(found, options.modality)
    if found.note["quarantined"]:
        raise typer.Exit(1)


def _print(found: AdaptedEncoder, modality: str) -> None:
    note = found.note
    rows = [
        (
            str(row["epoch"]),
            f"{row['train']:.4f}",
            "–" if row["dev"] is None else f"{row['dev']:.4f}",
        )
        for row in note["losses"]
    ]
    print_table("", ("epoch", "train loss", "dev loss"), rows)
    learnt, whole = note["parameters"]["learnt"], note["parameters"]["all"]
    used = note["utterances"]
    say(f"{learnt:,} of {whole:,} parameters learnt; {note['frozen_layers']} layers frozen")
    say(f"{len(used['train']):,} utterances to learn from, {len(used['dev']):,} to stop by")
    if not used["dev"]:
        say("note: there is no dev part: the last epoch was taken")
    if note["absent"]:
        say(f"note: {note['absent']:,} utterances have no {modality}")
    for name, reason in note["quarantined"].items():
        say(f"quarantined {name}: {reason}")
    say(f"epoch {note['best_epoch']} is in {found.folder} (encoders.{modality}={found.folder})")
