"""``emofuse export``: a run's bundle in a form that answers without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.errors import OptionError, nearest_hint

if TYPE_CHECKING:
    from emofuse.recognition.exporting.export import Exported

EXAMPLE = (
    "Example: emofuse export runs/fusion --int8 -o fusion-onnx. "
    "Then: emofuse predict call.wav -m fusion-onnx"
)
FORMATS = ("onnx",)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export", epilog=EXAMPLE)(export)


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, or a bundle; default is the one here.")
    ],
    *,
    form: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; else RUN/onnx.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32; fp16 (weights kept in 16 bits); int8 (encoders in 8 bits)."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="The same as --precision int8.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Greatest difference of a probability between PyTorch and ONNX; else 0.001 (fp32),"
            " 0.02 (fp16), 0.25 (int8)."
        ),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(
            help="Least share of equal emotions; else 1 (fp32), 0.98 (fp16), 0.95 (int8)."
        ),
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Option(help="File, folder or manifest to compare on; else the run's manifest."),
    ] = None,
    utterances: Annotated[int, typer.Option(help="How many are compared.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
) -> None:
    """Export a bundle to ONNX: it answers without PyTorch, starts fast, and is small.

    PyTorch and ONNX answer real utterances; where they differ too much nothing is written.
    """
    from emofuse.models.bundle_config import CONFIG_NAME
    from emofuse.recognition.exporting.export import ExportOptions, export_onnx
    from emofuse.recognition.loading import DEFAULT

    if form not in FORMATS:
        raise OptionError(f"unknown format {form!r}; {nearest_hint(form, FORMATS)}")
    if int8 and precision not in (None, "int8"):
        raise OptionError(f"--int8 and --precision {precision} contradict each other")
    if output is None and (run == DEFAULT or Path(run, CONFIG_NAME).is_file()):
        raise OptionError("a bundle is no run: say where the new one shall go (-o FOLDER)")
    options = ExportOptions.parse(
        {
            "precision": "int8" if int8 else precision or "fp32",
            "tolerance": tolerance,
            "agreement": agreement,
            "utterances": utterances,
        },
        "export",
    )
    with progress_bar() as progress:
        found = export_onnx(run, output or Path(run, "onnx"), options, audio or [], progress)
    _show(found, as_json)


def _show(found: Exported, as_json: bool) -> None:
    gap, note = found.difference, found.config.onnx
    total = sum(found.sizes.values())
    if as_json:
        emit_json(
            {
                "folder": str(found.folder),
                "bytes": total,
                "files": found.sizes,
                "onnx": None if note is None else note.model_dump(mode="json"),
                "largest_weight": gap.weights,
                "mean_difference": gap.mean,
            }
        )
        return
    rows = [(name, f"{size:,}") for name, size in found.sizes.items()]
    print_table("", ("file", "bytes"), [*rows, ("all", f"{total:,}")])
    if note is not None:
        say(
            f"{found.against} against ONNX ({note.precision}) on {note.check.on}: "
            f"{gap.answers} answers, {100 * gap.agreed:.1f} % the same emotion, "
            f"greatest difference of a probability {gap.largest:.2g} (mean {gap.mean:.2g})"
        )
    say(f"ONNX bundle in {found.folder}")
