"""What a test set of this size can tell: the least difference that stands out from noise.

Two systems judged on the same utterances differ in accuracy by ``(b - c) / n``, with ``b`` and
``c`` the utterances that one of them alone gets right. Under no difference its standard error is
``sqrt(d / n)``, ``d = (b + c) / n`` the share on which just one is right (McNemar). Utterances of
one speaker go together, which multiplies the variance by the design effect (Kish 1965).

* *noise*: below ``1.96`` standard errors a difference cannot be told from none at the 5 % level;
* *found*: from ``1.96 + 0.84`` on, it is found four times in five (Connor, *Sample size for testing
  differences in proportions for the paired-sample design*, Biometrics 1987, in its simple form).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm

from emofuse.errors import WorkError
from emofuse.evaluation.intervals import Floats, cluster_codes
from emofuse.evaluation.resampling import cluster_sums

__all__ = ["Power", "design_effect", "detectable", "power_of"]

LEVEL, CHANCE = 0.05, 0.8


@dataclass(frozen=True)
class Power:
    """What a comparison on these test utterances could tell, in accuracy.

    Attributes:
        utterances: different utterances judged.
        clusters, unit: speakers (dialogues, utterances) that they come in.
        disagreement: share on which just one of two systems is right.
        measured: whether that is measured, between seeds, or assumed.
        design_effect: how much wider clusters make the spread; 1 = not at all.
        noise: the least difference that stands out at the 5 % level, in [0, 1].
        found: the least difference that is found four times in five.
    """

    utterances: int
    clusters: int
    unit: str
    disagreement: float
    measured: bool
    design_effect: float
    noise: float
    found: float

    @property
    def note(self) -> str:
        """The same in a sentence."""
        basis = "as its seeds do" if self.measured else "assumed"
        return (
            f"with {self.utterances:,} items of {self.clusters:,} {self.unit}s a difference in WA "
            f"under {100 * self.noise:.1f} points cannot be told from noise, and one under "
            f"{100 * self.found:.1f} is missed more often than once in five (two systems of which "
            f"just one is right on {100 * self.disagreement:.0f} %, {basis}; design effect "
            f"{self.design_effect:.1f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        return {**asdict(self), "note": self.note}


def detectable(
    items: int,
    disagreement: float,
    effect: float = 1.0,
    power: float | None = None,
    level: float = LEVEL,
) -> float:
    """Give the least difference in accuracy that stands out, in [0, 1].

    Args:
        items: utterances that both systems judge.
        disagreement: share on which just one is right.
        effect: design effect of the clusters.
        power: how often it is to be found; None = half the time, where noise ends.
        level: two-sided level of the test.

    >>> round(100 * detectable(551, 0.2), 1), round(100 * detectable(551, 0.2, power=0.8), 1)
    (3.7, 5.3)

    Raises:
        WorkError: no items, or a share outside [0, 1].
    """
    if items < 1 or not 0.0 <= disagreement <= 1.0 or effect <= 0:
        raise WorkError(f"power needs items and a share, got {items} and {disagreement}")
    steps = float(norm.ppf(1 - level / 2)) + (0.0 if power is None else float(norm.ppf(power)))
    return min(1.0, steps * float(np.sqrt(disagreement * effect / items)))


def design_effect(codes: ArrayLike, values: ArrayLike) -> float:
    """How much clusters widen the spread of a mean, against utterances drawn one by one.

    The variance of the mean from cluster totals (the linearised estimator of a ratio) over that of
    independent values; no less than 1, as a comparison must not gain from luck.

    Args:
        codes: cluster of each value.
        values: such as 1 for right and 0 for wrong.
    """
    given = np.asarray(values, np.float64)
    plain = float(given.var(ddof=1)) / len(given) if len(given) > 1 else 0.0
    residual = cluster_sums(np.asarray(codes, np.int64), (given - given.mean())[:, None])[:, 0]
    many = len(residual)
    if many < 2 or plain <= 0.0:
        return 1.0
    clustered = many / (many - 1) * float((residual**2).sum()) / len(given) ** 2
    return max(1.0, clustered / plain)


def power_of(frame: pd.DataFrame) -> Power:
    """Say what a comparison of two systems like this run's seeds could tell.

    With several seeds the disagreement is that between them; with one, that of two independent
    systems of this accuracy, which is more than two real ones have.

    Args:
        frame: checked predictions (see `evaluation.predictions`).
    """
    keyed = frame.assign(
        corpus=frame["corpus"].fillna(""), right=frame["gold"] == frame["predicted"]
    )
    table = keyed.pivot_table(index=["corpus", "id"], columns="seed", values="right")
    right: Floats = table.dropna().to_numpy(np.float64)
    items = len(keyed.drop_duplicates(["corpus", "id"]))
    measured = right.shape[1] > 1 and len(right) > 0
    accuracy = float(keyed["right"].mean())
    share = _between(right) if measured else 2.0 * accuracy * (1.0 - accuracy)
    unit, codes = cluster_codes(frame)
    effect = _effect(keyed.assign(cluster=codes), measured)
    return Power(
        items,
        int(codes.max()) + 1,
        unit,
        share,
        measured,
        effect,
        detectable(items, share, effect),
        detectable(items, share, effect, CHANCE),
    )


def _between(right: Floats) -> float:
    """Average share of utterances on which just one of two seeds is right."""
    seeds = right.shape[1]
    mean = right.mean(axis=1)
    return float((2 * mean * (1 - mean)).mean() * seeds / (seeds - 1))


def _effect(keyed: pd.DataFrame, measured: bool) -> float:
    """Design effect of the difference between two seeds, or of one seed's answers."""
    seeds = sorted(keyed["seed"].unique())
    first = keyed[keyed["seed"] == seeds[0]].drop_duplicates(["corpus", "id"])
    values = first.set_index(["corpus", "id"])["right"].astype(np.float64)
    if measured:
        other = keyed[keyed["seed"] == seeds[1]].drop_duplicates(["corpus", "id"])
        values = values - other.set_index(["corpus", "id"])["right"].astype(np.float64)
        values = values.dropna()
    codes = first.set_index(["corpus", "id"])["cluster"].loc[values.index]
    return design_effect(pd.factorize(codes)[0], values.to_numpy())
