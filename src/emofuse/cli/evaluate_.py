"""``emofuse evaluate``: a run's models judged again, elsewhere, or under stress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from emofuse.cli.console import emit_json, out, print_table, progress_bar, say
from emofuse.cli.engine import Address, EngineName, Workers, make_engine
from emofuse.errors import OptionError, UsageError

if TYPE_CHECKING:
    from emofuse.augment.stress import StressOptions
    from emofuse.cluster.engine import Engine

EXAMPLE = (
    "Examples: emofuse evaluate runs/emodb (must give the same figures again). "
    "emofuse evaluate runs/emodb ravdess.jsonl --name ravdess. "
    "emofuse evaluate runs/emodb --stress noise,codec noise.snr=[10,0]. "
    "emofuse evaluate runs/emodb --stress fleser-noise noise.folder=noisex. "
    "The same command again goes on where it was stopped."
)
METRICS = ("ua", "wa", "wf1", "mf1")
MODELS = ("folds", "bundle")


class StressCommand(TyperCommand):
    """Lets ``--stress`` stand alone: it then means every kind of stress."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``all`` after a ``--stress`` that has no value of its own."""
        given: list[str] = []
        for place, word in enumerate(args):
            given.append(word)
            following = args[place + 1] if place + 1 < len(args) else None
            alone = following is None or following.startswith("-") or "=" in following
            if word == "--stress" and (alone or Path(str(following)).is_dir()):
                given.append("all")
        return list(super().parse_args(ctx, given))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate", epilog=EXAMPLE, cls=StressCommand)(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST] [KEY=VALUE]...",
            help="Other utterances to judge; with --stress, changes to its options.",
        ),
    ] = None,
    *,
    stress: Annotated[
        str | None,
        typer.Option(
            help="Put the run through it: nothing (or all), kinds such as noise,codec, a .yaml, or "
            "a list that comes with emofuse (fleser-noise, quick)."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What to call an evaluation elsewhere.")] = "",
    models: Annotated[
        str, typer.Option(help="folds: every model of the run answers; bundle: the one it ships.")
    ] = "folds",
    root: Annotated[Path | None, typer.Option(help="Where the manifest's media are.")] = None,
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
) -> None:
    """Judge a finished run's models: on their own test again, on other utterances, under stress.

    Every look at test labels is written down in the run.
    """
    manifest, changes = _sort(rest or [])
    who = make_engine(engine, address, workers)
    if models not in MODELS:
        raise OptionError(f"--models {models!r}; legal: {', '.join(MODELS)}")
    if stress is not None:
        if manifest is not None:
            raise UsageError(
                f"--stress disturbs the run's own test parts, not {manifest}: leave the manifest "
                "out, or leave --stress out to judge it as it is"
            )
        _stress(run, stress, changes, who, as_json)
        return
    if changes:
        raise UsageError(f"{changes[0]} changes an option of --stress; give --stress with it")
    _plain(run, manifest, (name, models, root), who, as_json)


def _sort(rest: list[str]) -> tuple[Path | None, list[str]]:
    changes = [word for word in rest if "=" in word and not Path(word).exists()]
    paths = [word for word in rest if word not in changes]
    if len(paths) > 1:
        raise UsageError(f"one manifest at a time; {paths[1]} is a second one")
    return (Path(paths[0]) if paths else None), changes


def _plain(
    run: Path,
    manifest: Path | None,
    how: tuple[str, str, Path | None],
    who: Engine,
    as_json: bool,
) -> None:
    from emofuse.training.again.evaluate import evaluate_again, evaluate_on

    name, models, root = how
    with progress_bar() as progress:
        if manifest is None:
            found = evaluate_again(run, progress, who)
        else:
            kind: Literal["folds", "bundle"] = "folds" if models == "folds" else "bundle"
            found = evaluate_on(
                run, manifest, name, models=kind, root=root, progress=progress, engine=who
            )
    if as_json:
        emit_json({"folder": str(found.folder), **found.metrics})
    else:
        summary = found.metrics["summary"]
        rows = [_row(metric, summary["metrics"][metric]) for metric in METRICS]
        title = f"{run} on {found.metrics['on']}: {summary['utterances']:,} utterances"
        print_table(title, ("metric", "mean %", "95 % interval"), rows)
        out.print(str(found.metrics["stamp"]), markup=False)
    for note in found.notes:
        say(f"note: {note}")
    hint = "" if manifest is None else f" (emofuse report {found.folder})"
    say(f"wrote {found.folder}{hint}")


def _row(name: str, estimate: dict[str, Any]) -> tuple[str, ...]:
    low, high = estimate["interval"]["low"], estimate["interval"]["high"]
    ends = "–" if low is None else f"{100 * low:.1f} to {100 * high:.1f}"
    return name.upper(), f"{100 * estimate['mean']:.1f}", ends


def _stress(run: Path, text: str, changes: list[str], who: Engine, as_json: bool) -> None:
    from emofuse.evaluation.stress_table import stress_table
    from emofuse.training.again.stress import stress_run

    options = _options(text, changes)
    with progress_bar() as progress:
        found, folder = stress_run(run, options, progress, who)
    if as_json:
        emit_json(found)
    else:
        table = stress_table(found, run.name)
        print_table(table.title, table.columns, table.rows)
    for row in found["conditions"]:
        if row["note"]:
            say(f"{row['label']}: {row['note']}")
    _say_skipped(found["skipped"])
    for note in found["notes"]:
        say(f"note: {note}")
    say(f"wrote {folder} (emofuse report {run} shows it)")


def _say_skipped(skipped: dict[str, str]) -> None:
    by_reason: dict[str, list[str]] = {}
    for label, reason in skipped.items():
        by_reason.setdefault(reason, []).append(label)
    for reason, labels in by_reason.items():
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        say(f"not tried, {reason}: {labels[0]}{more}")


def _options(text: str, changes: list[str]) -> StressOptions:
    from emofuse.augment.stress import StressOptions, choose_groups
    from emofuse.options import apply_overrides, load_yaml, parse_yaml
    from emofuse.training.builtin import stress_files

    known = stress_files()
    data: Any = {}
    if text.endswith((".yaml", ".yml")):
        data = load_yaml(Path(text))
    elif text in known:
        data = parse_yaml(known[text].read_text(encoding="utf-8"), f"stress {text}")
    if not isinstance(data, dict):
        raise OptionError(f"stress {text}: expected keys and values")
    options = StressOptions.parse(apply_overrides(data, changes), f"stress {text}")
    return options if data else choose_groups(options, text)
