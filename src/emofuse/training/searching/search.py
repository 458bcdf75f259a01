"""``search``: try combinations of a recipe's values, judged within train and dev."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from emofuse.cluster.engine import Engine
from emofuse.errors import TrainingError, UsageError, shorten
from emofuse.options import load_yaml
from emofuse.progress import Progress, silent
from emofuse.protocols.build import make_folds
from emofuse.storage import write_json, write_text
from emofuse.training.data import load_manifest
from emofuse.training.recipe import Recipe
from emofuse.training.run import train
from emofuse.training.searching.book import Book, open_storage
from emofuse.training.searching.draw import need_optuna, quiet_optuna
from emofuse.training.searching.locks import held
from emofuse.training.searching.nested import train_nested
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.space import check_space
from emofuse.training.searching.table import Found, StudyFound, search_markdown, study_found
from emofuse.training.searching.work import SETTINGS, Setup, work_together

__all__ = ["RUN", "search"]

RUN = "run"
"""Folder of the final run, below that of the search."""
Spread = Callable[[Path, Progress], None]
"""Works on the search in a folder."""


def search(
    recipe: Mapping[str, Any],
    options: SearchOptions,
    folder: Path | str,
    progress: Progress = silent,
    *,
    final: bool = False,
    engine: Engine | None = None,
    spread: Spread | None = None,
) -> Found:
    """Search, and write what was found into a folder.

    The same call goes on where it was stopped; several at once share the work. Trials see train and
    dev alone. ``search.json``, ``search.md`` and the best recipe are written at the end.

    Args:
        recipe: keys and values, not validated yet (`recipe_mapping`).
        options: how to search.
        folder: new, or of the same search; ``trials`` may have grown.
        progress: told of encoding, trials and trainings.
        final: train the best recipe at the end, into ``folder/run``; a nested search always does.
        engine: who tries; this process unless told. At most ``batch`` workers have work at once.
        spread: works on the trials, in place of the engine.

    Raises:
        MissingExtraError: Optuna is not installed.
        OptionError: a range that is not legal in the recipe, or nothing to choose by.
        UsageError: the folder is of another search.
        TrainingError: no trial was completed.
        EmofuseError: what reading manifests, auditing, encoding and training can raise.
    """
    need_optuna()
    folder = Path(folder)
    check_space(recipe, options.space)
    _claim(folder, recipe, options)
    if spread is not None:
        spread(folder, progress)
    else:
        work_together(folder, engine or Engine(), progress)
    with held(folder / "locks" / "end.lock"):
        found = _sum_up(folder, Setup(recipe, options))
        if options.nested or final:
            found = replace(found, run=folder / RUN)
            _train_final(found, Setup(recipe, options), folder / RUN, progress)
        write_json(folder / "search.json", found.to_json())
        write_text(folder / "search.md", search_markdown(found))
    return found


def _claim(folder: Path, recipe: Mapping[str, Any], options: SearchOptions) -> None:
    """Write what is searched into a new folder, or check that an old one is of this search."""
    path = folder / SETTINGS
    stated = {"recipe": dict(recipe), "search": options.model_dump(mode="json", exclude_none=True)}
    text = yaml.safe_dump(stated, sort_keys=False, allow_unicode=True, width=100)
    with held(folder / "locks" / "folder.lock"):
        if path.exists():
            _compare(folder, load_yaml(path), yaml.safe_load(text))
        else:
            strange = sorted(one.name for one in folder.iterdir() if one.name != "locks")
            if strange:
                raise UsageError(
                    f"{folder} is not empty and holds no search ({strange[0]}); take a new folder"
                )
        write_text(path, text)


def _compare(folder: Path, stored: Any, wanted: Any) -> None:
    for part in ("recipe", "search"):
        old, new = dict(stored.get(part) or {}), dict(wanted[part])
        trials = int(old.pop("trials", 0)), int(new.pop("trials", 0))
        if trials[1] < trials[0]:
            raise UsageError(
                f"{folder} holds a search of {trials[0]} trials; ask for as many or for more"
            )
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                raise UsageError(
                    f"{folder} is a search of another kind: {part} {key} is "
                    f"{shorten(old.get(key))} there and {shorten(new.get(key))} here; "
                    "take another folder"
                )


def _sum_up(folder: Path, setup: Setup) -> Found:
    example = setup.example()
    studies: list[StudyFound] = []
    _, folds = make_folds(load_manifest(example), example.protocol)
    with quiet_optuna():
        storage = open_storage(folder)
        try:
            for study in setup.studies(folds):
                trials = Book(storage, folder, study.name, setup.options).trials()
                one = study_found(
                    study.name, study.fold, trials[: setup.options.trials], setup.options
                )
                studies.append(_with_recipe(one, setup, folder))
        finally:
            storage.engine.dispose()
    return Found(
        example.name,
        example.trainer.monitor,
        {key: str(one) for key, one in setup.options.space.items()},
        tuple(studies),
        _notes(setup.options, len(folds)),
    )


def _notes(options: SearchOptions, folds: int) -> tuple[str, ...]:
    if options.nested or folds < 2:
        return ()
    note = (
        "the values were chosen on the dev parts of all folds together, and what is dev in one "
        "fold may be test in another: a test score of the best recipe is a little too good; "
        "a nested search gives one that is not"
    )
    return (note,)


def _with_recipe(study: StudyFound, setup: Setup, folder: Path) -> StudyFound:
    """Write the best recipe of a study.

    Raises:
        TrainingError: no trial was completed.
    """
    if study.best is None:
        reason = next((row.reason for row in study.trials if row.reason), "all were pruned")
        raise TrainingError(f"no trial of {study.name} was completed ({reason})")
    path = folder / ("best.yaml" if study.fold is None else f"best-{study.name}.yaml")
    recipe = best_recipe(study, setup)
    head = f"# The best of {len(study.trials)} trials of a search ({study.name}).\n"
    write_text(path, head + recipe.to_yaml())
    return replace(study, recipe=str(path))


def best_recipe(study: StudyFound, setup: Setup) -> Recipe:
    """Give the recipe of the best trial, which says that it was searched for."""
    values = {} if study.best is None else study.best.values
    space = setup.options.space
    stored = {key: space[key].stored(value) for key, value in values.items()}
    recipe = setup.with_values(stored)
    chosen = ", ".join(f"{key}={value}" for key, value in values.items())
    about = f"{recipe.about} Chosen by search: {chosen}.".strip()
    return recipe.model_copy(update={"about": about, "published": None, "ablations": {}})


def _train_final(found: Found, setup: Setup, folder: Path, progress: Progress) -> None:
    recipes = [best_recipe(study, setup) for study in found.studies]
    if setup.options.nested:
        options = setup.options
        note = (
            f"nested search: each fold was trained with the best of {options.trials} trials that "
            f"saw its own train and dev alone, cut into {options.inner} folds by group"
        )
        train_nested(recipes, found.to_json(), note, folder, progress)
    else:
        train(recipes[0], folder, progress)
