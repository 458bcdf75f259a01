"""Which corpus is it from? The loss of a domain discriminator, and the schedule of its reversal."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus

from emofuse.losses.embedding import wide

__all__ = ["domain_loss", "ramp"]


def domain_loss(source: Tensor, target: Tensor) -> Tensor:
    """Average the binary cross-entropy of both corpora, each counting half.

    ``mean softplus(s) / 2 + mean softplus(-t) / 2``: source should be negative, target positive. A
    discriminator that cannot tell them apart gives ``ln 2``, whatever the sizes.

    Args:
        source: ``(n,)`` logits of source items.
        target: ``(m,)`` logits of target items.

    >>> import torch
    >>> round(float(domain_loss(torch.zeros(3), torch.zeros(1))), 4)
    0.6931
    """
    return (softplus(wide(source)).mean() + softplus(-wide(target)).mean()) / 2


def ramp(done: float, gamma: float = 10.0) -> float:
    """Give ``2 / (1 + exp(-gamma p)) - 1``: from 0 up to 1 (Ganin et al. 2016).

    >>> round(ramp(0.0), 4), round(ramp(0.5), 4), round(ramp(1.0), 4)
    (0.0, 0.9866, 0.9999)
    """
    return 2.0 / (1.0 + math.exp(-gamma * done)) - 1.0
