"""A VGGish inside of a model, so that training may reach it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofuse.encoders.vggish_network import (
    BANDS,
    EMBEDDING,
    FRAMES,
    Postprocess,
    Postprocessor,
    VGGishNetwork,
    read_weights,
)
from emofuse.options import Options

__all__ = ["PATCH", "VGGish", "VGGishOptions"]

PATCH = FRAMES * BANDS
"""Values of a flattened patch."""


class VGGishOptions(Options):
    """Options of `VGGish`.

    Attributes:
        weights: a file or a folder of weights, read when a training begins (a trained model carries
            its own); None = learn from nothing.
        trainable: whether its weights learn.
        postprocess: ``none``, ``pca`` or ``quantised``, which no gradient passes; None = what the
            model's variant asks for.
    """

    weights: str | None = None
    trainable: bool = True
    postprocess: Postprocess | None = None


class VGGish(nn.Module):
    """Sequences of log-mel patches into sequences of embeddings.

    Args:
        options: weights, and whether they learn.
        postprocess: in force where the options say none.
    """

    loaded: Tensor

    def __init__(self, options: VGGishOptions, postprocess: Postprocess = "none") -> None:
        super().__init__()
        self.weights = options.weights
        self.network = VGGishNetwork()
        self.after = Postprocessor(options.postprocess or postprocess)
        self.network.requires_grad_(options.trainable)
        self.register_buffer("loaded", torch.tensor(False))

    def load(self) -> None:
        """Read the weights, unless that was done: a model read from disk keeps what it learned.

        Raises:
            EncoderError: the weights cannot be read.
        """
        if self.weights is not None and not bool(self.loaded):
            read_weights(self.weights, self.network, self.after)
        self.loaded.fill_(True)

    @property
    def learns(self) -> bool:
        """Whether any of its weights does, now."""
        return any(one.requires_grad for one in self.parameters())

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Embed the real patches.

        Args:
            values: ``(batch, time, 6144)``; or ``(batch, time, 128)``, embedded before.
            mask: ``(batch, time)`` bool.

        Returns:
            ``(batch, time, 128)``, zeros in the padding.
        """
        if values.shape[2] == EMBEDDING:
            return values
        embedded: Tensor = self.after(self.network(values[mask].view(-1, FRAMES, BANDS)))
        found = embedded.new_zeros(*mask.shape, EMBEDDING)
        found[mask] = embedded
        return found
