"""Recipes of a run whose folds were trained with values of their own (a nested search)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from emofuse.errors import WorkError
from emofuse.options import load_yaml
from emofuse.storage import write_text
from emofuse.training.recipe import Recipe, parse_recipe

__all__ = ["FOLD_RECIPES", "read_fold_recipes", "write_fold_recipes"]

FOLD_RECIPES = "fold-recipes.yaml"
Change = Callable[[Any], Any]


def write_fold_recipes(folder: Path, recipes: Mapping[str, Recipe]) -> None:
    """Keep fold -> recipe in a run directory."""
    plain = {name: yaml.safe_load(recipe.to_yaml()) for name, recipe in recipes.items()}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    write_text(folder / FOLD_RECIPES, text)


def read_fold_recipes(folder: Path, change: Change = dict) -> dict[str, Recipe]:
    """Give fold -> recipe of a run; empty where all folds were trained with one.

    Args:
        folder: of the run.
        change: what becomes of each recipe's keys and values before it is read.

    Raises:
        WorkError: the file is damaged.
    """
    path = folder / FOLD_RECIPES
    if not path.is_file():
        return {}
    found = load_yaml(path)
    if not isinstance(found, Mapping) or not all(
        isinstance(one, Mapping) for one in found.values()
    ):
        raise WorkError(f"{path} holds no recipes; the run must be made anew")
    return {str(name): parse_recipe(change(one), f"{path} ({name})") for name, one in found.items()}
