"""How far the probabilities of a run can be trusted, from its predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from emofuse.evaluation.abstention import RiskCoverage, risk_coverage
from emofuse.evaluation.calibration import (
    ReliabilityBin,
    brier_score,
    calibration_error,
    negative_log_likelihood,
    reliability,
)
from emofuse.evaluation.predictions import PROBABILITY

__all__ = ["Confidence", "confidence_of"]

RISKS = (0.05, 0.1, 0.2)


@dataclass(frozen=True, eq=False)
class Confidence:
    """Figures over all predictions of a run at once.

    Attributes:
        calibration_error: expected calibration error, 15 bins, in [0, 1].
        brier: Brier score, in [0, 2].
        likelihood: negative log-likelihood in nats.
        bins: the reliability diagram.
        curve: risk against coverage.
        answered: risk -> share of utterances that can be answered, surest first, at no more.
    """

    calibration_error: float
    brier: float
    likelihood: float
    bins: tuple[ReliabilityBin, ...]
    curve: RiskCoverage
    answered: Mapping[float, float]

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {
            "calibration_error": self.calibration_error,
            "brier": self.brier,
            "negative_log_likelihood": self.likelihood,
            "reliability": [asdict(one) for one in self.bins],
            "risk_coverage_area": self.curve.area,
            "answered_at_risk": {str(risk): share for risk, share in self.answered.items()},
        }


def confidence_of(frame: pd.DataFrame, classes: Sequence[str]) -> Confidence:
    """Judge the probabilities of checked predictions (see `evaluation.predictions`)."""
    shares = frame[[PROBABILITY + name for name in classes]].to_numpy(np.float64)
    places = {name: place for place, name in enumerate(classes)}
    labels = frame["gold"].map(places).to_numpy(np.int64)
    curve = risk_coverage(shares, labels)
    reached = {risk: curve.at_risk(risk) for risk in RISKS}
    return Confidence(
        calibration_error(shares, labels),
        brier_score(shares, labels),
        negative_log_likelihood(shares, labels),
        reliability(shares, labels),
        curve,
        {risk: 0.0 if found is None else found[0] for risk, found in reached.items()},
    )
