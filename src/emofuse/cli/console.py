"""What the command line draws: tables, progress bars, complaints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from emofuse.progress import Progress, ProgressEvent

__all__ = ["complain", "emit_json", "out", "print_table", "progress_bar", "say"]

PLAIN_WIDTH = 160  # columns to draw a table in where there is no terminal to measure


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return console


out = _console()
err = _console(stderr=True)


def complain(message: str) -> None:
    """Write one line of error to standard error."""
    err.print(Text.assemble(("error: ", "bold red"), _printable(message)))


def say(message: str) -> None:
    """Write one line to standard error: what was done, where it lies."""
    err.print(Text(_printable(message)))


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def emit_json(value: Any) -> None:
    """Write a value as JSON to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numeric: int = 1
) -> None:
    """Draw a table; columns from ``numeric`` on are set flush right."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place >= numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_printable(str(cell))) for cell in row))
    out.print(table)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        unit = task.fields.get("unit", "items")
        return Text("" if rate is None else f"{rate:,.1f} {unit}/s", style="cyan")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Give a hook that draws bars with rate and time left on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda event: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with RichProgress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def hook(event: ProgressEvent) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(
                    event.stage, total=event.total, unit=event.unit, values=""
                )
            shown = " ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in event.values.items()
            )
            bars.update(tasks[event.stage], completed=event.done, total=event.total, values=shown)

        yield hook
