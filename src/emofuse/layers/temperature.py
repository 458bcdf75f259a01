"""The factor that similarities are multiplied by before a softmax."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Temperature", "TemperatureKind"]

TemperatureKind = Literal["exp_logit_scale", "fixed", "raw_divisor"]
START = 0.07
LARGEST_LOG = math.log(100.0)


class Temperature(nn.Module):
    """Gives the factor of cosine similarities.

    Args:
        kind: ``exp_logit_scale``: ``exp(s)`` with ``s`` learned from ``ln(1 / 0.07)`` and at most
            ``ln 100`` (Radford et al. 2021, CLIP); ``fixed``: ``1 / 0.07``; ``raw_divisor``:
            ``1 / s`` with the same start and no limit, which takes CLIP's logarithm for a
            temperature (the released Foal-Net).

    >>> kinds = ("exp_logit_scale", "fixed", "raw_divisor")
    >>> [round(float(Temperature(kind)().detach()), 3) for kind in kinds]
    [14.286, 14.286, 0.376]
    """

    def __init__(self, kind: TemperatureKind = "exp_logit_scale") -> None:
        super().__init__()
        self.kind = kind
        start = torch.tensor(math.log(1.0 / START))
        if kind == "fixed":
            self.register_buffer("value", start, persistent=False)
        else:
            self.value = nn.Parameter(start)

    def forward(self) -> Tensor:
        """Give the factor, a scalar."""
        value: Tensor = self.value
        if self.kind == "raw_divisor":
            return value.reciprocal()
        return value.clamp_max(LARGEST_LOG).exp()
