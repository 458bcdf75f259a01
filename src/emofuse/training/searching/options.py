"""How to search: ranges, number of trials, sampler, pruner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from emofuse.errors import OptionError, shorten
from emofuse.options import Options, load_yaml
from emofuse.training.searching.space import Choices, Interval, Range, read_space

__all__ = ["SearchOptions", "load_search"]


class SearchOptions(Options):
    """How to search.

    Attributes:
        space: key of the recipe -> its range.
        trials: how many combinations to try, for each outer fold where nested.
        sampler: ``tpe`` (tree-structured Parzen estimator) or ``random``.
        startup: trials that are drawn at random before ``tpe`` looks at results.
        pruner: which trials end early: ``median`` (worse than the median of the earlier ones at the
            same step), ``hyperband``, or ``none``.
        prune_by: when a trial tells how it stands: after each ``fold`` and seed, or ``epoch``.
        batch: trials that are drawn and pruned without looking at each other, so that this many
            may be tried side by side and the outcome does not depend on how many are.
        seed: of every draw.
        nested: search anew within train and dev of every fold, and open its test once, with the
            best of that search.
        inner: folds, by group, that a nested search cuts train and dev into.
    """

    space: dict[str, Interval | Choices] = Field(min_length=1, max_length=100)
    trials: int = Field(default=50, ge=1, le=100_000)
    sampler: Literal["tpe", "random"] = "tpe"
    startup: int = Field(default=10, ge=1)
    pruner: Literal["median", "hyperband", "none"] = "median"
    prune_by: Literal["fold", "epoch"] = "fold"
    batch: int = Field(default=4, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    nested: bool = False
    inner: int = Field(default=3, ge=2, le=100)

    @field_validator("space", mode="before")
    @classmethod
    def _ranges(cls, value: object) -> object:
        return read_space(value) if isinstance(value, Mapping) and not _read(value) else value


def _read(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(one, Interval | Choices) for one in value.values())


def load_search(
    path: Path | None, ranges: Mapping[str, Range], changes: Mapping[str, Any]
) -> SearchOptions:
    """Read a search file, and add what the command line says.

    Args:
        path: YAML with the keys of `SearchOptions`; None = the command line says it all.
        ranges: key -> range, in place of or beside those of the file.
        changes: other keys of `SearchOptions`; None values are left as the file says.

    Raises:
        UsageError: no such file, or no YAML.
        OptionError: an unknown key, an illegal value, no range at all.
    """
    given: Any = {} if path is None else load_yaml(path)
    where = "search" if path is None else f"search {path}"
    if not isinstance(given, Mapping):
        raise OptionError(f"{where}: expected keys and values, got {shorten(given)}")
    space = given.get("space") or {}
    if not isinstance(space, Mapping):
        raise OptionError(f"{where}: space = {shorten(space)}: expected a range for each key")
    both = {**read_space(space), **ranges}
    if not both:
        raise OptionError(
            f"{where}: nothing to search; give a range such as trainer.learning_rate=1e-4..1e-2:log"
        )
    told = {key: value for key, value in changes.items() if value is not None}
    return SearchOptions.parse({**given, **told, "space": both}, where)
