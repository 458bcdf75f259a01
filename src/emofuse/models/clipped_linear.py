"""A linear layer a modality on clipped features: one wild figure cannot decide."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from emofuse.models.contract import Batch, ModelSpec
from emofuse.models.linear import Linear, LinearOptions
from emofuse.models.parts import Taken

__all__ = ["ClippedLinear", "ClippedLinearOptions"]


class ClippedLinearOptions(LinearOptions):
    """Options of `ClippedLinear`, beside those of `PooledOptions`.

    Attributes:
        clip: largest size of a standardised and pooled feature, in standard deviations.
    """

    clip: float = Field(default=3.0, gt=0.0, allow_inf_nan=False)


class ClippedLinear(Linear):
    """`Linear` on standardised features that are cut off at ``clip`` standard deviations.

    Statistics of a voice have long tails (a jitter, a formant where there is none). Cut off, they
    keep their sign and lose their leverage. The loss stays convex in the weights.
    """

    options_type = ClippedLinearOptions

    def __init__(self, spec: ModelSpec, options: ClippedLinearOptions) -> None:
        super().__init__(spec, options)
        self.clip = options.clip

    def take_in(self, batch: Batch) -> dict[str, Taken]:
        """Give a clipped vector an item for each modality (see `PooledModel.take_in`)."""
        limit = self.clip
        return {
            name: replace(one, vectors=one.vectors.clamp(-limit, limit))
            for name, one in super().take_in(batch).items()
        }
