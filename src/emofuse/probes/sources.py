"""From a recipe or a run to a bench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from emofuse.errors import FeatureError, WorkError
from emofuse.evaluation.runs import read_run
from emofuse.features.table import FeatureTable
from emofuse.labels import SCHEMES, LabelScheme
from emofuse.losses.contract import Targets
from emofuse.models.bundle import read_bundle
from emofuse.probes.bench import Bench
from emofuse.probes.drawn import drawn_items
from emofuse.probes.sizes import find_size
from emofuse.progress import Progress, silent
from emofuse.protocols.build import make_folds
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json
from emofuse.training.data import RunData, gather, load_manifest
from emofuse.training.parts import Part
from emofuse.training.recipe import Recipe, load_recipe, parse_recipe, recipe_mapping

__all__ = ["Sizes", "bench_of_recipe", "bench_of_run", "is_run"]

NOWHERE = "drawn.jsonl"
DEFAULT_CLASSES = 4


@dataclass(frozen=True)
class Sizes:
    """What the caller says of a recipe without data.

    Attributes:
        dims: modality -> feature size; the encoder's unless given.
        lengths: modality -> frames; 1 = pooled vectors; the encoder's unless given.
        classes: number of classes; those of the recipe's scheme unless given, else 4.
    """

    dims: Mapping[str, int] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    classes: int | None = None


def is_run(place: str) -> bool:
    """Say whether a path is a run directory."""
    return (Path(place) / "recipe.yaml").is_file()


def bench_of_recipe(
    name: str, overrides: list[str], sizes: Sizes | None = None, progress: Progress = silent
) -> Bench:
    """Make the bench of a recipe, on its own features, or drawn ones where it names no manifest.

    Of its own data it takes the first fold: train to learn from, dev (else train) to look at.

    Args:
        name: path or built-in name.
        overrides: ``key=value``.
        sizes: of drawn features.
        progress: told of encoding.

    Raises:
        EmofuseError: what reading recipes, manifests and features can raise.
    """
    raw = recipe_mapping(name, overrides)
    data = raw.get("data")
    if isinstance(data, Mapping) and data.get("manifest"):
        return _on_own_data(load_recipe(name, overrides), progress)
    sizes = sizes or Sizes()
    scheme = dict(data) if isinstance(data, Mapping) else {}
    scheme.setdefault("scheme", _scheme(sizes.classes).model_dump(mode="json"))
    recipe = parse_recipe({**raw, "data": {**scheme, "manifest": NOWHERE}}, f"recipe {name}")
    return drawn_bench(recipe, sizes)


def _scheme(classes: int | None) -> LabelScheme:
    """Give a scheme of so many classes: a built-in one where there is one."""
    wanted = DEFAULT_CLASSES if classes is None else classes
    for scheme in SCHEMES.values():
        if len(scheme.classes) == wanted:
            return scheme
    return LabelScheme(name="drawn", classes=tuple(f"class{place}" for place in range(wanted)))


def drawn_bench(recipe: Recipe, sizes: Sizes) -> Bench:
    """Make a bench of drawn features for a resolved recipe; its data are not touched."""
    dims: dict[str, int] = {}
    lengths: dict[str, int] = {}
    notes = [f"features are drawn, not real (from seed {recipe.seeds[0]})"]
    for modality, spec in recipe.encoders.items():
        if modality in sizes.dims and modality in sizes.lengths:
            dims[modality], lengths[modality] = sizes.dims[modality], sizes.lengths[modality]
            continue
        found = find_size(modality, spec)
        dims[modality] = sizes.dims.get(modality, found.dim)
        lengths[modality] = sizes.lengths.get(modality, found.length)
        if found.assumed and modality not in sizes.dims:
            notes.append(
                f"{spec.name} is not on this machine: {modality} of size {found.dim} is assumed "
                f"(--dims {modality}={found.dim})"
            )
    scheme = recipe.data.label_scheme
    table, part = drawn_items(dims, lengths, len(scheme.classes), scheme.vad, seed=recipe.seeds[0])
    half = len(part) // 2
    places = torch.arange(len(part))
    return _bench(recipe, table, part.take(places[:half]), part.take(places[half:]), notes)


def _bench(
    recipe: Recipe, table: FeatureTable, learn: Part, look: Part, notes: list[str], **more: Any
) -> Bench:
    scheme = recipe.data.label_scheme
    return Bench(
        model=recipe.model["name"],
        options=recipe.model_options,
        objective=recipe.objective,
        classes=scheme.classes,
        vad=scheme.vad,
        table=table,
        learn=learn,
        look=look,
        dropout=recipe.trainer.dropout_for(len(table.dims)),
        augment=None if recipe.augment.policy == "off" else recipe.augment,
        seed=recipe.seeds[0],
        notes=tuple(notes),
        **more,
    )


def _on_own_data(recipe: Recipe, progress: Progress) -> Bench:
    manifest = load_manifest(recipe)
    _, folds = make_folds(manifest, recipe.protocol)
    data = gather(recipe, manifest, folds[:1], progress)
    learn, dev = data.parts(data.folds[0])
    look = learn if dev is None or not len(dev) else dev
    kind = "train" if look is learn else "dev"
    fold = data.folds[0].name
    notes = [f"on {len(learn):,} train utterances of fold {fold}; looked at: {len(look):,} {kind}"]
    return _bench(recipe, data.table, learn, look, notes, drawn=False)


def bench_of_run(folder: Path, progress: Progress = silent) -> Bench:
    """Make the bench of a run: its best model, looked at on that model's test part.

    Gold labels come from ``predictions.parquet``, where the run put them when it was judged; the
    sealed labels are not opened again.

    Raises:
        EmofuseError: the run is not finished, or its data cannot be read any more.
    """
    recipe = load_recipe(folder / "recipe.yaml")
    metrics = folder / "metrics.json"
    if not metrics.is_file():
        raise WorkError(f"{folder} is not finished; run the same 'emofuse train' command again")
    model, _ = read_bundle(folder / "bundle")
    best = read_json(metrics)["best"]
    manifest = load_manifest(recipe)
    _, folds = make_folds(manifest, recipe.protocol)
    chosen = [fold for fold in folds if fold.name == best["fold"]]
    if not chosen:
        raise WorkError(f"{folder}: its protocol makes no fold {best['fold']!r} any more")
    data = gather(recipe, manifest, chosen, progress)
    if data.table.dims != dict(model.spec.dims):
        raise FeatureError(
            f"features of sizes {data.table.dims} where the run's model takes "
            f"{dict(model.spec.dims)}; the encoders changed"
        )
    learn, _ = data.parts(data.folds[0])
    look = _judged(folder, recipe, data, data.folds[0], int(best["seed"]))
    notes = [f"the best model, looked at on {len(look):,} test utterances of fold {best['fold']}"]
    return _bench(recipe, data.table, learn, look, notes, trained=model, drawn=False)


def _judged(folder: Path, recipe: Recipe, data: RunData, fold: Fold, seed: int) -> Part:
    frame = read_run(folder).predictions
    rows = frame[(frame["fold"] == fold.name) & (frame["seed"] == seed)]
    gold = dict(zip(rows["id"], rows["gold"], strict=True))
    ids = [name for name in fold.test if name in gold]
    if not ids:
        raise WorkError(f"{folder} holds no predictions of fold {fold.name!r}")
    scheme = recipe.data.label_scheme
    labels = torch.tensor([scheme.index(gold[name]) for name in ids], dtype=torch.long)
    return Part(data.table.rows(ids), Targets(labels), torch.arange(len(ids)))
