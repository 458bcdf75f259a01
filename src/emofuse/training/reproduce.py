"""``reproduce``: run a run again from its recipe, and say what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emofuse.errors import OptionError, UsageError, WorkError, nearest_hint
from emofuse.evaluation.predictions import PROBABILITY, read_predictions
from emofuse.options import apply_overrides, load_yaml
from emofuse.progress import Progress, silent
from emofuse.storage import read_json, sha256_file, write_json
from emofuse.training.fold_recipes import read_fold_recipes
from emofuse.training.folder import environment
from emofuse.training.recipe import Recipe, parse_recipe
from emofuse.training.run import train
from emofuse.training.searching.nested import train_nested

__all__ = ["Check", "Reproduction", "compare_runs_bytes", "reproduce"]

Verdict = Literal["identical", "equal", "different"]
TOLERANCE = 1e-4
MOVABLE = (
    *("data.manifest", "data.root", "data.store"),
    *("trainer.workers", "trainer.checkpoint_seconds", "trainer.device"),
)
"""Keys that may be given anew: where things lie, and how the work is carried out."""
METRICS = ("ua", "wa", "wf1", "mf1")


@dataclass(frozen=True)
class Check:
    """One thing that was compared.

    Attributes:
        what: name of it.
        verdict: ``identical``, ``equal`` (within the tolerance), ``different``.
        detail: what differs, in words; empty where nothing does.
        result: whether it is a result; what a result rests on does not decide by itself.
    """

    what: str
    verdict: Verdict
    detail: str = ""
    result: bool = True


@dataclass(frozen=True)
class Reproduction:
    """What running again has shown.

    Attributes:
        original, again: the run directories.
        tolerance: largest difference of a probability or a metric that counts as none.
        checks: everything compared, what the results rest on first.
    """

    original: Path
    again: Path
    tolerance: float
    checks: tuple[Check, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """The worst verdict on a result."""
        found = {check.verdict for check in self.checks if check.result}
        order: tuple[Verdict, ...] = ("different", "equal")
        return next((one for one in order if one in found), "identical")

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "original": str(self.original),
            "again": str(self.again),
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "checks": [
                {"what": c.what, "verdict": c.verdict, "detail": c.detail, "result": c.result}
                for c in self.checks
            ],
        }


def reproduce(
    run: Path | str,
    folder: Path | str | None = None,
    overrides: Iterable[str] = (),
    *,
    tolerance: float = TOLERANCE,
    progress: Progress = silent,
) -> Reproduction:
    """Run a run again and compare.

    Everything that decides the numbers comes from the run's own ``recipe.yaml``. The same call
    again goes on where it was stopped. ``reproduction.json`` is written into the new folder.

    Args:
        run: the run directory, finished.
        folder: of the new run; beside the old one, ``<name>-again``, unless told.
        overrides: ``key=value``, for keys in `MOVABLE` alone.
        tolerance: see `Reproduction`.
        progress: as in `train`.

    Raises:
        WorkError: the run is not there or not finished.
        OptionError: an override that would change what is reproduced.
        EmofuseError: what `train` raises.
    """
    run = Path(run)
    overrides = tuple(overrides)
    recipe = _recipe(run, overrides)
    again = run.with_name(f"{run.resolve().name}-again") if folder is None else Path(folder)
    if again.resolve() == run.resolve():
        raise UsageError(f"{again} is the run itself; take another folder")
    folds = read_fold_recipes(run, lambda given: apply_overrides(given, _moved(overrides)))
    if folds:
        note = str(_json(run / "metrics.json").get("notes", [""])[-1])
        train_nested(list(folds.values()), _json(run / "search.json"), note, again, progress)
    else:
        train(recipe, again, progress)
    found = Reproduction(run, again, tolerance, tuple(_checks(run, again, recipe, tolerance)))
    write_json(again / "reproduction.json", found.to_json())
    return found


def _recipe(run: Path, overrides: Iterable[str]) -> Recipe:
    if not run.is_dir():
        raise WorkError(f"no run directory {run}; give the folder that 'emofuse train' wrote")
    for name in ("recipe.yaml", "metrics.json", "predictions.parquet"):
        if not (run / name).exists():
            raise WorkError(f"{run} holds no {name}; finish the run with 'emofuse train'")
    given = list(overrides)
    for one in given:
        key = one.partition("=")[0].strip()
        if key not in MOVABLE:
            raise OptionError(
                f"{key!r} is part of what is reproduced; only these may be given anew: "
                f"{nearest_hint(key, MOVABLE)}"
            )
    return parse_recipe(apply_overrides(load_yaml(run / "recipe.yaml"), _moved(given)), str(run))


def _moved(given: Iterable[str]) -> list[str]:
    return [*given, "trainer.tracking=[]"]


def _checks(run: Path, again: Path, recipe: Recipe, tolerance: float) -> Iterable[Check]:
    yield _environment(run, recipe)
    yield from _rests(run, again)
    yield from compare_runs_bytes(run, again, tolerance)


def _environment(run: Path, recipe: Recipe) -> Check:
    path = run / "environment.json"
    if not path.exists():
        return Check("environment", "different", "the run does not say what it was", False)
    old = _flat(read_json(path))
    new = _flat(environment(recipe.trainer.device, recipe.trainer.threads))
    changed = [
        f"{key} {old.get(key, 'none')} -> {new.get(key, 'none')}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    return Check("environment", _same(not changed), ", ".join(changed), False)


def _rests(run: Path, again: Path) -> Iterable[Check]:
    """Compare what the results rest on, by the hashes that the runs keep."""
    old, new = (_json(folder / "data.json") for folder in (run, again))
    for key, what in (("manifest_sha256", "manifest"), ("features_sha256", "features")):
        same = old.get(key) == new.get(key)
        yield Check(what, _same(same), "" if same else _hashes(old.get(key), new.get(key)), False)
    first, second = (_json(folder / "folds.json").get("folds", []) for folder in (run, again))
    hashes = [{fold["name"]: fold["sha256"] for fold in folds} for folds in (first, second)]
    moved = sorted(n for n in {*hashes[0], *hashes[1]} if hashes[0].get(n) != hashes[1].get(n))
    detail = f"{len(moved)} differ, {moved[0]!r} among them" if moved else ""
    yield Check("folds", _same(not moved), detail, False)


def compare_runs_bytes(run: Path, again: Path, tolerance: float = TOLERANCE) -> Iterable[Check]:
    """Compare weights, predictions and metrics of two runs: bytes first, then how far apart.

    Args:
        run: finished run directory.
        again: another.
        tolerance: see `Reproduction`.
    """
    yield _weights(run, again)
    yield _predictions(run, again, tolerance)
    yield from _metrics(run, again, tolerance)


def _weights(run: Path, again: Path) -> Check:
    """Compare the models of all jobs by their hashes; weights that differ decide nothing."""
    pattern = "jobs/*/model.safetensors"
    old, new = (
        {path.parent.name: sha256_file(path) for path in folder.glob(pattern)}
        for folder in (run, again)
    )
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    detail = f"{len(changed)} of {len({*old, *new})} differ, {changed[0]} first" if changed else ""
    return Check("weights of every job", _same(not changed), detail, False)


def _predictions(run: Path, again: Path, tolerance: float) -> Check:
    paths = [folder / "predictions.parquet" for folder in (run, again)]
    if sha256_file(paths[0]) == sha256_file(paths[1]):
        return Check("predictions", "identical")
    (old, classes), (new, others) = (read_predictions(path) for path in paths)
    if classes != others:
        return Check("predictions", "different", f"classes {classes} -> {others}")
    key = ["fold", "seed", "id"]
    both = old.merge(new, on=key, suffixes=("", "_again"), how="outer", indicator=True)
    lone = int((both["_merge"] != "both").sum())
    if lone:
        return Check("predictions", "different", f"{lone:,} rows are in one run alone")
    gaps = [both[f"{PROBABILITY}{n}"] - both[f"{PROBABILITY}{n}_again"] for n in classes]
    gap = float(np.abs(np.stack(gaps)).max())
    turned = int((both["predicted"] != both["predicted_again"]).sum())
    detail = f"largest difference of a probability {gap:.2g}; {turned:,} of {len(both):,} decisions"
    return Check("predictions", "equal" if gap <= tolerance else "different", detail)


def _metrics(run: Path, again: Path, tolerance: float) -> Iterable[Check]:
    summaries = [_json(folder / "metrics.json")["summary"]["metrics"] for folder in (run, again)]
    for name in METRICS:
        old, new = (one.get(name, {}).get("mean") for one in summaries)
        if old == new:
            yield Check(name.upper(), "identical")
        elif old is None or new is None:
            yield Check(name.upper(), "different", f"{old} -> {new}")
        else:
            near = abs(old - new) <= tolerance
            detail = f"{100 * old:.4f} % -> {100 * new:.4f} %"
            yield Check(name.upper(), "equal" if near else "different", detail)


def _same(same: bool) -> Verdict:
    return "identical" if same else "different"


def _hashes(old: object, new: object) -> str:
    return f"SHA-256 {str(old)[:12]}... -> {str(new)[:12]}..."


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path)
    return found


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    pairs: Sequence[tuple[str, Any]] = list(value.items())
    return {
        name: inner
        for key, part in pairs
        for name, inner in _flat(part, f"{prefix}.{key}" if prefix else key).items()
    }
