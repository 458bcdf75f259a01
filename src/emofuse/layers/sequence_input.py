"""How a model of sequences takes in one modality: cut, standardise, fill in, zero the padding."""

from __future__ import annotations

from torch import Tensor, nn

from emofuse.layers.pooling import zero_padding
from emofuse.layers.positions import sinusoids
from emofuse.layers.presence import AbsentToken
from emofuse.layers.standardise import Standardise

__all__ = ["SequenceInput"]


class SequenceInput(nn.Module):
    """Frames of one modality, ready to be mixed.

    Args:
        dim: feature size.
        normalise: whether to standardise by the training items' statistics.
        absent: whether a learned frame stands in for a sequence that is not there.
        positions: whether to add sinusoidal positions.
        limit: frames looked at, from the start; None = all.
    """

    def __init__(
        self,
        dim: int,
        *,
        normalise: bool = True,
        absent: bool = True,
        positions: bool = False,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        self.standardise = Standardise(dim) if normalise else None
        self.absent = AbsentToken(dim) if absent else None
        self.positions = positions
        self.limit = limit

    def cut(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the first frames of ``(batch, time, dim)`` and ``(batch, time)``."""
        if self.limit is None or mask.shape[1] <= self.limit:
            return values, mask
        return values[:, : self.limit], mask[:, : self.limit]

    def fit(self, values: Tensor, mask: Tensor) -> None:
        """Take the statistics of the training items (see `Standardise.fit`)."""
        if self.standardise is not None:
            self.standardise.fit(*self.cut(values, mask))

    def forward(
        self, values: Tensor | None, mask: Tensor | None, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take in a batch.

        Args:
            values: ``(batch, time, dim)``, or None where the whole batch lacks the modality.
            mask: ``(batch, time)`` bool.
            size: number of items, for a batch that lacks the modality.

        Returns:
            Frames with zeros in the padding, their mask, and presence ``(batch,)``.

        Raises:
            ValueError: no values, and no frame to stand in for them.
        """
        if values is not None and mask is not None:
            values, mask = self.cut(values, mask)
            values = zero_padding(values, mask)
            if self.standardise is not None:
                values = self.standardise(values)
            if self.positions:
                values = values + sinusoids(values.shape[1], values.shape[2], values.device)
        if self.absent is not None:
            values, mask, present = self.absent(values, mask, size)
        elif values is None or mask is None:
            raise ValueError("a modality is absent and nothing stands in for it")
        else:
            present = mask.any(dim=1)
        return zero_padding(values, mask), mask, present
