"""What a model gets wrong when it may keep silent: risk against coverage.

El-Yaniv and Wiener, *On the Foundations of Noise-free Selective Classification* (JMLR 2010); the
area under the curve as in Geifman, Uziel and El-Yaniv (ICLR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.errors import WorkError

__all__ = ["RiskCoverage", "risk_coverage"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The curve, from the surest answer alone to all answers.

    Attributes:
        coverage: ``(items,)`` share of items answered, rising to 1.
        risk: ``(items,)`` share of these answers that is wrong.
        confidence: ``(items,)`` the lowest confidence that is answered.
        area: average risk over the curve; 0 is best.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    confidence: NDArray[np.float64]
    area: float

    def at_risk(self, risk: float) -> tuple[float, float] | None:
        """Give the widest coverage at no more than this risk, and its confidence; None = none."""
        good = np.flatnonzero(self.risk <= risk)
        if not len(good):
            return None
        return float(self.coverage[good[-1]]), float(self.confidence[good[-1]])


def risk_coverage(probabilities: ArrayLike, labels: ArrayLike) -> RiskCoverage:
    """Answer the surest items first and count the mistakes.

    Items of equal confidence are answered together: the order they came in says nothing.

    Args:
        probabilities: ``(items, classes)``.
        labels: ``(items,)`` class numbers.

    Raises:
        WorkError: there are no items.
    """
    shares, wanted = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if not len(shares):
        raise WorkError("a risk-coverage curve needs items")
    confidence = shares.max(axis=1)
    wrong = (shares.argmax(axis=1) != wanted).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong = confidence[order], wrong[order]
    ends = np.append(np.flatnonzero(np.diff(confidence)), len(confidence) - 1)
    last = ends[np.searchsorted(ends, np.arange(len(confidence)))]
    risk = (np.cumsum(wrong) / np.arange(1, len(wrong) + 1))[last]
    coverage = (last + 1) / len(wrong)
    return RiskCoverage(coverage, risk, confidence, float(risk.mean()))
