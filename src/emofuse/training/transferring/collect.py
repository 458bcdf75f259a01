"""From finished cells to predictions, table and heat map: the one place where test is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from emofuse.evaluation.predictions import PROBABILITY, WEIGHT, write_predictions
from emofuse.evaluation.transfer_table import (
    Matrix,
    Setting,
    gain_table,
    make_matrix,
    matrix_markdown,
    matrix_table,
)
from emofuse.manifest import Utterance
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.protocols.audit import Audit
from emofuse.protocols.contract import Fold
from emofuse.storage import read_json, write_bytes, write_json, write_text
from emofuse.training.transferring.cells import Cell
from emofuse.training.transferring.data import PairFold, TransferSetup
from emofuse.training.transferring.recipe import TransferRecipe
from emofuse.training.transferring.run import CellResult
from emofuse.training.transferring.shots import Shots

__all__ = ["TABLE", "collect"]

TABLE = "transfer.json"
Tested = Mapping[tuple[str, str], Sequence[Utterance]]
"""Target and name of its fold -> test utterances, labelled."""


@dataclass(frozen=True)
class _Trained:
    """A fold of a target, and whether every cell is finished."""

    fold: Fold
    finished: bool


def collect(
    recipe: TransferRecipe,
    setup: TransferSetup,
    cells: Sequence[Cell],
    folder: Path,
    progress: Progress = silent,
) -> Matrix:
    """Join what the cells say with the test labels, and write everything that is to be read.

    ``settings/<setting>/`` holds predictions, folds and audit of each setting in the layout of a
    run, so that `emofuse report` and `compare` take it.

    Args:
        recipe: of the matrix.
        setup: with the sealed labels.
        cells: every cell, finished.
        folder: of the matrix.
        progress: told of every setting (stage ``score``).

    Raises:
        TrainingError: a cell is not finished.
    """
    tested = _open(setup, cells, folder)
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if not cell.is_source:
            groups.setdefault(cell.setting, []).append(cell)
    settings = []
    for place, (name, several) in enumerate(groups.items()):
        results = {cell: CellResult.read(cell.folder(folder)) for cell in several}
        where = folder / "settings" / name
        settings.append(_setting(recipe, setup, results, tested, where))
        progress(ProgressEvent("score", place + 1, len(groups), "settings"))
    matrix = make_matrix(
        recipe.name,
        setup.data.scheme.classes,
        settings,
        _words(recipe, setup),
        _notes(setup),
        order=(recipe.sources, recipe.judged, [one["label"] for one in recipe.methods]),
    )
    _write(matrix, folder)
    return matrix


def _open(setup: TransferSetup, cells: Sequence[Cell], folder: Path) -> Tested:
    finished = all(cell.finished(folder) for cell in cells)
    pairs = [pair for pair in setup.folds if not pair.source]
    jobs = [_Trained(pair.fold, finished) for pair in pairs]
    opened = setup.test.open(folder, jobs, f"transfer: scores of {len(cells)} cells")
    names = [one.name for folds in setup.data.targets.values() for one in folds]
    return {
        (pair.target, name): utterances
        for pair, name, utterances in zip(pairs, names, opened, strict=True)
    }


def _setting(
    recipe: TransferRecipe,
    setup: TransferSetup,
    results: Mapping[Cell, CellResult],
    tested: Tested,
    place: Path,
) -> Setting:
    one = next(iter(results))
    frame = pd.concat(
        [_frame(setup, cell, result, tested) for cell, result in results.items()],
        ignore_index=True,
    )
    write_predictions(place / "predictions.parquet", frame, setup.data.scheme.classes)
    pairs = [p for p in setup.folds if (p.source, p.target) == (one.source, one.target)]
    own = _own_audit(setup, pairs)
    write_json(place / "audit.json", own.model_dump(mode="json"))
    write_json(place / "folds.json", _folds(setup, pairs))
    write_text(place / "recipe.yaml", _named(recipe, place.name).to_yaml())
    folds = [fold for result in results.values() for fold in result.note["folds"]]
    contaminated = setup.contaminated[one.target]
    notes = (
        *dict.fromkeys(str(note) for fold in folds for note in fold.get("notes", ())),
        *_choices(folds),
        *(f"contaminated: {line}" for line in contaminated),
    )
    told = {"protocol": own.protocol, "stamp": own.stamp, "notes": list(notes)}
    write_json(place / "metrics.json", told | {"speaker_independent": own.speaker_independent})
    write_json(place / "environment.json", read_json(place.parent.parent / "environment.json"))
    words = {"yes": "speaker-independent", "no": "SPEAKER-DEPENDENT"}
    stamp = words.get(own.speaker_independent, "SPEAKERS UNKNOWN")
    return Setting(
        one.source,
        one.target,
        one.method,
        recipe.method(one.method)["name"],
        one.shots,
        Shots.parse(one.shots).words,
        sum(fold["shots"] for fold in folds) / len(folds),
        frame,
        stamp + (", CONTAMINATED" if contaminated else ""),
        notes,
        f"settings/{place.name}",
    )


def _named(recipe: TransferRecipe, setting: str) -> TransferRecipe:
    return recipe.model_copy(update={"name": f"{recipe.name}: {setting}"[:200]})


def _choices(folds: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Say what the epoch was chosen by, where folds differ or nothing was held out."""
    found = sorted({str(fold["chosen_by"]) for fold in folds})
    return (f"epoch chosen by {' or '.join(found)}",)


def _frame(setup: TransferSetup, cell: Cell, result: CellResult, tested: Tested) -> pd.DataFrame:
    classes = setup.data.scheme.classes
    frames = []
    for fold, logits, weights in zip(
        setup.data.targets[cell.target], result.logits, result.weights, strict=True
    ):
        utterances = tested[cell.target, fold.name]
        shares = torch.softmax(logits.double(), dim=1)
        columns: dict[str, Any] = {
            "id": [u.id for u in utterances],
            "corpus": [u.corpus for u in utterances],
            "fold": fold.name,
            "seed": cell.seed,
            "speaker": [u.speaker for u in utterances],
            "session": [u.session for u in utterances],
            "dialogue": [u.dialogue for u in utterances],
            "gender": [u.gender for u in utterances],
            "gold": [u.emotion for u in utterances],
            "predicted": [classes[place] for place in shares.argmax(dim=1).tolist()],
        }
        columns |= {f"{PROBABILITY}{n}": shares[:, i].numpy() for i, n in enumerate(classes)}
        columns |= {f"{WEIGHT}{name}": part.numpy() for name, part in weights.items()}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def _own_audit(setup: TransferSetup, pairs: Sequence[PairFold]) -> Audit:
    """Give the audit of one source and target."""
    names = {pair.fold.name for pair in pairs}
    folds = tuple(fold for fold in setup.audit.folds if fold.name in names)
    answers = {fold.speaker_independent for fold in folds}
    independent = next((one for one in ("no", "unknown") if one in answers), "yes")
    shared = sum(fold.test["speaker"].utterances for fold in folds)
    copies = sum(fold.test["near audio"].utterances for fold in folds)
    parts = [setup.audit.protocol, f"speaker-independent: {independent}"]
    if shared:
        parts.append(f"SPEAKER-DEPENDENT ({shared:,} test utterances of speakers in train)")
    if copies:
        parts.append(f"{copies:,} test utterances are copies of training audio")
    lines = setup.contaminated[pairs[0].target]
    parts += [f"CONTAMINATED: {line}" for line in lines]
    warnings = (*setup.audit.warnings, *(f"CONTAMINATED: {line}" for line in lines))
    return setup.audit.model_copy(
        update={
            "folds": folds,
            "speaker_independent": independent,
            "stamp": " · ".join(parts),
            "warnings": warnings,
        }
    )


def _folds(setup: TransferSetup, pairs: Sequence[PairFold]) -> dict[str, Any]:
    names = [one.name for one in setup.data.targets[pairs[0].target]]
    return {
        "folds": [
            {
                "name": name,
                "dev_by": pair.fold.dev_by,
                "train": list(pair.fold.train),
                "dev": list(pair.fold.dev),
                "test": list(pair.fold.test),
            }
            for pair, name in zip(pairs, names, strict=True)
        ]
    }


def _words(recipe: TransferRecipe, setup: TransferSetup) -> dict[str, str]:
    statistics = {
        "source": "the model's own statistics come from source train",
        "corpus": "each corpus by its own train items, labels unseen: a use of target data",
    }
    chosen = {
        "target": f"{recipe.shots_dev:.0%} of the shots where there are any, else source dev",
        "source": "source dev",
    }
    return {
        "protocol": f"{setup.audit.stamp}; a source is used whole",
        "model": str(recipe.model["name"]),
        "classes": ", ".join(setup.data.scheme.classes),
        "standardisation": f"{recipe.standardise} ({statistics[recipe.standardise]})",
        "epoch chosen by": chosen[recipe.choose],
        "seeds": ", ".join(map(str, recipe.seeds)),
    }


def _notes(setup: TransferSetup) -> tuple[str, ...]:
    lines = [line for several in setup.contaminated.values() for line in several]
    return tuple(dict.fromkeys([*setup.audit.warnings, *(f"CONTAMINATED: {x}" for x in lines)]))


def _write(matrix: Matrix, folder: Path) -> None:
    from emofuse.evaluation.heatmap import heatmap_png, heatmap_svg

    write_text(folder / "transfer.md", matrix_markdown(matrix))
    latex = [matrix_table(matrix).to_latex(), gain_table(matrix).to_latex()]
    write_text(folder / "transfer.tex", "\n\n".join(latex) + "\n")
    write_bytes(folder / "heatmap.png", heatmap_png(matrix))
    write_bytes(folder / "heatmap.svg", heatmap_svg(matrix))
    write_json(folder / TABLE, matrix.to_json())
