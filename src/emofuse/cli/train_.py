"""``emofuse train``: a recipe in, an audited run out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli.console import emit_json, out, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.training.run import Run

EXAMPLE = (
    "Example: emofuse train logmel-mlp data.manifest=emodb.jsonl data.scheme=emodb7 "
    "trainer.epochs=40 -o runs/emodb. RECIPE is the path of a YAML file or a built-in name "
    "(emofuse list recipes). The same command again goes on where a run was stopped."
)

METRICS = ("ua", "wa", "wf1", "mf1")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train", epilog=EXAMPLE)(train)


def train(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or a built-in name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run directory.")] = ...,  # type: ignore[assignment]
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic", help="Same bytes again: one thread, no unsteady operation."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Audit the folds, then train every fold with every seed and write the run directory."""
    from emofuse.training.recipe import load_recipe
    from emofuse.training.run import train as run_recipe
    from emofuse.training.together.place import is_main

    steady = ["trainer.deterministic=true", "trainer.threads=1"] if deterministic else []
    resolved = load_recipe(recipe, [*(overrides or []), *steady])
    with progress_bar() as progress:
        run = run_recipe(resolved, output, progress)
    if not is_main():
        return
    if as_json:
        emit_json(_as_json(run))
    else:
        _print(run)


def _as_json(run: Run) -> dict[str, Any]:
    return {"run": str(run.folder), "bundle": str(run.bundle), **run.metrics}


def _print(run: Run) -> None:
    summary = run.metrics["summary"]
    rows = [_row(name, summary["metrics"][name]) for name in METRICS]
    title = (
        f"{run.recipe.name}: {summary['utterances']:,} utterances, {summary['folds']} folds x "
        f"{summary['seeds']} seeds"
    )
    names = ("metric", "mean %", "± seeds", "± folds", "95 % interval")
    print_table(title, names, rows)
    out.print(str(run.metrics["stamp"]), markup=False)
    for note in run.metrics["notes"]:
        say(f"note: {note}")
    for line in _losses(run):
        say(f"note: {line}")
    say(f"run: {run.folder} (emofuse report {run.folder})")
    say(f"best model: {run.bundle} (emofuse predict FILE --model {run.bundle})")


def _row(name: str, estimate: dict[str, Any]) -> tuple[str, ...]:
    interval = estimate["interval"]
    low, high = interval.get("low"), interval.get("high")
    return (
        name.upper(),
        _percent(estimate["mean"]),
        _percent(estimate["std_seeds"]),
        _percent(estimate["std_folds"]),
        "–" if low is None or high is None else f"{_percent(low)} to {_percent(high)}",
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _losses(run: Run) -> list[str]:
    """Say what fell out of the run on the way."""
    from emofuse.storage import read_json

    note = read_json(run.folder / "data.json")
    lines = []
    if note["without_emotion"]:
        lines.append(f"{note['without_emotion']:,} utterances have no emotion")
    if note["in_no_fold"]:
        lines.append(f"{note['in_no_fold']:,} labelled utterances are in no fold")
    if note["without_features"]:
        lines.append(
            f"{len(note['without_features']):,} utterances have no features at all and are left "
            f"out (first: {note['without_features'][0]})"
        )
    for modality, bad in note["quarantined"].items():
        name, reason = next(iter(bad.items()))
        lines.append(f"{len(bad):,} utterances have no usable {modality}; {name}: {reason}")
    return lines
