"""From a run directory to a subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emofuse.errors import OptionError, WorkError
from emofuse.evaluation.runs import read_run
from emofuse.explain.subject import Subject
from emofuse.features.table import FeatureTable
from emofuse.progress import Progress, silent
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json
from emofuse.training.data import load_manifest
from emofuse.training.recipe import Recipe, load_recipe

__all__ = ["open_run", "read_recipe"]


def read_recipe(folder: Path, seed: int | None) -> tuple[Recipe, int]:
    """Read the recipe of a finished run, and choose one of its seeds.

    Args:
        folder: of the run.
        seed: which; the first unless told.

    Raises:
        WorkError: there is no run, or it is not finished.
        OptionError: it has no such seed.
    """
    if not (folder / "recipe.yaml").is_file():
        raise WorkError(f"no run in {folder}; give the folder that 'emofuse train' wrote")
    if not (folder / "metrics.json").is_file():
        raise WorkError(f"{folder} is not finished; run the same 'emofuse train' command again")
    recipe = load_recipe(folder / "recipe.yaml")
    chosen = recipe.seeds[0] if seed is None else seed
    if chosen not in recipe.seeds:
        legal = ", ".join(map(str, recipe.seeds))
        raise OptionError(f"{folder} was not trained with seed {chosen}; legal: {legal}")
    return recipe, chosen


def open_run(
    folder: Path,
    seed: int | None = None,
    ids: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Subject:
    """Open a finished run.

    Args:
        folder: of the run.
        seed: which of its seeds; the first unless told.
        ids: utterances whose features are needed; None = all that were test.
        progress: told of encoding.

    Raises:
        WorkError: the run is not finished.
        OptionError: it has no such seed.
        EmofuseError: what reading manifests and features can raise.
    """
    recipe, seed = read_recipe(folder, seed)
    run = read_run(folder)
    folds = _folds(folder)
    frame = run.predictions
    subject = Subject(
        folder,
        recipe,
        load_manifest(recipe),
        folds,
        seed,
        run.classes,
        frame[frame["seed"] == seed],
        FeatureTable((), {}, {}),
        progress,
    )
    tested = list(dict.fromkeys(name for fold in folds for name in fold.test))
    if ids is not None:
        for name in ids:
            subject.fold_of(name)
        tested = list(dict.fromkeys(ids))
    subject.table = subject.features(tested)
    return subject


def _folds(folder: Path) -> tuple[Fold, ...]:
    listed = read_json(folder / "folds.json")["folds"]
    return tuple(
        Fold(
            one["name"],
            tuple(one["train"]),
            tuple(one["dev"]),
            tuple(one["test"]),
            one.get("dev_by", ""),
        )
        for one in listed
    )
