"""What every loss between two corpora takes and gives, and the names of those there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from emofuse.losses.domain import ramp
from emofuse.options import Options
from emofuse.registry import Registry

__all__ = ["ALIGNMENTS", "Alignment", "AlignmentOptions"]


class AlignmentOptions(Options):
    """Options of every alignment.

    Attributes:
        weight: how strongly the embedding is pulled; 0 leaves it alone.
        schedule: ``ramp`` lets the weight rise from 0 as ``2 / (1 + exp(-10 p)) - 1`` with ``p``
            the share of the training that is over; ``constant`` does not.
    """

    weight: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    schedule: Literal["ramp", "constant"] = "ramp"


class Alignment(nn.Module, ABC):
    """Makes the embeddings of two corpora alike; it sees no label of either.

    Args:
        options: see `AlignmentOptions`.
        dim: size of the embedding.

    Attributes:
        options_type: the options of the method's recipe entry.
        strength: the weight in force.
    """

    options_type: ClassVar[type[AlignmentOptions]] = AlignmentOptions

    def __init__(self, options: AlignmentOptions, dim: int) -> None:
        super().__init__()
        self.weight, self.dim = options.weight, dim
        self._constant = options.schedule == "constant"
        self.strength = 0.0
        self.advance(0.0)

    def advance(self, done: float) -> None:
        """Told before every step which share of the training is over, in [0, 1)."""
        self.strength = self.weight * (1.0 if self._constant else ramp(done))

    @abstractmethod
    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the loss of ``(n, dim)`` and ``(m, dim)`` embeddings, weight included, a scalar."""


ALIGNMENTS = Registry(
    "alignment",
    {
        "dann": "emofuse.losses.domain_adversary:DomainAdversary",
        "mmd": "emofuse.losses.mmd:MMD",
        "coral": "emofuse.losses.coral:CORAL",
    },
)
"""Every alignment, by the name of its transfer method."""
