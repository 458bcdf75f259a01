"""The recipes that come with the package, found without reading any."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

__all__ = ["builtin_recipes", "recipe_files", "stress_files", "transfer_files"]

STRESS = "stress"
"""Folder of lists of stress, which are no recipes."""
TRANSFER = "transfer/"
"""How names of transfer recipes begin."""


def recipe_files() -> dict[str, Traversable]:
    """Name (``linear``, ``system/name``) -> the YAML file of `train`, in the order of the names."""
    return {name: file for name, file in _files().items() if not name.startswith(TRANSFER)}


def transfer_files() -> dict[str, Traversable]:
    """Name (``transfer/name``) -> the YAML file of `transfer`, in the order of the names."""
    return {name: file for name, file in _files().items() if name.startswith(TRANSFER)}


def _files() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for entry in files("emofuse.recipes").iterdir():
        if entry.name == STRESS:
            continue
        inner = entry.iterdir() if entry.is_dir() else iter((entry,))
        start = f"{entry.name}/" if entry.is_dir() else ""
        for one in inner:
            if one.name.endswith(".yaml"):
                found[start + one.name.removesuffix(".yaml")] = one
    return dict(sorted(found.items()))


def stress_files() -> dict[str, Traversable]:
    """Name -> the YAML file of every list of stress conditions in the package."""
    folder = files("emofuse.recipes").joinpath(STRESS)
    found = [one for one in folder.iterdir() if one.name.endswith(".yaml")]
    return {one.name.removesuffix(".yaml"): one for one in sorted(found, key=lambda one: one.name)}


def builtin_recipes(transfer: bool = False) -> dict[str, str]:
    """Name -> first comment line of every recipe in the package, of `train` or of `transfer`."""
    found: dict[str, str] = {}
    for name, entry in (transfer_files() if transfer else recipe_files()).items():
        first = entry.read_text(encoding="utf-8").split("\n", 1)[0]
        found[name] = first.lstrip("# ").strip()
    return found
