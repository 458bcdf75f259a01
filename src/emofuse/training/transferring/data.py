"""What a transfer matrix rests on: sources, target folds, features; test labels apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from emofuse.errors import OptionError, ProtocolError, nearest_hint
from emofuse.features.table import FeatureTable, Ragged
from emofuse.labels import LabelScheme
from emofuse.layers import Standardise
from emofuse.manifest import Manifest, Utterance
from emofuse.progress import Progress, silent
from emofuse.protocols.audit import Audit, audit
from emofuse.protocols.build import make_folds
from emofuse.protocols.contract import Fold, Protocol, ProtocolOptions
from emofuse.protocols.dev import cut_dev
from emofuse.training.adaptation.adapted import check_adapted
from emofuse.training.data import gather, load_manifest
from emofuse.training.parts import Part, group_numbers, make_targets
from emofuse.training.sealed import SealedTest
from emofuse.training.transferring.recipe import JOIN, TransferRecipe

__all__ = ["PairFold", "TargetFold", "TransferData", "TransferSetup", "set_up", "standardised"]

UNUSED = "in no part of"


@dataclass(frozen=True)
class TargetFold:
    """One cut of a target.

    Attributes:
        name: of the fold.
        pool: ids of target train: shots come from here, and items without their labels.
        test: ids to be judged on.
    """

    name: str
    pool: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class PairFold:
    """A fold of a target as a source sees it, for the audit.

    Attributes:
        source: name; empty for the target alone.
        target: name.
        fold: train = source train and target train, dev = source dev.
    """

    source: str
    target: str
    fold: Fold


@dataclass(frozen=True)
class TransferData:
    """All that a cell may know; no label of a test item of its fold has a way in.

    Attributes:
        table: features, one row an utterance.
        scheme: the common label scheme.
        known: utterances that some cell may learn from, labelled.
        sources: source -> its train and dev ids.
        targets: target -> its folds.
        group_by: what dev is cut by.
    """

    table: FeatureTable
    scheme: LabelScheme
    known: Mapping[str, Utterance]
    sources: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    targets: Mapping[str, tuple[TargetFold, ...]]
    group_by: str = "auto"

    def part(self, ids: Sequence[str]) -> Part:
        """Give items to learn from or to choose by, with labels by name."""
        items = [self.known[name] for name in ids]
        return Part(
            self.table.rows(ids),
            make_targets(items, self.scheme),
            group_numbers(items, self.group_by),
        )

    def pool(self, target: str, number: int) -> list[Utterance]:
        """Give target train of a fold."""
        return [self.known[name] for name in self.targets[target][number].pool]


@dataclass(frozen=True)
class TransferSetup:
    """What `set_up` gives.

    Attributes:
        data: for the cells.
        test: the sealed labels.
        audit: of every pair's folds.
        folds: of every pair.
        note: counts and hashes, as written to ``data.json``.
        contaminated: target -> encoders that saw it with labels, one line each.
    """

    data: TransferData
    test: SealedTest
    audit: Audit
    folds: tuple[PairFold, ...]
    note: dict[str, Any]
    contaminated: Mapping[str, tuple[str, ...]]


def set_up(recipe: TransferRecipe, progress: Progress = silent) -> TransferSetup:
    """Read the manifests, cut sources and targets, audit every pair, gather the features.

    Raises:
        OptionError: a source or target that is in no manifest.
        ProtocolError: a target cannot be cut, or a fold leaks.
        EmofuseError: what reading manifests and encoding can raise.
    """
    manifest = load_manifest(recipe).filter(lambda u: u.emotion is not None)
    _check_names(recipe, manifest)
    cuts = {source: _cut_source(recipe, manifest, source) for source in recipe.sources}
    protocol, targets = _cut_targets(recipe, manifest)
    pairs = _pairs(recipe, cuts, targets)
    folds = [pair.fold for pair in pairs]
    used = {name for fold in folds for name in (*fold.train, *fold.dev, *fold.test)}
    manifest = manifest.filter(lambda u: u.id in used)
    found = audit(manifest, protocol, folds, progress=progress)
    found = check_adapted(recipe, manifest, folds, found)
    told = tuple(line for line in found.warnings if UNUSED not in line)
    found = found.model_copy(update={"warnings": told})
    found.enforce()
    run = gather(recipe, manifest, folds, progress)
    kept = tuple(replace(pair, fold=fold) for pair, fold in zip(pairs, run.folds, strict=True))
    learnt = {name for pair in kept for name in (*pair.fold.train, *pair.fold.dev)}
    there = set(run.table.ids) - set(run.note["without_features"])
    data = TransferData(
        run.table,
        run.scheme,
        {u.id: u for u in run.manifest if u.id in learnt},
        {s: tuple(_kept(ids, there) for ids in cut) for s, cut in cuts.items()},  # type: ignore[misc]
        {
            target: tuple(
                TargetFold(one.name, _kept(one.pool, there), _kept(one.test, there))
                for one in several
            )
            for target, several in targets.items()
        },
        run.dev_by,
    )
    tested = SealedTest(run.manifest)
    return TransferSetup(data, tested, found, kept, run.note, _contaminated(data.table, targets))


def _kept(ids: Sequence[str], there: set[str]) -> tuple[str, ...]:
    return tuple(name for name in ids if name in there)


def _check_names(recipe: TransferRecipe, manifest: Manifest) -> None:
    known = sorted({u.corpus for u in manifest if u.corpus})
    given = {part: "sources" for source in recipe.sources for part in source.split(JOIN)}
    given |= {name: "targets" for name in recipe.judged if name not in given}
    for name, key in given.items():
        if name not in known:
            hint = nearest_hint(name, known)
            raise OptionError(f"{key}: data.manifest has no utterance of corpus {name!r}; {hint}")


def _cut_source(
    recipe: TransferRecipe, manifest: Manifest, source: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    corpora = source.split(JOIN)
    options = ProtocolOptions(
        name="source", dev=recipe.source_dev, dev_by=recipe.protocol.get("dev_by", "auto")
    )
    cut = cut_dev((u for u in manifest if u.corpus in corpora), options)
    return cut.train, cut.dev


def _cut_targets(
    recipe: TransferRecipe, manifest: Manifest
) -> tuple[Protocol, dict[str, tuple[TargetFold, ...]]]:
    found: dict[str, tuple[TargetFold, ...]] = {}
    protocol: Protocol | None = None
    for target in recipe.judged:
        own = manifest.filter(lambda u, name=target: u.corpus == name)  # type: ignore[misc]
        try:
            protocol, folds = make_folds(own, {**recipe.protocol, "dev": 0.0})
        except ProtocolError as error:
            raise ProtocolError(f"target {target}: {error}") from error
        found[target] = tuple(
            TargetFold(one.name, tuple(sorted((*one.train, *one.dev))), one.test) for one in folds
        )
    if protocol is None:
        raise OptionError("targets: there is none")
    return protocol, found


def _pairs(
    recipe: TransferRecipe,
    cuts: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    targets: Mapping[str, tuple[TargetFold, ...]],
) -> list[PairFold]:
    """Every fold of every target, for each source that does not contain it and for none."""
    found = []
    for target, folds in targets.items():
        for one in folds:
            alone = Fold(f"{target} alone: {one.name}", one.pool, (), one.test)
            found.append(PairFold("", target, alone))
            for source in recipe.sources:
                if target in source.split(JOIN):
                    continue
                train, dev = cuts[source]
                name = f"{source} to {target}: {one.name}"
                by = "given" if dev else ""
                joint = Fold(name, (*train, *one.pool), dev, one.test, by)
                found.append(PairFold(source, target, joint))
    return found


def _contaminated(
    table: FeatureTable, targets: Mapping[str, Sequence[TargetFold]]
) -> dict[str, tuple[str, ...]]:
    """Encoders that saw a target with labels; one adapted here counts by utterances instead."""
    found: dict[str, tuple[str, ...]] = {}
    for target in targets:
        lines = []
        for modality, encoder in table.encoders.items():
            provenance = encoder.get("provenance")
            told = provenance if isinstance(provenance, Mapping) else {}
            labelled = {str(name).lower() for name in told.get("labelled_on") or ()}
            adapted = {str(name).lower() for name in told.get("adapted_on") or ()}
            if target.lower() in labelled - adapted:
                lines.append(f"the {modality} encoder saw {target} with labels")
        found[target] = tuple(lines)
    return found


def standardised(table: FeatureTable, groups: Sequence[tuple[Tensor, Tensor]]) -> FeatureTable:
    """Give a table in which groups of rows have zero mean and unit variance.

    Args:
        table: features.
        groups: rows to change, and the rows among them whose frames give mean and variance.
    """
    found: dict[str, Ragged] = {}
    for name, part in table.modalities.items():
        values = part.values.clone()
        for rows, fit in groups:
            layer = Standardise(part.dim).to(values.device)
            frames = part.values[_frames(part, fit)]
            layer.fit(frames[None], torch.ones(1, len(frames), dtype=torch.bool))
            places = _frames(part, rows)
            values[places] = layer(part.values[places])
        found[name] = Ragged(values, part.offsets)
    return FeatureTable(table.ids, found, table.encoders, table.quarantined)


def _frames(part: Ragged, rows: Tensor) -> Tensor:
    """Numbers of all frames of some rows."""
    wanted = torch.zeros(len(part.offsets) - 1, dtype=torch.bool, device=part.offsets.device)
    wanted[rows.to(wanted.device)] = True
    return torch.repeat_interleave(wanted, part.lengths)
