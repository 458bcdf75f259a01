"""How a plain model takes in one modality: standardise, pool, say who has it."""

from __future__ import annotations

from torch import Tensor, nn

from emofuse.layers.pooling import Pooling, PoolingKind, zero_absent
from emofuse.layers.standardise import Standardise

__all__ = ["ModalityInput"]


class ModalityInput(nn.Module):
    """Sequences of one modality into one vector an item.

    Args:
        dim: feature size.
        pooling: how frames become a vector.
        normalise: whether to standardise by the training items' statistics.
    """

    def __init__(self, dim: int, pooling: PoolingKind = "mean", normalise: bool = True) -> None:
        super().__init__()
        self.standardise = Standardise(dim) if normalise else None
        self.pooling = Pooling(pooling, dim)

    def fit(self, values: Tensor, mask: Tensor) -> None:
        """Take the statistics of the training items (see `Standardise.fit`)."""
        if self.standardise is not None:
            self.standardise.fit(values, mask)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Take in ``(batch, time, dim)`` and ``(batch, time)``.

        Returns:
            Vectors ``(batch, dim)`` (zeros where absent), presence ``(batch,)`` bool, and the
            attention weights ``(batch, time)`` where the pooling has them.
        """
        present = mask.any(dim=1)
        if self.standardise is None:
            vectors, attention = self.pooling(values, mask)
        elif self.pooling.attention is not None:
            vectors, attention = self.pooling(self.standardise(values), mask)
        else:
            # Mean and maximum may be taken first: the same result from far fewer numbers.
            vectors, attention = self.pooling(values, mask)
            vectors = self.standardise(vectors)
        return zero_absent(vectors, present), present, attention
