"""A run directory: one process at a time, one recipe, atomic files."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from emofuse import __version__
from emofuse.errors import EmofuseError, TrainingError, UsageError, shorten
from emofuse.options import load_yaml
from emofuse.storage import lock_file, read_json, write_json, write_text
from emofuse.training.recipe import Recipe

__all__ = ["RUNTIME_KEYS", "claim", "environment", "keep_or_compare", "locked"]

RECIPE = "recipe.yaml"
LOCK = ".lock"
RUNTIME_KEYS = (
    "trainer.checkpoint_seconds",
    "trainer.sharding",
    "trainer.tracking",
    "trainer.workers",
)
"""Keys that change how a run is carried out but not one of its numbers."""
PACKAGES = (
    "torch",
    "transformers",
    "safetensors",
    "accelerate",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "soundfile",
    "soxr",
    "pydantic",
)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run directory for this process; the system lets go of it when the process ends.

    Raises:
        TrainingError: another process has it.
        WorkError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("a+")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot use {folder} as a run directory: {reason}") from error
    with stream:
        try:
            lock_file(stream)
        except OSError as error:
            raise TrainingError(
                f"{folder} is in use by another emofuse process; wait for it or take another folder"
            ) from error
        for left in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield


def claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe into a new run directory, or check that an old one is of this recipe.

    Raises:
        UsageError: the folder is of another recipe, or holds something else.
    """
    path = folder / RECIPE
    if not path.exists():
        strange = sorted(p.name for p in folder.iterdir() if not _ours(p.name))
        if strange:
            raise UsageError(
                f"{folder} is not empty and holds no run ({strange[0]}); take a new folder"
            )
        write_text(path, recipe.to_yaml())
        return
    stored = _flat(_stored(path))
    wanted = _flat(yaml.safe_load(recipe.to_yaml()))
    changed = [
        key
        for key in sorted({*stored, *wanted})
        if stored.get(key) != wanted.get(key) and key not in RUNTIME_KEYS
    ]
    if changed:
        key = changed[0]
        old, new = shorten(stored.get(key)), shorten(wanted.get(key))
        more = f" (and {len(changed) - 1} more differences)" if len(changed) > 1 else ""
        raise UsageError(
            f"{folder} is a run of another recipe: {key} is {old} there and {new} here{more}; "
            "take another folder"
        )


def _stored(path: Path) -> Any:
    """Read the recipe of a run; keys that came after it was written have their defaults."""
    raw = load_yaml(path)
    try:
        return yaml.safe_load(Recipe.parse(raw, str(path)).to_yaml())
    except EmofuseError:
        return raw


def _ours(name: str) -> bool:
    return name == LOCK or (name.startswith(f".{RECIPE}.") and name.endswith(".tmp"))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            name: inner
            for key, part in value.items()
            for name, inner in _flat(part, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: value}


def keep_or_compare(path: Path, value: Mapping[str, Any], what: str) -> None:
    """Write what a run rests on, or check that it is still the same.

    Raises:
        TrainingError: it has changed since the run began.
    """
    if not path.exists():
        write_json(path, value)
        return
    stored = read_json(path)
    if stored != json.loads(json.dumps(value)):
        raise TrainingError(
            f"{what} changed since this run began (see {path}); take another folder, so that "
            "one run does not mix two sets of data"
        )


def environment(device: str, threads: int) -> dict[str, Any]:
    """Give what a number may depend on beside recipe and data: versions, platform, threads."""
    versions: dict[str, str] = {"emofuse": __version__}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count() or 0,
        "threads": threads,
        "device": device,
        "versions": versions,
    }
