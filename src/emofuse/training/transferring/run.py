"""One cell of a transfer matrix: a pure function of recipe, data and the cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emofuse.features.table import FeatureTable
from emofuse.storage import read_json, write_json
from emofuse.training.checkpoint import load_state, save_state
from emofuse.training.fit import Blueprint
from emofuse.training.steppers import Row
from emofuse.training.trainer import Trainer
from emofuse.training.transferring.cells import RESULT, Cell
from emofuse.training.transferring.data import TransferData, standardised
from emofuse.training.transferring.fit import Answer, Material, ShotParts, answer, hash_state
from emofuse.training.transferring.methods import METHODS
from emofuse.training.transferring.recipe import JOIN, TransferRecipe
from emofuse.training.transferring.shots import Shots, cut_shots, draw_shots

__all__ = ["Bench", "CellResult", "run_cell"]

MODEL = "model.safetensors"


@dataclass(frozen=True)
class CellResult:
    """What a cell gave, without test labels.

    Attributes:
        note: what ``result.json`` holds.
        logits: of each fold, ``(test items, classes)``, in the order of its test ids.
        weights: of each fold, modality -> ``(test items,)``.
    """

    note: Mapping[str, Any]
    logits: tuple[Tensor, ...]
    weights: tuple[Mapping[str, Tensor], ...]

    @classmethod
    def read(cls, folder: Path) -> CellResult:
        """Read a finished cell.

        Raises:
            WorkError: a file is missing or damaged.
        """
        note = read_json(folder / RESULT)
        logits, weights = [], []
        for number in range(len(note["folds"])):
            loaded = load_state(folder / f"fold-{number + 1}.safetensors")
            tensors = {} if loaded is None else loaded[0]
            logits.append(tensors["logits"])
            weights.append(
                {n.removeprefix("w:"): part for n, part in tensors.items() if n.startswith("w:")}
            )
        return cls(note, tuple(logits), tuple(weights))


@dataclass
class Bench:
    """What the cells of one process share: features on the device, source models, tables.

    Attributes:
        recipe, data: as given.
        root: folder of the matrix.
        trainer: builds and fits.
    """

    recipe: TransferRecipe
    data: TransferData
    root: Path
    trainer: Trainer = field(init=False)
    _table: FeatureTable = field(init=False)
    _last: tuple[object, FeatureTable] | None = field(init=False, default=None)
    _models: dict[tuple[str, int], Mapping[str, Tensor]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        blueprint = Blueprint(
            self.recipe.model["name"],
            self.recipe.model_options,
            self.recipe.objective,
            self.data.scheme.classes,
            self.data.scheme.vad,
        )
        self.trainer = Trainer(blueprint, self.recipe.trainer)
        self._table = self.data.table.to(self.trainer.device)

    def table(self, source: str, target: str = "", number: int = 0) -> FeatureTable:
        """Give the features as a cell sees them: standardised by corpus where that is asked for.

        A source's rows go by its own train items, a target's by its train items of the fold.
        """
        if self.recipe.standardise == "source":
            return self._table
        key = (source, target, number)
        if self._last is None or self._last[0] != key:
            groups = self._groups(source, target, number)
            self._last = (key, standardised(self._table, groups))
        return self._last[1]

    def _groups(self, source: str, target: str, number: int) -> list[tuple[Tensor, Tensor]]:
        rows, known = self._table.rows, self.data.known
        found = []
        for corpus in source.split(JOIN) if source else ():
            train, dev = self.data.sources[source]
            own = [name for name in train if known[name].corpus == corpus]
            every = [*own, *(name for name in dev if known[name].corpus == corpus)]
            found.append((rows(every), rows(own)))
        if target:
            fold = self.data.targets[target][number]
            found.append((rows((*fold.pool, *fold.test)), rows(fold.pool)))
        return found

    def source_model(self, source: str, seed: int) -> Mapping[str, Tensor]:
        """Give the weights of a source model, trained now where that was not done."""
        if (source, seed) not in self._models:
            cell = Cell(source, "", "", "0", seed)
            run_cell(cell, self.recipe, self.data, self.root, bench=self)
            loaded = load_state(cell.folder(self.root) / MODEL)
            self._models[source, seed] = {} if loaded is None else loaded[0]
        return self._models[source, seed]


def run_cell(
    cell: Cell,
    recipe: TransferRecipe,
    data: TransferData,
    root: Path,
    *,
    bench: Bench | None = None,
    hook: Callable[[Row], None] | None = None,
) -> None:
    """Run a cell that is not finished, and keep everything in its folder.

    Which process runs it, and which cells were run before, changes no byte of what it gives.

    Args:
        cell: what to run.
        recipe: of the matrix.
        data: what it may know.
        root: folder of the matrix.
        bench: what the cells of this process share; made anew unless told.
        hook: told of every epoch.

    Raises:
        TrainingError: the training diverged, or a file is damaged.
        WorkError: the folder cannot be written.
    """
    if cell.finished(root):
        return
    bench = Bench(recipe, data, root) if bench is None else bench
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.trainer.threads)
    try:
        _run(cell, bench, hook)
    finally:
        torch.set_num_threads(before)


def _run(cell: Cell, bench: Bench, hook: Callable[[Row], None] | None) -> None:
    if cell.is_source:
        _train_source(cell, bench, hook)
        return
    data, root = bench.data, bench.root
    folder = cell.folder(root)
    notes = [_fold(cell, bench, number, hook) for number in range(len(data.targets[cell.target]))]
    write_json(folder / RESULT, {**_name(cell), "folds": notes})
    for left in folder.glob("*.*fit.safetensors"):
        left.unlink(missing_ok=True)


def _name(cell: Cell) -> dict[str, Any]:
    return {
        "source": cell.source,
        "target": cell.target,
        "method": cell.method,
        "shots": cell.shots,
        "seed": cell.seed,
    }


def _train_source(cell: Cell, bench: Bench, hook: Callable[[Row], None] | None) -> None:
    folder = cell.folder(bench.root)
    train, dev = bench.data.sources[cell.source]
    trained = bench.trainer.fit(
        bench.table(cell.source),
        bench.data.part(train),
        bench.data.part(dev) if dev else None,
        seed=cell.seed,
        folder=folder,
        hook=None if hook is None else lambda phase, row: hook(row),
    )
    save_state(folder / MODEL, trained.model.state_dict(), _name(cell))
    note = {
        **_name(cell),
        "dev": trained.dev,
        "epochs": trained.epochs,
        "chosen": dict(trained.chosen),
        "notes": list(trained.notes),
        "model_sha256": hash_state(trained.model),
    }
    write_json(folder / RESULT, note)
    for pattern in ("select.json", "fit*.safetensors", "refit*.safetensors"):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


def _fold(
    cell: Cell, bench: Bench, number: int, hook: Callable[[Row], None] | None
) -> dict[str, Any]:
    """Run one fold of a cell, unless its answers are there, and give its note."""
    place = cell.folder(bench.root) / f"fold-{number + 1}"
    path = place.with_name(f"{place.name}.safetensors")
    done = load_state(path)
    if done is not None:
        return done[1]
    material, note = _material(cell, bench, number)
    method = bench.recipe.method(cell.method)
    found = answer(bench.trainer, method, material, seed=cell.seed, checkpoints=place, hook=hook)
    note |= {**found.note, "model_sha256": hash_state(found.model)}
    if bench.recipe.keep_models:
        model = place.with_name(f"{place.name}-model.safetensors")
        save_state(model, found.model.state_dict(), _name(cell))
    _save(path, found, note)
    return note


def _save(path: Path, found: Answer, note: Mapping[str, Any]) -> None:
    weights = {f"w:{name}": part for name, part in found.weights.items()}
    save_state(path, {"logits": found.logits, **weights}, note)


def _material(cell: Cell, bench: Bench, number: int) -> tuple[Material, dict[str, Any]]:
    """Gather what the method of a cell may see of a fold, and say how much that is."""
    recipe, data = bench.recipe, bench.data
    name = recipe.method(cell.method)["name"]
    fold = data.targets[cell.target][number]
    table = bench.table(cell.source, cell.target, number)
    train, dev = data.sources[cell.source] if cell.source else ((), ())
    pool_rows = table.rows(fold.pool)
    shots, note = _shots(cell, bench, number)
    starts = name in ("none", "finetune", "prototypes")
    material = Material(
        table,
        data.part(train) if cell.source else None,
        data.part(dev) if dev else None,
        shots,
        pool_rows if METHODS[name].unlabelled else None,
        table.rows(fold.test),
        bench.source_model(cell.source, cell.seed) if starts else None,
        pool_rows if recipe.standardise == "corpus" else None,
    )
    note |= {"fold": fold.name, "source": len(train), "pool": len(fold.pool)}
    return material, note


def _shots(cell: Cell, bench: Bench, number: int) -> tuple[ShotParts | None, dict[str, Any]]:
    recipe, data = bench.recipe, bench.data
    where = f"{cell.target}\n{data.targets[cell.target][number].name}"
    shots = draw_shots(data.pool(cell.target, number), Shots.parse(cell.shots), cell.seed, where)
    if not shots:
        return None, {"shots": 0, "shots_dev": 0}
    every = data.part([u.id for u in shots])
    note = {"shots": len(shots), "shots_dev": 0, "shots_dev_by": ""}
    if recipe.choose == "source" or recipe.method(cell.method)["name"] == "prototypes":
        return ShotParts(every, every, None), note
    cut = cut_shots(shots, recipe.shots_dev, cell.seed, where)
    if not cut.dev:
        return ShotParts(every, every, None), note
    parts = ShotParts(
        every, data.part([u.id for u in cut.train]), data.part([u.id for u in cut.dev])
    )
    return parts, {**note, "shots_dev": len(cut.dev), "shots_dev_by": cut.by}
