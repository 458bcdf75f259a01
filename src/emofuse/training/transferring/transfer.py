"""``transfer``: sources x targets x shots x methods x seeds, in one table and one heat map."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.cluster.engine import Engine
from emofuse.errors import EmofuseError, TrainingError
from emofuse.evaluation.transfer_table import Matrix
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import read_json, sha256_text, write_json
from emofuse.training.folder import claim, environment, keep_or_compare, locked
from emofuse.training.schedule_jobs import most_processes, worth_starting
from emofuse.training.steppers import Row
from emofuse.training.transferring.cells import Cell, transfer_cells
from emofuse.training.transferring.collect import TABLE, collect
from emofuse.training.transferring.data import TransferSetup, set_up
from emofuse.training.transferring.recipe import TransferRecipe
from emofuse.training.transferring.run import Bench, run_cell
from emofuse.training.transferring.workers import run_on_engine, run_side_by_side

__all__ = ["Transfer", "transfer"]


@dataclass(frozen=True)
class Transfer:
    """A finished matrix.

    Attributes:
        folder: its directory.
        matrix: its figures.
    """

    folder: Path
    matrix: Matrix


def transfer(
    recipe: TransferRecipe,
    folder: Path | str,
    progress: Progress = silent,
    *,
    engine: Engine | None = None,
) -> Transfer:
    """Run every cell of a recipe and write table and heat map.

    Every pair of source and target is audited first. A finished cell is kept, so the same call goes
    on where it was stopped and ends with the same numbers; a matrix that is complete is only read.
    A cell that fails does not stop the others.

    Args:
        recipe: see `load_transfer`.
        folder: of the matrix; new, empty, or of the same recipe.
        progress: told of encoding and of every cell (stage ``transfer``).
        engine: who runs the cells; as ``trainer.workers`` says unless told.

    Raises:
        UsageError: the folder is of another recipe; a source or target is in no manifest.
        ProtocolError: a target cannot be cut, or a fold overlaps in a way nobody declared.
        TrainingError: the folder is in use, the data changed, or some cells failed.
    """
    folder = Path(folder)
    cells = transfer_cells(recipe)
    with locked(folder):
        claim(folder, recipe)
        if (folder / TABLE).exists():
            return Transfer(folder, Matrix.from_json(read_json(folder / TABLE)))
        setup = set_up(recipe, progress)
        write_json(folder / "audit.json", setup.audit.model_dump(mode="json"))
        keep_or_compare(folder / "data.json", _note(setup), "manifest, folds or features")
        if not (folder / "environment.json").exists():
            options = recipe.trainer
            write_json(folder / "environment.json", environment(options.device, options.threads))
        failed = _run(recipe, setup, cells, folder, progress, engine=engine)
        if failed:
            cell, reason = next(iter(failed.items()))
            raise TrainingError(
                f"{len(failed)} of {len(cells)} cells failed, the others are kept; the same "
                f"command tries them again. First: {cell.folder(folder).name}: {reason}"
            )
        matrix = collect(recipe, setup, cells, folder, progress)
    return Transfer(folder, matrix)


def _note(setup: TransferSetup) -> dict[str, Any]:
    """What the matrix rests on: counts and hashes."""
    folds = "\n".join(
        f"{pair.source}\t{pair.target}\t{pair.fold.name}\t{part}\t{name}"
        for pair in setup.folds
        for part in ("train", "dev", "test")
        for name in getattr(pair.fold, part)
    )
    return {**setup.note, "folds_sha256": sha256_text(folds)}


def _run(
    recipe: TransferRecipe,
    setup: TransferSetup,
    cells: Sequence[Cell],
    folder: Path,
    progress: Progress,
    *,
    engine: Engine | None,
) -> Mapping[Cell, str]:
    """Run what is not finished; give the reason of every cell that failed.

    With ``trainer.workers: auto`` the cells begin in this process, and the rest goes to several
    where the time of those so far says that this is worth it.
    """
    todo = [cell for cell in cells if not cell.finished(folder)]
    teller = _Teller(progress, len(cells), len(cells) - len(todo))
    if not todo:
        return {}
    if engine is not None and not engine.alone:
        return run_on_engine(todo, recipe, setup.data, folder, engine=engine, done=teller.done)
    bench = Bench(recipe, setup.data, folder)
    most = most_processes(recipe.trainer, len(todo), bench.trainer.device.type)
    failed: dict[Cell, str] = {}
    begun = time.monotonic()
    for place, cell in enumerate(todo):
        each = (time.monotonic() - begun) / max(place, 1)
        pays = place and worth_starting(each * (len(todo) - place), most)
        if most > 1 and (recipe.trainer.workers != "auto" or pays):
            rest = run_side_by_side(
                todo[place:], recipe, setup.data, folder, workers=most, done=teller.done
            )
            return {**failed, **rest}
        try:
            run_cell(cell, recipe, setup.data, folder, bench=bench, hook=teller.hook(cell))
        except EmofuseError as error:
            failed[cell] = str(error)
        teller.done(cell)
    return failed


class _Teller:
    """Turns finished cells into one bar."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self._progress, self._total, self._done = progress, total, done

    def done(self, cell: Cell) -> None:
        """A cell is over."""
        self._done += 1
        self._tell(cell, {})

    def hook(self, cell: Cell) -> Any:
        """Give a hook for the epochs of a cell."""

        def told(row: Row) -> None:
            named = {name: row.get(name) for name in ("epoch", "loss")}
            self._tell(cell, {n: float(v) for n, v in named.items() if isinstance(v, int | float)})

        return told

    def _tell(self, cell: Cell, values: Mapping[str, float]) -> None:
        name = f"{cell.source} (source)" if cell.is_source else cell.setting
        shown: dict[str, float | str] = {"cell": name, "seed": str(cell.seed), **values}
        self._progress(ProgressEvent("transfer", self._done, self._total, "cells", shown))
