"""The cells of a transfer matrix: each is one job, independent of every other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emofuse.errors import OptionError
from emofuse.training.transferring.methods import METHODS
from emofuse.training.transferring.recipe import JOIN, TransferRecipe, slug
from emofuse.training.transferring.shots import Shots

__all__ = ["RESULT", "Cell", "transfer_cells"]

RESULT = "result.json"


@dataclass(frozen=True)
class Cell:
    """One job of the matrix: every fold of one target, or the model of one source.

    Attributes:
        source: corpora to learn from; empty where the shots are all there is.
        target: corpus to be judged on; empty for a source model.
        method: label of the method; empty for a source model.
        shots: as in the recipe.
        seed: of every draw.
    """

    source: str
    target: str
    method: str
    shots: str
    seed: int

    @property
    def is_source(self) -> bool:
        """Whether it trains a source model, which other cells start from."""
        return not self.target

    @property
    def setting(self) -> str:
        """Name of what it shares with the other seeds."""
        start = f"{slug(self.source)}-to-" if self.source else ""
        return f"{start}{slug(self.target)}-{self.method}-{Shots.parse(self.shots).slug}"

    def folder(self, root: Path) -> Path:
        """Where its files go, below the folder of the matrix."""
        if self.is_source:
            return root / "sources" / f"{slug(self.source)}-{self.seed}"
        return root / "cells" / f"{self.setting}-{self.seed}"

    def finished(self, root: Path) -> bool:
        """Whether its result is there."""
        return (self.folder(root) / RESULT).exists()


def transfer_cells(recipe: TransferRecipe) -> list[Cell]:
    """List every cell of a recipe: the source models first, then the matrix.

    A source is not judged on a corpus that it contains. A method that needs shots has no cell
    without any, one that takes none has no cell with some; shots alone (``target``) know no source.
    Source models are needed by methods that start from one; a cell that does not find its source
    model trains it, with the same result.

    Raises:
        OptionError: no source has a target to be judged on.
    """
    pairs = [
        (source, target)
        for source in recipe.sources
        for target in recipe.judged
        if target not in source.split(JOIN)
    ]
    if not pairs:
        raise OptionError(
            f"nothing to transfer: the sources {', '.join(recipe.sources)} contain every target "
            f"({', '.join(recipe.judged)}); name another corpus in sources or targets"
        )
    found: dict[Cell, None] = {}
    for entry in recipe.methods:
        kind = METHODS[entry["name"]]
        for shots in _fitting(recipe, entry["name"]):
            for source, target in pairs:
                for seed in recipe.seeds:
                    start = source if kind.source else ""
                    found[Cell(start, target, entry["label"], shots, seed)] = None
    if not found:
        raise OptionError("no method goes with these shots; add shots (10%) or the method none")
    starts = {entry["label"] for entry in recipe.methods if _starts(entry["name"])}
    needed = {(cell.source, cell.seed): None for cell in found if cell.method in starts}
    return [*(Cell(source, "", "", "0", seed) for source, seed in needed), *found]


def _fitting(recipe: TransferRecipe, method: str) -> tuple[str, ...]:
    rule = METHODS[method].shots
    if rule == "never":
        return ("0",)
    return tuple(s for s in recipe.shots if rule == "may" or not Shots.parse(s).none)


def _starts(method: str) -> bool:
    return method in ("none", "finetune", "prototypes")
