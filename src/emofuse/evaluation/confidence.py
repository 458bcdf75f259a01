"""How far the probabilities of a run can be trusted, from its predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emofuse.evaluation.abstention import RiskCoverage, risk_coverage
from emofuse.evaluation.calibration import (
    ReliabilityBin,
    brier_score,
    calibration_error,
    negative_log_likelihood,
    reliability,
)
from emofuse.evaluation.plots import figure_png
from emofuse.evaluation.predictions import PROBABILITY

__all__ = ["Confidence", "confidence_of", "confidence_png"]

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


def confidence_png(found: Confidence) -> bytes:
    """Draw the reliability diagram at left and risk against coverage at right, as PNG bytes."""
    figure = Figure(figsize=(8.6, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = [one for one in found.bins if one.items]
    most = max(one.items for one in bins)
    for one in bins:
        shade = 0.25 + 0.75 * one.items / most
        width = one.high - one.low
        left.bar(one.low, one.accuracy or 0.0, width, align="edge", color="#1f5fa8", alpha=shade)
    left.plot([0, 1], [0, 1], color="#6b6b6b", linewidth=1, linestyle="--")
    left.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    left.set_title("reliability (darker: more answers)", fontsize=10, loc="left")
    right.plot(found.curve.coverage, found.curve.risk, color="#c4511d", linewidth=1.6)
    right.set(xlabel="share answered, surest first", ylabel="share of them wrong", xlim=(0, 1))
    right.set_ylim(bottom=0.0)
    right.set_title("risk and coverage", fontsize=10, loc="left")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure_png(figure)
