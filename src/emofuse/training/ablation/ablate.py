"""``ablate``: the full recipe and every row of its switch table, as ordinary runs side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emofuse.errors import EmofuseError, OptionError, nearest_hint
from emofuse.evaluation.runs import read_run
from emofuse.models.bundle import read_bundle
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import write_json, write_text
from emofuse.training.ablation.table import Ablation, Outcome, ablation_markdown, make_ablation
from emofuse.training.recipe import Recipe, load_recipe
from emofuse.training.run import train

__all__ = ["FULL", "Row", "ablate", "plan_rows"]

FULL = "full"
"""The row of the recipe as it is."""
BROKEN = (EmofuseError, RuntimeError, TypeError, ValueError, ArithmeticError)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: of the row.
        overrides: what it changes.
        folder: name of its run directory.
        recipe: resolved; None where the overrides are not legal.
        reason: why not.
    """

    name: str
    overrides: tuple[str, ...]
    folder: str
    recipe: Recipe | None
    reason: str = ""


def plan_rows(
    path_or_name: str, overrides: Sequence[str] = (), only: Iterable[str] = ()
) -> list[Row]:
    """Resolve the full recipe and every row of its ``ablations``.

    A row's overrides come after those of the call. The rows of a run carry neither the table nor
    the published figure, which speaks of the full configuration alone.

    Args:
        path_or_name: of the recipe.
        overrides: for all rows.
        only: names of rows; empty = all. The full recipe is always there.

    Raises:
        OptionError: the recipe has no rows, a name is unknown, or the full recipe is not legal.
    """
    full = load_recipe(path_or_name, overrides)
    if not full.ablations:
        raise OptionError(
            f"recipe {path_or_name} has no ablations; give it rows: "
            "ablations: {without-x: [model.x=false]}"
        )
    asked = [
        part
        for name in only
        for part in ([name] if name in full.ablations else map(str.strip, name.split(",")))
    ]
    wanted = asked or list(full.ablations)
    for name in wanted:
        if name not in full.ablations:
            raise OptionError(f"no ablation {name!r}; {nearest_hint(name, full.ablations)}")
    if FULL in full.ablations:
        raise OptionError(
            f"an ablation is called {FULL!r}, which is the recipe as it is; rename it"
        )
    rows = [Row(FULL, (), FULL, _bare(full, FULL))]
    taken = {FULL}
    for name, changes in full.ablations.items():
        folder = _slug(name, taken)
        taken.add(folder.lower())
        if name not in wanted:
            continue
        try:
            recipe = _bare(load_recipe(path_or_name, [*overrides, *changes]), name)
            rows.append(Row(name, changes, folder, recipe))
        except EmofuseError as error:
            rows.append(Row(name, changes, folder, None, str(error)))
    return rows


def _bare(recipe: Recipe, row: str) -> Recipe:
    return recipe.model_copy(
        update={"name": f"{recipe.name}: {row}"[:200], "ablations": {}, "published": None}
    )


def _slug(name: str, taken: set[str]) -> str:
    slug = re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")[:60] or "row"
    number, folder = 1, slug
    while folder.lower() in taken:
        number += 1
        folder = f"{slug}~{number}"
    return folder


def ablate(
    path_or_name: str,
    folder: Path | str,
    overrides: Sequence[str] = (),
    only: Iterable[str] = (),
    progress: Progress = silent,
) -> Ablation:
    """Run the full recipe and every row, then compare each row with the full recipe.

    A row that is finished is kept, so the same call goes on where it was stopped. A row that fails
    is named with its reason and the others go on. ``ablation.md`` and ``ablation.json`` are written
    into the folder.

    Args:
        path_or_name: of the recipe.
        folder: of all runs, ``folder/<row>/``.
        overrides: ``key=value`` for all rows.
        only: names of rows; empty = all.
        progress: told of every training.

    Raises:
        OptionError: see `plan_rows`.
    """
    folder = Path(folder)
    rows = plan_rows(path_or_name, overrides, only)
    outcomes = [_run(row, folder, progress) for row in rows]
    found = make_ablation(str(path_or_name), outcomes)
    write_json(folder / "ablation.json", found.to_json())
    write_text(folder / "ablation.md", ablation_markdown(found))
    return found


def _named(progress: Progress, row: str) -> Progress:
    """Show the row's name beside what its training tells."""

    def hook(event: ProgressEvent) -> None:
        progress(replace(event, values={"row": row, **event.values}))

    return hook


def _run(row: Row, folder: Path, progress: Progress) -> Outcome:
    place = folder / row.folder
    if row.recipe is None:
        return Outcome(row.name, row.overrides, place, None, None, row.reason)
    try:
        train(row.recipe, place, _named(progress, row.name))
        model, _ = read_bundle(place / "bundle")
        parameters = sum(one.numel() for one in model.parameters())
        return Outcome(row.name, row.overrides, place, read_run(place), parameters)
    except BROKEN as error:
        kind = "" if isinstance(error, EmofuseError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        return Outcome(row.name, row.overrides, place, None, None, reason)
