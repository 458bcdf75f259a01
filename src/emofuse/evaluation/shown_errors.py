"""The mistakes that a page shows: those a model was surest of, and those it was least sure of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emofuse.evaluation.predictions import PROBABILITY, WEIGHT, modalities_of

__all__ = ["ShownError", "choose_errors"]

MOST = 4


@dataclass(frozen=True)
class ShownError:
    """One mistake.

    Attributes:
        kind: ``surest`` or ``least sure``.
        id, fold, seed, gold, predicted: as in the predictions.
        speaker: where known.
        confidence: probability of the predicted class.
        right: probability of the right class.
        probabilities: class -> probability, the highest first.
        weights: modality -> share of the decision.
    """

    kind: str
    id: str
    fold: str
    seed: int
    gold: str
    predicted: str
    speaker: str | None
    confidence: float
    right: float
    probabilities: tuple[tuple[str, float], ...]
    weights: tuple[tuple[str, float], ...]


def choose_errors(
    frame: pd.DataFrame, classes: Sequence[str], most: int = MOST
) -> tuple[ShownError, ...]:
    """Choose mistakes by the probability of the class that was given, one an utterance.

    Equal probabilities go by id, fold and seed, so that the choice is always the same.

    Args:
        frame: checked predictions (see `evaluation.predictions`).
        classes: class names in order.
        most: how many of each kind.
    """
    wrong = frame[frame["gold"] != frame["predicted"]]
    if not len(wrong):
        return ()
    shares = wrong[[PROBABILITY + name for name in classes]].to_numpy(np.float64)
    wrong = wrong.assign(sure=shares.max(axis=1))
    keys = ["id", "fold", "seed"]
    falling = wrong.sort_values(["sure", *keys], ascending=[False, True, True, True])
    surest = falling.drop_duplicates("id").head(most)
    rest = wrong[~wrong["id"].isin(surest["id"])].sort_values(["sure", *keys])
    least = rest.drop_duplicates("id").head(most)
    return tuple(
        _shown(kind, row, classes)
        for kind, part in (("surest", surest), ("least sure", least))
        for _, row in part.iterrows()
    )


def _shown(kind: str, row: pd.Series, classes: Sequence[str]) -> ShownError:
    shares = {name: float(row[PROBABILITY + name]) for name in classes}
    order = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    names = modalities_of(row.to_frame().T)
    speaker = row["speaker"]
    return ShownError(
        kind=kind,
        id=str(row["id"]),
        fold=str(row["fold"]),
        seed=int(row["seed"]),
        gold=str(row["gold"]),
        predicted=str(row["predicted"]),
        speaker=None if pd.isna(speaker) else str(speaker),
        confidence=float(row["sure"]),
        right=shares[str(row["gold"])],
        probabilities=tuple(order),
        weights=tuple((name, float(row[WEIGHT + name])) for name in names),
    )
