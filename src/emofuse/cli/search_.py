"""``emofuse search``: ranges in, the best recipe out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from emofuse.cli import search_options as options
from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.cli.engine import Address, EngineName, Workers, make_engine

if TYPE_CHECKING:
    from emofuse.evaluation.tables import Table
    from emofuse.training.searching.table import Found

EXAMPLE = (
    "Example: emofuse search logmel-mlp data.manifest=emodb.jsonl data.scheme=emodb7 "
    'trainer.learning_rate=1e-4..1e-2:log model.hidden=32..512:32 \'model.pooling="mean"|"max"\' '
    "--trials 40 -o search/emodb. A range is LOW..HIGH, LOW..HIGH:log, LOW..HIGH:STEP or "
    "A|B|C; other KEY=VALUE pairs change the recipe as in emofuse train. The same command again "
    "goes on where it was stopped; given twice at once, both share the work."
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("search", epilog=EXAMPLE)(search)


def search(
    recipe: options.RecipeName,
    arguments: options.Arguments = None,
    *,
    output: options.Output,
    trials: options.Trials = None,
    sampler: options.Sampler = None,
    pruner: options.Pruner = None,
    prune_by: options.PruneBy = None,
    batch: options.Batch = None,
    seed: options.Seed = None,
    nested: options.Nested = False,
    inner: options.Inner = None,
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
    train: options.TrainBest = False,
    as_json: options.AsJson = False,
) -> None:
    """Try combinations of a recipe's values, judged on dev, never on test.

    The trials go to FOLDER/study.db, the table to FOLDER/search.md and search.json, the best
    recipe to FOLDER/best.yaml, ready for emofuse train.
    """
    from emofuse.training.recipe import recipe_mapping
    from emofuse.training.searching.options import load_search
    from emofuse.training.searching.search import search as run_search
    from emofuse.training.searching.space import split_overrides

    given = list(arguments or [])
    file = Path(given.pop(0)) if given and _is_file(given[0]) else None
    plain, ranges = split_overrides(given)
    changes = {
        "trials": trials,
        "sampler": sampler,
        "pruner": pruner,
        "prune_by": prune_by,
        "batch": batch,
        "seed": seed,
        "nested": nested or None,
        "inner": inner,
    }
    chosen = load_search(file, ranges, changes)
    who = make_engine(engine, address, workers)
    with progress_bar() as progress:
        found = run_search(
            recipe_mapping(recipe, plain), chosen, output, progress, final=train, engine=who
        )
    if as_json:
        emit_json(found.to_json())
    else:
        _print(found)
    _tell(found, output)


def _is_file(argument: str) -> bool:
    return "=" not in argument and argument.endswith((".yaml", ".yml"))


def _print(found: Found) -> None:
    from emofuse.training.searching.table import importance_table, trial_table

    for study in found.studies:
        _draw(trial_table(found, study))
        if study.importance:
            _draw(importance_table(study))


def _draw(table: Table) -> None:
    print_table(table.title, table.columns, table.rows, numeric=table.numeric)


def _tell(found: Found, output: Path) -> None:
    for note in found.notes:
        say(f"note: {note}")
    for study in found.studies:
        say(f"best recipe: {study.recipe} (emofuse train {study.recipe} -o RUN)")
    say(f"all trials: {output / 'search.md'}, {output / 'search.json'}")
    if found.run is not None:
        say(f"run: {found.run} (emofuse report {found.run})")
