"""DANN: a discriminator names the corpus, reversed gradients make it fail (Ganin et al. 2016)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from emofuse.layers import Dropout
from emofuse.layers.reversal import reverse_gradient
from emofuse.losses.alignment import Alignment, AlignmentOptions
from emofuse.losses.domain import domain_loss
from emofuse.losses.embedding import wide

__all__ = ["DomainAdversary", "DomainAdversaryOptions"]


class DomainAdversaryOptions(AlignmentOptions):
    """Options of `DomainAdversary`, beside those of `AlignmentOptions`.

    Attributes:
        hidden: width of the discriminator's two hidden layers.
        dropout: share of its activations dropped in training.
    """

    hidden: int = Field(default=128, ge=1, le=1 << 14)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class DomainAdversary(Alignment):
    """Two hidden layers and a logit behind a gradient reversal.

    The weight and its schedule scale the reversed gradient alone: the discriminator itself always
    learns at full strength, and a weight of 0 leaves the embedding untouched.
    """

    options_type = DomainAdversaryOptions

    def __init__(self, options: DomainAdversaryOptions, dim: int) -> None:
        super().__init__(options, dim)
        width = options.hidden
        self.discriminator = nn.Sequential(
            nn.Linear(dim, width),
            nn.ReLU(),
            Dropout(options.dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            Dropout(options.dropout),
            nn.Linear(width, 1),
        )

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Give the discriminator's loss; see `Alignment.forward`."""
        both = reverse_gradient(wide(torch.cat([source, target])), self.strength)
        logits = self.discriminator(both).squeeze(1)
        return domain_loss(logits[: len(source)], logits[len(source) :])
