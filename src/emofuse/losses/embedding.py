"""What feature-space losses share: which embedding they read, of which items."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from emofuse.errors import OptionError
from emofuse.losses.contract import LossContext, Targets
from emofuse.models.contract import EmotionOutput
from emofuse.options import Options

__all__ = ["FeatureOptions", "embedding_size", "read_embedding", "wide"]


class FeatureOptions(Options):
    """Options of every feature-space loss.

    Attributes:
        of: the embedding it reads: ``fused``, what the classifier reads, or one modality's.
    """

    of: Literal["fused", "text", "audio"] = "fused"


def embedding_size(context: LossContext, on: str, loss: str) -> int:
    """Give the size of an embedding.

    Raises:
        OptionError: the model gives no such embedding.
    """
    if on not in context.embedding_dims:
        known = ", ".join(context.embedding_dims) or "none"
        raise OptionError(f"the loss {loss!r} reads the embedding {on!r}; the model gives: {known}")
    return context.embedding_dims[on]


def wide(values: Tensor) -> Tensor:
    """At least float32, whatever the precision in force."""
    return values if values.dtype == torch.float64 else values.float()


def read_embedding(output: EmotionOutput, targets: Targets, on: str) -> tuple[Tensor, Tensor]:
    """Give ``(items, dim)`` and ``(items,)`` labels, without items that lack the modality."""
    rows, labels = wide(output.embeddings[on]), targets.labels
    there = output.extras.get(f"present:{on}")
    if there is None or bool(there.all()):
        return rows, labels
    return rows[there], labels[there]
