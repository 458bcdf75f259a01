"""``emofuse probe``: does your fusion do anything?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.errors import OptionError

if TYPE_CHECKING:
    from emofuse.probes.bench import Bench
    from emofuse.progress import Progress

EXAMPLE = (
    "Example: emofuse probe fleser/iemocap model.variant=published. RECIPE is the path of a YAML "
    "file or a built-in name; without data.manifest its features are drawn. RUN is the directory "
    "of a finished run. Exit status 1: something was found."
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("probe", epilog=EXAMPLE)(probe)


def probe(  # noqa: PLR0917 (options of a command line)
    target: Annotated[
        str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or a run directory.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    dims: Annotated[str, typer.Option(help="Sizes of drawn features: audio=768,text=768.")] = "",
    lengths: Annotated[
        str, typer.Option(help="Frames of drawn features, 1 = pooled: audio=50,text=12.")
    ] = "",
    classes: Annotated[
        int | None, typer.Option(min=2, max=200, help="Number of classes, without a scheme.")
    ] = None,
    only: Annotated[str, typer.Option(help="Some probes alone: gradient,switches.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for parts of a model that do nothing, and for company or padding that do something.

    Attention over one key, parameters without gradient, dead switches, dependence on the batch and
    on padding, modalities without effect, augmentation that gives the label away, constant losses.
    """
    from emofuse.probes.report import run_probes
    from emofuse.probes.sizes import parse_numbers

    given = (parse_numbers(dims, "--dims"), parse_numbers(lengths, "--lengths"))
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    with progress_bar() as progress, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        bench = _bench(target, overrides or [], given, classes, progress)
        found = run_probes(bench, wanted, progress)
    notes = [*bench.notes, *dict.fromkeys(str(one.message) for one in warned)]
    findings = sum(one.verdict == "finding" for one in found)
    if as_json:
        emit_json(
            {
                "target": target,
                "model": bench.model,
                "findings": findings,
                "notes": notes,
                "verdicts": [one.to_json() for one in found],
            }
        )
    else:
        rows = [
            (one.probe, one.verdict, one.subject, f"{one.why}; {one.advice}".rstrip("; "))
            for one in found
        ]
        columns = ("probe", "verdict", "what", "why, and what to do")
        print_table(f"{target} ({bench.model})", columns, rows, numeric=4)
        for note in notes:
            say(f"note: {note}")
        say(f"{findings} findings" if findings != 1 else "1 finding")
    if findings:
        raise typer.Exit(1)


def _bench(
    target: str,
    overrides: list[str],
    given: tuple[Mapping[str, int], Mapping[str, int]],
    classes: int | None,
    progress: Progress,
) -> Bench:
    from emofuse.probes.sources import Sizes, bench_of_recipe, bench_of_run, is_run

    if not is_run(target):
        return bench_of_recipe(target, overrides, Sizes(*given, classes), progress)
    if overrides or any(given) or classes is not None:
        raise OptionError(f"{target} is a run: its recipe and sizes cannot be changed")
    return bench_of_run(Path(target), progress)
