"""Cells of a transfer matrix side by side: each process asks for a cell, runs it, asks again."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from emofuse.cluster.crew import Hook, open_crew
from emofuse.cluster.engine import Engine
from emofuse.errors import EmofuseError, TrainingError
from emofuse.features.table import FeatureTable
from emofuse.training.steppers import Row
from emofuse.training.transferring.cells import Cell
from emofuse.training.transferring.data import TransferData
from emofuse.training.transferring.recipe import TransferRecipe
from emofuse.training.transferring.run import Bench, run_cell

__all__ = ["run_on_engine", "run_side_by_side"]


@dataclass(frozen=True)
class _Given:
    """What every process is given once."""

    recipe: TransferRecipe
    data: TransferData
    folder: Path


def run_side_by_side(
    cells: Sequence[Cell],
    recipe: TransferRecipe,
    data: TransferData,
    folder: Path,
    *,
    workers: int,
    done: Callable[[Cell], None],
) -> Mapping[Cell, str]:
    """Run cells in several processes, source models before all others.

    Args:
        cells: what to run.
        recipe: of the matrix.
        data: for every cell; the features are shared, not copied.
        folder: of the matrix.
        workers: how many processes.
        done: told of every cell that ends.

    Returns:
        Reason of every cell that failed.

    Raises:
        TrainingError: a process was killed, or failed in a way that nobody foresaw.
    """
    for part in data.table.modalities.values():
        part.values.share_memory_()  # type: ignore[no-untyped-call]
    plain = FeatureTable(data.table.ids, dict(data.table.modalities), {})
    given = _Given(recipe, replace(data, table=plain), folder)
    context = torch.multiprocessing.get_context("spawn")
    processes: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(min(workers, len(cells))):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(target=_work, args=(theirs, given), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
        return _hand_out(cells, list(processes), done)
    finally:
        for line, process in processes.items():
            line.close()
            process.join(timeout=1.0)
            process.terminate()
            process.join()


def run_on_engine(
    cells: Sequence[Cell],
    recipe: TransferRecipe,
    data: TransferData,
    folder: Path,
    *,
    engine: Engine,
    done: Callable[[Cell], None],
) -> Mapping[Cell, str]:
    """Run cells by the workers of an engine, source models before all others.

    The workers see the folder of the matrix; a cell whose worker is killed goes to another one and
    on from its checkpoint.

    Args:
        cells: what to run.
        recipe: of the matrix.
        data: for every cell; each worker gets it once.
        folder: of the matrix.
        engine: who works.
        done: told of every cell that ends.

    Returns:
        Reason of every cell that failed.

    Raises:
        WorkError: the workers fail.
    """
    plain = FeatureTable(data.table.ids, dict(data.table.modalities), {})
    given = _Given(recipe, replace(data, table=plain), folder)
    failed: dict[Cell, str] = {}
    with open_crew(engine, partial(_bench, given)) as crew:
        for group in (
            [cell for cell in cells if cell.is_source],
            [cell for cell in cells if not cell.is_source],
        ):
            reasons = crew.map(_run_there, group, _counted(group, done))
            failed |= {cell: why for cell, why in zip(group, reasons, strict=True) if why}
    return failed


def _counted(group: Sequence[Cell], done: Callable[[Cell], None]) -> Hook:
    """Tell of cells as they end; which one it was does not matter to the count."""
    return lambda number, _: done(group[number - 1])


def _bench(given: _Given) -> Bench:
    return Bench(given.recipe, given.data, given.folder)


def _run_there(bench: Bench, cell: Cell) -> str:
    if cell.finished(bench.root):
        return ""
    try:
        run_cell(cell, bench.recipe, bench.data, bench.root, bench=bench)
    except EmofuseError as error:
        return str(error)
    return ""


def _hand_out(
    cells: Sequence[Cell], lines: Sequence[Connection], done: Callable[[Cell], None]
) -> Mapping[Cell, str]:
    """Answer the processes until every cell is run; no other cell goes before a source model."""
    first = deque(cell for cell in cells if cell.is_source)
    then = deque(cell for cell in cells if not cell.is_source)
    running: dict[Connection, Cell] = {}
    idle: list[Connection] = []
    failed: dict[Cell, str] = {}
    while first or then or running:
        for line in wait(list(lines)):
            if not isinstance(line, Connection):
                continue
            reason = _hear(line)
            idle.append(line)
            cell = running.pop(line, None)
            if cell is not None:
                failed |= {cell: reason} if reason else {}
                done(cell)
        sources_open = first or any(cell.is_source for cell in running.values())
        ready = first if sources_open else then
        while idle and ready:
            line = idle.pop()
            running[line] = ready.popleft()
            line.send(running[line])
    for line in lines:
        with suppress(OSError):
            line.send(None)
    return failed


def _hear(line: Connection) -> str:
    """Give the reason why a cell failed; empty where it did not, or where a process is new."""
    try:
        kind, reason = line.recv()
    except (EOFError, OSError) as error:
        raise TrainingError(
            "a training process was killed (out of memory?); the same command goes on from here, "
            "with fewer trainer.workers if need be"
        ) from error
    if kind == "broken":
        raise TrainingError(f"a training failed: {reason}")
    return str(reason)


def _work(line: Connection, given: _Given) -> None:
    """Run cells until there are no more (in a process of its own)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    try:
        bench = Bench(given.recipe, given.data, given.folder)
        reason = ""
        while True:
            line.send(("done", reason))
            cell: Any = line.recv()
            if cell is None:
                return
            reason = _run(cell, bench)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        with suppress(OSError):
            line.send(("broken", f"{type(error).__name__}: {error}"))


def _run(cell: Cell, bench: Bench) -> str:
    try:
        run_cell(cell, bench.recipe, bench.data, bench.root, bench=bench, hook=_leave_when_orphaned)
    except EmofuseError as error:
        return str(error)
    return ""


def _leave_when_orphaned(row: Row) -> None:
    """End this process when the one that asked for the work was killed."""
    del row
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
