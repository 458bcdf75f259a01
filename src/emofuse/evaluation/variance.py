"""Where the spread of a score comes from: other seeds, other folds, other speakers.

Each speaker is scored with each seed. The model is additive, speakers nested in folds::

    score[seed, fold, speaker] = mean + seed + fold + speaker(fold) + seed x fold + rest

``seed x fold`` is what another training of the same fold changes; ``rest`` holds speaker x seed and
the luck of the few utterances of a speaker. Variances are estimated by the method of moments
(analysis of variance with unequal numbers of speakers a fold; Searle, Casella and McCulloch,
*Variance Components*, 1992, chapters 3 and 5): each is unbiased, and may come out negative where
the true one is small; the share then counts it as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emofuse.evaluation.honesty import gold_places
from emofuse.evaluation.intervals import Floats, cluster_codes
from emofuse.evaluation.metrics import METRICS

__all__ = ["Components", "components_of", "variance_components"]

PARTS = ("seed", "fold", "speaker", "seed x fold", "rest")
SEVERAL = 2


@dataclass(frozen=True)
class Components:
    """Variance of a speaker's score by its source.

    Attributes:
        metric: of each speaker and seed.
        variance: source -> estimate; None where the run cannot tell (one seed, one fold, one
            speaker a fold).
        share: source -> its part of the total, negative estimates counted as 0; None likewise.
        seeds, folds, speakers: how many there are.
        notes: what cannot be told apart.
    """

    metric: str
    variance: Mapping[str, float | None]
    share: Mapping[str, float | None]
    seeds: int
    folds: int
    speakers: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return asdict(self)


def variance_components(scores: Floats, folds: NDArray[np.int64]) -> dict[str, float | None]:
    """Estimate the variance of each source.

    Args:
        scores: ``(seeds, speakers)``.
        folds: ``(speakers,)`` number of the fold that tests each, from 0.

    Returns:
        source -> variance, None where it cannot be told. With one speaker in every fold, ``fold``
        holds fold and speaker together, and ``seed x fold`` the rest as well.
    """
    seeds, speakers = scores.shape
    sizes = np.bincount(folds).astype(np.float64)
    many, spare = len(sizes), speakers - len(sizes)
    fold_means = np.stack([np.bincount(folds, row) / sizes for row in scores])
    mean_of_speaker, mean_of_fold = scores.mean(axis=0), fold_means.mean(axis=0)
    size_0 = float(speakers - (sizes**2).sum() / speakers)  # (folds - 1) times the usual n0
    found: dict[str, float | None] = dict.fromkeys(PARTS)
    rest, crossed = 0.0, 0.0
    if seeds >= SEVERAL:
        turned = fold_means - mean_of_fold  # (seeds, folds)
        single = scores - mean_of_speaker - turned[:, folds]
        if spare:
            rest = float((single**2).sum() / ((seeds - 1) * spare))
            found["rest"] = rest
        whole = (turned * sizes).sum(axis=1) / speakers  # (seeds,)
        if many >= SEVERAL:
            spread = (sizes * (turned - whole[:, None]) ** 2).sum() / (seeds - 1)
            crossed = float((spread - (many - 1) * rest) / size_0)
            found["seed x fold"] = crossed
        of_seeds = speakers * float((whole**2).sum()) / (seeds - 1)
        per_seed = rest + float((sizes**2).sum() / speakers) * crossed
        found["seed"] = (of_seeds - per_seed) / speakers
    if spare:
        inner = float(((mean_of_speaker - mean_of_fold[folds]) ** 2).sum() / spare)
        found["speaker"] = inner - rest / seeds
    else:
        inner = rest / seeds
    if many >= SEVERAL:
        middle = float((sizes * mean_of_fold).sum() / speakers)
        outer = float((sizes * (mean_of_fold - middle) ** 2).sum())
        found["fold"] = (outer - (many - 1) * inner) / size_0 - crossed / seeds
    return found


def components_of(
    frame: pd.DataFrame, classes: Sequence[str], metric: str = "ua"
) -> Components | None:
    """Split the spread of a run's scores; None where speakers are unknown or there is only one.

    Args:
        frame: checked predictions (see `evaluation.predictions`).
        classes: class names in order.
        metric: name of the metric, taken speaker by speaker over the classes that each has.
    """
    unit, codes = cluster_codes(frame)
    if unit != "speaker":
        return None
    cells = pd.factorize(
        pd.MultiIndex.from_arrays([codes, pd.factorize(frame["fold"])[0]]), sort=True
    )
    seeds, _ = pd.factorize(frame["seed"], sort=True)
    width = len(classes)
    matrices = np.zeros((int(seeds.max()) + 1, len(cells[1]), width, width))
    gold = gold_places(frame, classes)
    names = {name: place for place, name in enumerate(classes)}
    predicted = np.asarray(frame["predicted"].map(names), np.int64)
    np.add.at(matrices, (seeds, cells[0], gold, predicted), 1.0)
    whole = matrices.sum(axis=(-2, -1)).all(axis=0)  # scored with every seed
    if whole.sum() < SEVERAL:
        return None
    scores = METRICS[metric](matrices[:, whole])
    pairs = np.array(list(cells[1]), np.int64)[whole]
    folds = np.unique(pairs[:, 1], return_inverse=True)[1].astype(np.int64)
    found = variance_components(scores, folds)
    total = sum(max(value, 0.0) for value in found.values() if value is not None)
    counts = (len(scores), int(folds.max()) + 1, len(set(pairs[:, 0].tolist())))
    return Components(
        metric,
        found,
        {
            name: None if value is None or not total else max(value, 0.0) / total
            for name, value in found.items()
        },
        *counts,
        _notes(counts, len(pairs)),
    )


def _notes(counts: tuple[int, int, int], cells: int) -> tuple[str, ...]:
    seeds, folds, speakers = counts
    notes = []
    if seeds < SEVERAL:
        notes.append("one seed: what another training would change cannot be told; train 3 or more")
    if folds < SEVERAL:
        notes.append("one fold: folds cannot be told from everything else")
    if cells == folds:
        notes.append("one speaker a fold: 'fold' is fold and speaker together")
    if cells > speakers:
        notes.append("speakers are in several folds: each counts once a fold")
    return tuple(notes)
