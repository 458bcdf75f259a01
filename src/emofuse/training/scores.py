"""Calibration, sets and silence of each training, fitted on what it held out, never on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.evaluation.predictions import CALIBRATED, SILENCE, THRESHOLD
from emofuse.evaluation.rules import AnswerRules, HeldOutItems, ScoreOptions, fit_rules
from emofuse.training.jobs import JobResult

__all__ = ["Who", "calibrated_columns", "fit_scores", "rules_note"]

Who = Mapping[str, tuple[str | None, str | None]]
"""Utterance id -> its corpus and speaker: all that calibration may know beside dev labels."""
NOTHING = "nothing was held out: probabilities are as the model gave them, no set, no silence"


def fit_scores(
    results: Sequence[JobResult],
    ids: Sequence[str],
    who: Who,
    classes: Sequence[str],
    options: ScoreOptions,
) -> list[AnswerRules | None]:
    """Fit the rules of each job; None where a job held nothing out.

    Args:
        results: of the jobs.
        ids: utterance of each row of the feature table.
        who: corpus and speaker of utterances.
        classes: class names in order.
        options: what to fit.
    """
    found: list[AnswerRules | None] = []
    for result in results:
        held = result.held_out
        if held is None or not len(held["labels"]):
            found.append(None)
            continue
        names = [ids[row] for row in held["rows"].tolist()]
        items = HeldOutItems(
            held["logits"].double().numpy(),
            held["labels"].numpy(),
            [who[name][0] for name in names],
            [who[name][1] for name in names],
            "dev" if result.note.get("held_out") == "dev" else "inner folds",
        )
        found.append(fit_rules(items, classes, options))
    return found


def calibrated_columns(
    rules: AnswerRules | None,
    logits: NDArray[np.float64],
    corpora: Sequence[str | None],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Give the columns of ``predictions.parquet`` that a job's rules make of its test logits."""
    size = len(logits)
    if rules is None:
        gaps = np.full(size, np.nan)
        names = [*(CALIBRATED + n for n in classes), *(THRESHOLD + n for n in classes), SILENCE]
        return dict.fromkeys(names, gaps)
    shares = rules.probabilities(logits, corpora)
    return {
        **{CALIBRATED + name: shares[:, place] for place, name in enumerate(classes)},
        **{THRESHOLD + name: np.full(size, least) for name, least in rules.thresholds.items()},
        SILENCE: np.full(size, rules.answer_above),
    }


def rules_note(
    names: Sequence[tuple[str, int]], rules: Sequence[AnswerRules | None]
) -> list[dict[str, Any]]:
    """Give what goes into ``calibration.json``: the rules of each fold and seed."""
    return [
        {
            "fold": fold,
            "seed": seed,
            "rules": None if one is None else one.model_dump(mode="json"),
            **({"note": NOTHING} if one is None else {}),
        }
        for (fold, seed), one in zip(names, rules, strict=True)
    ]
