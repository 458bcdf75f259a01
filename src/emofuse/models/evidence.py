"""A voice that is always heard out, and words that count once they are sure."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from emofuse.layers import ModalityInput
from emofuse.models.contract import Batch, ModelSpec
from emofuse.models.linear import Linear, LinearOptions
from emofuse.models.parts import Taken

__all__ = ["Evidence", "EvidenceOptions"]

TEXT = "text"


class EvidenceOptions(LinearOptions):
    """Options of `Evidence`, beside those of `PooledOptions`, which are about the other modalities.

    Attributes:
        gain: factor on text features, which are not standardised (rare words would become huge).
            Under one weight decay it says how freely words may be learned from: the decay on them
            is ``gain ** 2`` times weaker.
        doubt: standard deviation of the text's votes over the classes below which they count for
            nothing; above it, what exceeds it counts (soft threshold). Recognition alone doubts,
            training does not.
    """

    gain: float = Field(default=10.0, gt=0.0, le=1000.0)
    doubt: float = Field(default=0.3, ge=0.0, le=100.0)


class Evidence(Linear):
    """`Linear`, whose text adds evidence: votes that sum to zero, and none where words are vague.

    Learned on classes of equal weight, a modality's votes are a log posterior less a log prior, so
    that their sum over modalities is what independent witnesses say together (a product of
    experts). Words in an unknown language, or that are said in any mood, vote for nothing in
    particular: their small votes are cut to zero instead of being added up.
    """

    options_type = EvidenceOptions

    def __init__(self, spec: ModelSpec, options: EvidenceOptions) -> None:
        super().__init__(spec, options)
        self.gain, self.doubt = options.gain, options.doubt
        if TEXT in spec.dims:
            self.inputs[TEXT] = ModalityInput(spec.dims[TEXT], options.pooling, False)

    def take_in(self, batch: Batch) -> dict[str, Taken]:
        """Give a vector an item for each modality that the batch has (see `PooledModel`)."""
        taken = super().take_in(batch)
        if TEXT in taken:
            taken[TEXT] = replace(taken[TEXT], vectors=taken[TEXT].vectors * self.gain)
        return taken

    def votes(self, name: str, one: Taken) -> Tensor:
        """Give what a modality says of each class, ``(batch, classes)``; zeros where absent."""
        votes = super().votes(name, one)
        if name != TEXT or len(self.spec.dims) < 2:
            return votes
        votes = votes - votes.mean(dim=1, keepdim=True)
        if self.training:
            return votes
        spread = (
            votes.square().mean(dim=1, keepdim=True).clamp_min(1e-18).sqrt()
        )  # has a slope at 0
        return votes * torch.clamp(1.0 - self.doubt / spread, min=0.0)
