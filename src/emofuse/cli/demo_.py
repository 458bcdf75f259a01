"""``emofuse demo``: every step in a row, each an ordinary command."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli.console import emit_json, out, print_table
from emofuse.errors import OptionError

if TYPE_CHECKING:
    from emofuse.demo import Demo, DemoRow, Step

EXAMPLE = (
    "Example: emofuse demo -o demo. On a real corpus: "
    "emofuse demo -o demo --corpus ravdess --root /data/ravdess"
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo", epilog=EXAMPLE)(demo)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where everything goes.")] = Path(
        "demo"
    ),
    *,
    corpus: Annotated[
        str, typer.Option(help="A corpus reader; see: emofuse list corpora.")
    ] = "synthetic",
    root: Annotated[Path | None, typer.Option(help="Where that corpus lies.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smaller synthetic corpus; the figures suffer.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; the steps go to standard error.")
    ] = False,
) -> None:
    """Make a synthetic corpus, examine it, train on it, judge it and use it.

    No download, no licence. Every step is a command that you can type yourself; it is shown. Run
    the demo again to go on where it was stopped.
    """
    from emofuse.demo import Demo

    if (corpus == "synthetic") != (root is None):
        raise OptionError(
            "the synthetic corpus is made below --output; leave --root out"
            if root is not None
            else f"where does {corpus} lie? give --root DIR"
        )
    planned = Demo(output, corpus, root, quick=quick)
    started = time.monotonic()
    if as_json:
        with redirect_stdout(sys.stderr), _one_thread():
            commands = _perform(planned)
        seconds = time.monotonic() - started
        emit_json(_summary(planned, commands, planned.rows(), seconds))
        return
    with _one_thread():
        _perform(planned)
    _conclude(planned, planned.rows(), time.monotonic() - started)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: models this small lose time to more, most on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _perform(planned: Demo) -> list[str]:
    commands: list[str] = []
    for number, step in enumerate(planned.steps(), start=1):
        out.print(f"\n[bold]{number}. {_escaped(step.title)}[/bold]")
        out.print(f"$ {step.command}", style="cyan", markup=False)
        _call(step)
        commands.append(step.command)
        if number == 1:
            _remark(planned)
    return commands


def _call(step: Step) -> None:
    from emofuse.cli.app import app

    status = int(app(list(step.words), standalone_mode=False) or 0)
    if status and not step.may_find:
        raise typer.Exit(status)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _remark(planned: Demo) -> None:
    for line in planned.remarks():
        out.print(f"\n{line}", style="bold yellow", markup=False)


def _conclude(planned: Demo, rows: Sequence[DemoRow], seconds: float) -> None:
    out.print("")
    columns = ("learnt from", "UA %", "95 % interval", "chance %", "audit")
    cells = [
        (
            row.model,
            f"{100 * row.ua:.1f}",
            "–"
            if row.low is None or row.high is None
            else f"{100 * row.low:.1f} to {100 * row.high:.1f}",
            f"{100 * row.chance:.1f}",
            row.stamp,
        )
        for row in rows
    ]
    title = f"{planned.corpus}{' (synthetic speech)' if planned.synthetic else ''}"
    print_table(title, columns, cells, numeric=1)
    _remark(planned)
    out.print(f"\n{seconds:.0f} s. Everything lies in {planned.folder}:", markup=False)
    for row in rows:
        out.print(f"  {row.run}/report.html", markup=False)
    out.print(f"  {rows[-1].run}/bundle  (the model, with its card)", markup=False)
    out.print(f"On your file: emofuse predict FILE --model {rows[-1].run}", markup=False)


def _summary(
    planned: Demo, commands: list[str], rows: Sequence[DemoRow], seconds: float
) -> dict[str, Any]:
    return {
        "corpus": planned.corpus,
        "synthetic": planned.synthetic,
        "remarks": list(planned.remarks()),
        "folder": str(planned.folder),
        "seconds": round(seconds, 1),
        "results": [row.model_dump(mode="json") for row in rows],
        "commands": commands,
    }
