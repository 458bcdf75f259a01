"""Integrated gradients (Sundararajan et al. 2017), through Captum, with the gap they leave.

The attribution of a value is ``(x - b)`` times the mean gradient on the straight line from the
baseline ``b`` to the input ``x``. All attributions together equal ``F(x) - F(b)``, up to the error
of the numerical integral. That error, the completeness gap, is measured and printed: with a gap of
half the difference the map explains half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emofuse.errors import MissingExtraError
from emofuse.explain.options import ExplainOptions

__all__ = ["Attributed", "integrate"]

FRAMES_AT_ONCE = 20_000
SMALL = 1e-9


@dataclass(frozen=True, eq=False)
class Attributed:
    """Attributions, and how far they can be believed.

    Attributes:
        values: one tensor an input, of its shape without the batch.
        score, baseline_score: ``F(x)`` and ``F(b)``.
        steps: of the integral, at the end.
        tolerance: the gap asked for.
    """

    values: tuple[Tensor, ...]
    score: float
    baseline_score: float
    steps: int
    tolerance: float

    @property
    def total(self) -> float:
        """Sum of all attributions."""
        return float(sum(one.double().sum() for one in self.values))

    @property
    def difference(self) -> float:
        """What they should sum to."""
        return self.score - self.baseline_score

    @property
    def gap(self) -> float:
        """``|sum - (F(x) - F(b))|``."""
        return abs(self.total - self.difference)

    @property
    def relative(self) -> float:
        """The gap as a share of the difference."""
        return self.gap / max(abs(self.difference), SMALL)

    @property
    def closed(self) -> bool:
        """Whether the gap is within the tolerance."""
        return self.relative <= self.tolerance

    def words(self) -> str:
        """Say how the integral went, in one line."""
        line = (
            f"completeness: attributions sum to {self.total:.4g}, score less baseline score is "
            f"{self.difference:.4g} ({self.score:.4g} - {self.baseline_score:.4g}): gap "
            f"{self.gap:.2g} = {100 * self.relative:.2g} % after {self.steps} steps"
        )
        return line if self.closed else f"{line}, NOT within {100 * self.tolerance:g} %"

    def numbers(self) -> dict[str, float | int | bool]:
        """Give the figures of it for JSON."""
        return {
            "score": self.score,
            "baseline_score": self.baseline_score,
            "sum": self.total,
            "gap": self.gap,
            "gap_share": self.relative,
            "steps": self.steps,
            "closed": self.closed,
        }


def integrate(
    score: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    baselines: Sequence[Tensor],
    options: ExplainOptions | None = None,
    *,
    alone: bool = False,
) -> Attributed:
    """Attribute a score to its inputs; steps are doubled until the gap is closed.

    Args:
        score: takes ``(n, ...)`` of each input and gives ``(n,)``.
        inputs: one item each, ``(1, ...)``.
        baselines: of the same shapes.
        options: steps, where doubling ends, tolerance.
        alone: whether each step must be computed by itself (a model that reads its batch).

    Raises:
        MissingExtraError: Captum is not installed.
    """
    method = _captum(score)
    options = options or ExplainOptions()
    given, start = tuple(one.detach() for one in inputs), tuple(one.detach() for one in baselines)
    with torch.no_grad():
        whole, nothing = float(score(*given)[0]), float(score(*start)[0])
    frames = sum(one[0].numel() // max(one.shape[-1], 1) for one in given)
    chunk = 1 if alone else max(1, min(64, FRAMES_AT_ONCE // max(frames, 1)))
    steps = min(options.steps, options.most_steps)
    while True:
        with torch.enable_grad():
            found = method.attribute(
                tuple(one.clone().requires_grad_(True) for one in given),
                start,
                n_steps=steps,
                internal_batch_size=chunk,
            )
        result = Attributed(
            tuple(one.detach()[0] for one in found), whole, nothing, steps, options.tolerance
        )
        if result.closed or steps * 2 > options.most_steps:
            return result
        steps *= 2


def _captum(score: Callable[..., Tensor]) -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise MissingExtraError("captum", "explain") from error
    return IntegratedGradients(score)
