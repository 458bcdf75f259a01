"""What a run rests on: manifest, folds, features, and what fell out on the way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emofuse.augment.draw import Draw
from emofuse.errors import FeatureError
from emofuse.features.augmented import Views, make_views
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable
from emofuse.labels import LabelScheme
from emofuse.manifest import Manifest
from emofuse.progress import Progress, silent
from emofuse.protocols.contract import Fold
from emofuse.storage import sha256_text
from emofuse.training.parts import Part, group_numbers, make_targets
from emofuse.training.recipe import Recipe
from emofuse.training.sealed import SealedTest

__all__ = ["RunData", "gather", "load_manifest"]


@dataclass(frozen=True)
class RunData:
    """Features and folds of a run; labels of train and dev only through `parts`.

    Attributes:
        table: features, one row an utterance.
        folds: folds of the utterances that have features.
        test: the sealed labels.
        note: counts and hashes, as written to ``data.json``.
        manifest: the utterances of the folds, labelled.
        scheme: the label scheme.
        dev_by: what the protocol cuts dev by; inner folds are cut the same way.
        views: changed copies of the items that some fold learns from or chooses by.
        draws: what the views are, as written to ``augmentation.jsonl``.
        remarks: what a reader of the numbers should know.
    """

    table: FeatureTable
    folds: tuple[Fold, ...]
    test: SealedTest
    note: dict[str, Any]
    manifest: Manifest
    scheme: LabelScheme
    dev_by: str = "auto"
    views: Views | None = None
    draws: tuple[Draw, ...] = ()
    remarks: tuple[str, ...] = ()

    def parts(self, fold: Fold) -> tuple[Part, Part | None]:
        """Give train and dev of a fold, with labels; groups are numbered over both together."""
        learnt = [self.manifest[name] for name in (*fold.train, *fold.dev)]
        rows = self.table.rows([u.id for u in learnt])
        views = None if self.views is None else self.views.take(rows)
        targets = make_targets(learnt, self.scheme)
        whole = Part(rows, targets, group_numbers(learnt, self.dev_by), views)
        cut = len(fold.train)
        everything = torch.arange(len(learnt))
        dev = whole.take(everything[cut:]) if fold.dev else None
        return whole.take(everything[:cut]), dev

    def without_test(self, fold: Fold) -> Manifest:
        """Give the manifest less a fold's test part, for what learns from more than `parts`."""
        tested = set(fold.test)
        return self.manifest.filter(lambda u: u.id not in tested)

    def test_rows(self, fold: Fold) -> Tensor:
        """Give the feature rows of a fold's test part, without labels."""
        return self.table.rows(fold.test)


def load_manifest(recipe: Recipe) -> Manifest:
    """Load and join the manifests of a recipe and apply its label scheme.

    Raises:
        ManifestError: a manifest cannot be read.
        LabelError: a label outside the scheme.
    """
    root = None if recipe.data.root is None else Path(recipe.data.root)
    loaded = [Manifest.load(Path(path), root) for path in recipe.data.manifest]
    return Manifest.concat(loaded).label(recipe.data.label_scheme)


def gather(
    recipe: Recipe,
    manifest: Manifest,
    folds: Sequence[Fold],
    progress: Progress = silent,
    *,
    left_out: Sequence[str] = (),
) -> RunData:
    """Encode or look up the features, and take out of the folds what has none.

    Args:
        recipe: encoders and store.
        manifest: labelled.
        folds: as the protocol made them.
        progress: hook.
        left_out: utterances that an earlier call took out of these very folds: they are looked up
            again, so that hashes are those of that call.

    Raises:
        FeatureError: no utterance has features, or one has a value that is no number.
        ProtocolError: a fold is left without train or test.
    """
    used = {name for fold in folds for name in (*fold.train, *fold.dev, *fold.test)}
    used |= set(left_out)
    needed = manifest.filter(lambda u: u.id in used)
    device = recipe.trainer.device if recipe.trainer.device != "mps" else "cpu"
    store = FeatureStore(Path(recipe.data.store))
    table = load_table(needed, recipe.encoders, store, progress, device=device)
    _check_finite(table)
    lengths = [part.lengths for part in table.modalities.values()]
    present = torch.stack([length > 0 for length in lengths]).any(dim=0)
    kept = {name for name, there in zip(table.ids, present.tolist(), strict=True) if there}
    note = {
        "utterances": len(manifest),
        "without_emotion": sum(u.emotion is None for u in manifest),
        "in_no_fold": sum(u.emotion is not None and u.id not in used for u in manifest),
        **_table_note(table, needed, kept),
    }
    kept_folds = tuple(_without(fold, kept) for fold in folds)
    views: Views | None = None
    draws: tuple[Draw, ...] = ()
    if recipe.augment.makes_views or recipe.augment.specaugment:
        learned = {name for fold in kept_folds for name in (*fold.train, *fold.dev)}
        views, draws, failed = make_views(
            needed,
            learned,
            recipe.augment,
            recipe.encoders,
            store,
            progress=progress,
            device=device,
        )
        note["augmentation"] = _views_note(draws, failed)
    return RunData(
        table,
        kept_folds,
        SealedTest(needed),
        note,
        needed,
        recipe.data.label_scheme,
        str(recipe.protocol.get("dev_by", "auto")),
        views,
        draws,
        recipe.augment.notes(),
    )


def _table_note(table: FeatureTable, needed: Manifest, kept: set[str]) -> dict[str, Any]:
    """What the features hold, and of what they were made."""
    lengths = {name: part.lengths for name, part in table.modalities.items()}
    return {
        "used": len(kept),
        "without_features": [name for name in table.ids if name not in kept],
        "lacking": {name: int((length == 0).sum()) for name, length in lengths.items()},
        "quarantined": {name: dict(bad) for name, bad in table.quarantined.items() if bad},
        "classes": dict(sorted(Counter(str(u.emotion) for u in needed if u.id in kept).items())),
        "corpora": sorted({u.corpus for u in needed if u.corpus}),
        "dims": table.dims,
        "manifest_sha256": _manifest_hash(needed),
        "features_sha256": _features_hash(table),
    }


def _views_note(draws: tuple[Draw, ...], failed: dict[str, str]) -> dict[str, Any]:
    lines = "\n".join(draw.model_dump_json() for draw in draws)
    return {"draws": len(draws), "sha256": sha256_text(lines), "failed": failed}


def _without(fold: Fold, kept: set[str]) -> Fold:
    def keep(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if name in kept)

    return replace(fold, train=keep(fold.train), dev=keep(fold.dev), test=keep(fold.test))


def _check_finite(table: FeatureTable) -> None:
    for modality, part in table.modalities.items():
        finite = torch.isfinite(part.values).all(dim=1)
        if not bool(finite.all()):
            frame = int((~finite).int().argmax())
            row = int(torch.searchsorted(part.offsets, frame, right=True)) - 1
            raise FeatureError(
                f"{modality} features of {table.ids[row]!r} hold NaN or infinity; delete them from "
                "the store and encode again, or take the utterance out of the manifest"
            )


def _manifest_hash(manifest: Manifest) -> str:
    lines = [u.model_dump_json(exclude_none=True) for u in manifest]
    return sha256_text("\n".join(lines))


def _features_hash(table: FeatureTable) -> str:
    digest = hashlib.sha256(json.dumps(table.ids).encode())
    for modality, part in table.modalities.items():
        digest.update(modality.encode())
        digest.update(part.offsets.contiguous().numpy().data)
        digest.update(part.values.contiguous().numpy().data)
    return digest.hexdigest()
