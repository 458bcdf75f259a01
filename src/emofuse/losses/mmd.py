"""Maximum mean discrepancy with several Gaussian kernels (Gretton 2012, Long et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from emofuse.losses.alignment import Alignment, AlignmentOptions
from emofuse.losses.embedding import wide

__all__ = ["MMD", "MMDOptions", "mmd", "squared_distances"]

MULTIPLIERS = (0.25, 0.5, 1.0, 2.0, 4.0)
SMALLEST = 1e-12


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances ``(n, m)`` of ``(n, dim)`` and ``(m, dim)``, never below 0."""
    sizes = rows.square().sum(dim=1)[:, None] + others.square().sum(dim=1)[None, :]
    return (sizes - 2.0 * rows @ others.T).clamp_min(0.0)


def mmd(
    source: Tensor,
    target: Tensor,
    multipliers: Sequence[float] = MULTIPLIERS,
    *,
    unbiased: bool = True,
) -> Tensor:
    """Estimate the squared discrepancy of two samples under a mean of Gaussian kernels.

    ``k(x, y) = mean over a of exp(-|x - y|^2 / (2 a h))``; ``h`` is the median of the squared
    distances between different items of both samples together (through which no gradient flows)
    and ``a`` goes over the multipliers.

    Args:
        source: ``(n, dim)``.
        target: ``(m, dim)``.
        multipliers: of the median.
        unbiased: the U-statistic, which leaves out each item's kernel with itself, is 0 on average
            where both samples are alike and may fall below 0; otherwise the V-statistic, never
            below 0, which two small alike samples do not bring to 0.

    Returns:
        A scalar; 0 where a sample has fewer than two items.

    >>> one = torch.tensor([[0.0], [1.0], [3.0]])
    >>> abs(float(mmd(one, one, unbiased=False))) < 1e-6
    True
    """
    n, m = len(source), len(target)
    if min(n, m) < 2:
        return (source.sum() + target.sum()) * 0.0
    with torch.autocast(source.device.type, enabled=False):
        joint = torch.cat([wide(source), wide(target)])
        distances = squared_distances(joint, joint)
        own = torch.eye(n + m, dtype=torch.bool, device=joint.device)
        distances = distances.masked_fill(own, 0.0)
        median = distances.detach()[~own].median().clamp_min(SMALLEST)
        scaled = distances / (2.0 * median)
        kernel = torch.stack([(-scaled / one).exp() for one in multipliers]).mean(dim=0)
        within, across = (kernel[:n, :n], kernel[n:, n:]), kernel[:n, n:].mean()
        if unbiased:
            sides = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in within]
        else:
            sides = [k.mean() for k in within]
        return sides[0] + sides[1] - 2.0 * across


class MMDOptions(AlignmentOptions):
    """Options of `MMD`, beside those of `AlignmentOptions`.

    Attributes:
        multipliers: of the median squared distance, one kernel each.
        estimator: ``unbiased`` (U-statistic) or ``biased`` (V-statistic).
    """

    multipliers: tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...] = Field(
        default=MULTIPLIERS, min_length=1, max_length=100
    )
    estimator: Literal["unbiased", "biased"] = "unbiased"


class MMD(Alignment):
    """The discrepancy of both corpora's embeddings (see `mmd`)."""

    options_type = MMDOptions

    def __init__(self, options: MMDOptions, dim: int) -> None:
        super().__init__(options, dim)
        self.multipliers = options.multipliers
        self.unbiased = options.estimator == "unbiased"

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the weighted discrepancy; see `Alignment.forward`."""
        return self.strength * mmd(source, target, self.multipliers, unbiased=self.unbiased)
