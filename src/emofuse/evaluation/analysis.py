"""Everything that predictions tell beyond the scores, in one place and re-derivable from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from emofuse.evaluation.curves import Discrimination, discrimination_of
from emofuse.evaluation.fairness import ATTRIBUTES, Fairness, fairness_of
from emofuse.evaluation.honesty import Honesty, honesty_of
from emofuse.evaluation.power import Power, power_of
from emofuse.evaluation.vad_metrics import Dimensions, dimensions_of
from emofuse.evaluation.variance import Components, components_of

__all__ = ["Analysis", "analyse"]


@dataclass(frozen=True)
class Analysis:
    """What a run's predictions tell.

    Attributes:
        honesty: calibration, sets, silence.
        discrimination: each class against the rest.
        dimensions: valence, arousal, dominance; None where they are not predicted, or not known.
        fairness: one an attribute that predictions know.
        variance: where the spread of UA and of WA comes from; empty where speakers are unknown.
        power: what a comparison on these utterances could tell.
    """

    honesty: Honesty
    discrimination: Discrimination
    dimensions: Dimensions | None
    fairness: tuple[Fairness, ...]
    variance: tuple[Components, ...]
    power: Power

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold, as in ``metrics.json``."""
        return {
            "calibration": self.honesty.to_json(),
            "discrimination": self.discrimination.to_json(),
            "vad": None if self.dimensions is None else self.dimensions.to_json(),
            "fairness": {one.attribute: one.to_json() for one in self.fairness},
            "variance": {one.metric: one.to_json() for one in self.variance},
            "power": self.power.to_json(),
        }


def analyse(
    frame: pd.DataFrame,
    classes: Sequence[str],
    by: Sequence[str] = ATTRIBUTES,
    resamples: int = 2000,
    seed: int = 0,
) -> Analysis:
    """Analyse checked predictions (see `evaluation.predictions`).

    Args:
        frame: predictions.
        classes: class names in order.
        by: attributes to cut groups by.
        resamples: of each interval; of areas under curves half as many.
        seed: of all draws.

    Raises:
        OptionError: an unknown attribute.
    """
    split = (components_of(frame, classes, metric) for metric in ("ua", "wa"))
    return Analysis(
        honesty_of(frame, classes, resamples, seed),
        discrimination_of(frame, classes, max(1, resamples // 2), seed),
        dimensions_of(frame, resamples, seed),
        fairness_of(frame, classes, by, resamples, seed),
        tuple(one for one in split if one is not None),
        power_of(frame),
    )
