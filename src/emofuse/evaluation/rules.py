"""From what a model says to what may be claimed: calibrated probability, set, silence.

Fitted on items that the model did not learn from (dev, or the held-out side of inner folds), never
on test; kept in the bundle and applied by whoever recognises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from emofuse.evaluation.abstention import risk_coverage
from emofuse.evaluation.calibration import Calibration, Kind, fit_calibration
from emofuse.evaluation.conformal import class_thresholds, conformal_sets, conformal_threshold
from emofuse.options import Options

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AnswerRules", "HeldOutItems", "ScoreOptions", "fit_rules"]

Floats = NDArray[np.float64]
Source = Literal["dev", "inner folds"]
FEW_SPEAKERS = 5
LEAST_SHARE = 1e-12  # a probability has a logarithm from here on


class ScoreOptions(Options):
    """What is fitted on dev after training.

    Attributes:
        scaling: ``temperature`` (one number), ``vector`` (a scale and a bias a class) or ``none``.
        least: dev utterances that a corpus needs for a scaling of its own.
        miss: share of utterances whose set of emotions may lack the right one.
        sets_by: whom the sets promise that to: an ``utterance`` like those of dev, or one of a new
            ``speaker``.
        sets_per_class: whether the promise holds for each emotion by itself.
        risk: share of wrong answers that is bearable; below the confidence where dev has more, the
            answer is marked as too unsure.
    """

    scaling: Kind = "temperature"
    least: int = Field(default=30, ge=1)
    miss: float = Field(default=0.1, gt=0.0, lt=1.0)
    sets_by: Literal["utterance", "speaker"] = "utterance"
    sets_per_class: bool = False
    risk: float = Field(default=0.2, gt=0.0, lt=1.0)


class AnswerRules(Options):
    """How logits become answers.

    Attributes:
        options: what was asked for.
        fitted_on: what the numbers were fitted on.
        items: how many utterances that were.
        speakers: of how many speakers; None where some are unknown.
        pooled: the scaling for speech of any corpus.
        corpora: corpus -> its own scaling.
        thresholds: class -> least calibrated probability that puts it into the set.
        answer_above: least calibrated confidence that is answered; above 1 where none kept the
            mistakes low enough.
        answered: share of the items it was fitted on that is answered.
        notes: what is not as it was asked.
    """

    options: ScoreOptions = ScoreOptions()
    fitted_on: Source
    items: int = Field(ge=1)
    speakers: int | None = None
    pooled: Calibration
    corpora: dict[str, Calibration] = Field(default_factory=dict)
    thresholds: dict[str, float]
    answer_above: float = Field(ge=0.0, allow_inf_nan=False)
    answered: float = Field(ge=0.0, le=1.0)
    notes: tuple[str, ...] = ()

    def probabilities(self, logits: ArrayLike, corpora: Sequence[str | None] = ()) -> Floats:
        """Calibrate ``(items, classes)`` logits, each by its corpus where that has a scaling.

        Args:
            logits: ``(items, classes)``, or logarithms of probabilities: the same comes out.
            corpora: one an item; none = all by the pooled scaling.
        """
        given = np.asarray(logits, np.float64)
        found = self.pooled.apply(given)
        for name, scaling in self.corpora.items():
            mine = np.array([one == name for one in corpora], bool)
            if mine.any():
                found[mine] = scaling.apply(given[mine])
        return found

    def sets(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Say which classes are in each set, ``(items, classes)``."""
        return conformal_sets(probabilities, list(self.thresholds.values()))

    def answers(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Say of each item whether it is sure enough to be answered, ``(items,)``."""
        return np.asarray(np.asarray(probabilities).max(axis=1) >= self.answer_above)


@dataclass(frozen=True, eq=False)
class HeldOutItems:
    """What a model said of items it did not learn from, and what they are.

    Attributes:
        logits: ``(items, classes)``.
        labels: ``(items,)`` class numbers.
        corpora: corpus of each, or None.
        speakers: speaker of each within its corpus, or None.
        source: where they come from.
    """

    logits: Floats
    labels: NDArray[np.int64]
    corpora: Sequence[str | None]
    speakers: Sequence[str | None]
    source: Source

    @classmethod
    def of_predictions(cls, table: pd.DataFrame, classes: Sequence[str]) -> HeldOutItems:
        """Take rows of ``predictions.parquet`` for what inner folds would have said.

        Corpora are left out of it: the rules shall hold for one that is not among them.

        Args:
            table: rows whose speakers the models that answered did not learn from.
            classes: class names in order.
        """
        shares = table[[f"p:{name}" for name in classes]].to_numpy(np.float64)
        return cls(
            np.log(np.maximum(shares, LEAST_SHARE)),
            np.array([classes.index(name) for name in table["gold"]], np.int64),
            [None] * len(table),
            [
                str(one) if known else None
                for one, known in zip(table["speaker"], table["speaker"].notna(), strict=True)
            ],
            "inner folds",
        )


def fit_rules(
    items: HeldOutItems, classes: Sequence[str], options: ScoreOptions | None = None
) -> AnswerRules:
    """Fit scaling, sets and the confidence to answer from.

    The same items serve all three, one after the other.

    Args:
        items: held out from the model.
        classes: class names in order.
        options: what to fit.

    Raises:
        WorkError: there are no items.
    """
    options = options or ScoreOptions()
    notes: list[str] = []
    corpora = _scaled_corpora(items, options, notes)
    keys = list(zip(items.corpora, items.speakers, strict=True))
    known = all(speaker is not None for speaker in items.speakers)
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    groups = [places[key] for key in keys]
    if known and len(places) < FEW_SPEAKERS:
        one = "1 speaker" if len(places) == 1 else f"{len(places)} speakers"
        notes.append(f"fitted on {one} alone: on new speakers it holds less than it promises")
    rules = AnswerRules(
        options=options,
        fitted_on=items.source,
        items=len(items.labels),
        speakers=len(places) if known else None,
        pooled=fit_calibration(items.logits, items.labels, options.scaling),
        corpora=corpora,
        thresholds=dict.fromkeys(classes, 0.0),
        answer_above=0.0,
        answered=1.0,
    )
    shares = rules.probabilities(items.logits, items.corpora)
    by_speaker = options.sets_by == "speaker"
    if by_speaker and not known:
        notes.append("speakers are not all known: the sets promise nothing of new speakers")
    thresholds = _thresholds(
        shares, items.labels, options, groups if by_speaker and known else None
    )
    if not thresholds.any():
        notes.append(f"too few held out for sets that miss {options.miss:g}: they hold every class")
    reached = risk_coverage(shares, items.labels).at_risk(options.risk)
    if reached is None:
        notes.append(f"no confidence keeps the mistakes on dev under {options.risk:g}")
    return rules.model_copy(
        update={
            "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
            "answer_above": 2.0 if reached is None else reached[1],
            "answered": 0.0 if reached is None else reached[0],
            "notes": tuple(notes),
        }
    )


def _scaled_corpora(
    items: HeldOutItems, options: ScoreOptions, notes: list[str]
) -> dict[str, Calibration]:
    """Fit the scaling of every corpus with enough held out; note those that have too little."""
    found: dict[str, Calibration] = {}
    if options.scaling == "none":
        return found
    for name in sorted({one for one in items.corpora if one is not None}):
        mine = np.array([one == name for one in items.corpora])
        if mine.sum() >= options.least:
            found[name] = fit_calibration(items.logits[mine], items.labels[mine], options.scaling)
        else:
            notes.append(
                f"{name} has {int(mine.sum())} utterances held out: scaled with all others"
            )
    return found


def _thresholds(
    shares: Floats, labels: NDArray[np.int64], options: ScoreOptions, groups: list[int] | None
) -> Floats:
    if options.sets_per_class:
        return class_thresholds(shares, labels, options.miss, groups)
    one = conformal_threshold(shares, labels, options.miss, groups)
    return np.full(shares.shape[1], one)
