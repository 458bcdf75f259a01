"""What goes into a fusion network of two sequences, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from emofuse.layers.pooling import masked_mean

__all__ = ["Joined", "Masked"]


@dataclass(frozen=True)
class Masked:
    """A sequence.

    Attributes:
        values: ``(batch, time, dim)``.
        mask: ``(batch, time)`` bool; None where the network is not to know its padding.
    """

    values: Tensor
    mask: Tensor | None

    def mean(self) -> Tensor:
        """Average ``(batch, dim)`` over what the mask lets through."""
        return self.values.mean(1) if self.mask is None else masked_mean(self.values, self.mask)


@dataclass(frozen=True)
class Joined:
    """What a fusion network gives.

    Attributes:
        fused: ``(batch, dim)``, what the classifier reads.
        embeddings: modality -> ``(batch, dim)``.
        sizes: modality -> ``(batch,)`` how much of it ``fused`` took in.
        attention: name -> ``(batch, heads, queries, keys)``.
    """

    fused: Tensor
    embeddings: Mapping[str, Tensor]
    sizes: Mapping[str, Tensor]
    attention: Mapping[str, Tensor]
