"""Whether a map follows the weights (Adebayo et al. 2018).

A map that stays the same when the weights are drawn anew shows the input, not the model. The rank
correlation of the map with those of redrawn networks should lie near 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.explain.deletion import rank_correlation
from emofuse.models.contract import FusionModel
from emofuse.probes.companions import redraw

__all__ = ["Randomised", "compare_redrawn"]

NEAR = 0.5


@dataclass(frozen=True)
class Randomised:
    """Rank correlations of a map with those of networks whose weights were drawn anew.

    Attributes:
        correlations: one a draw; None where a map was constant.
    """

    correlations: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        """Those that could be computed."""
        return [one for one in self.correlations if one is not None]

    def words(self) -> str:
        """Say what came of it, in one line."""
        if not self.known:
            return "with redrawn weights the map is constant"
        shown = ", ".join(f"{one:.2f}" for one in self.known)
        mean = float(np.mean(self.known))
        line = (
            "with the weights drawn anew, the map's rank correlation with this one is "
            f"{mean:.2f} (draws: {shown})"
        )
        if mean > NEAR:
            return f"{line}: CAUTION, the map follows the input more than the weights"
        return line


def compare_redrawn(
    model: FusionModel,
    make: Callable[[FusionModel], NDArray[np.float64]],
    draws: int,
    seed: int = 0,
) -> Randomised:
    """Compare a model's map with those of copies whose every weight is drawn anew.

    Args:
        model: left as it is.
        make: the map of a model.
        draws: how many copies.
        seed: of the draws.
    """
    own = make(model).ravel().tolist()
    found = [
        rank_correlation(own, make(redraw(model, seed + place).eval()).ravel().tolist())
        for place in range(draws)
    ]
    return Randomised(tuple(found))
