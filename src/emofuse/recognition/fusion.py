"""What a recogniser asks of a fusion model, in NumPy, whatever computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import FloatArray

__all__ = ["Features", "Fusion", "Said"]

Features = Mapping[str, FloatArray]
"""Modality -> ``(frames, dim)``; one that an utterance lacks has no key."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What a model says of a batch.

    Attributes:
        logits: ``(batch, classes)``.
        weights: modality -> ``(batch,)`` share of the decision, where the model gives it.
        vad: ``(batch, 3)`` valence, arousal, dominance in [-1, 1], or None.
    """

    logits: Floats
    weights: Mapping[str, Floats] = field(default_factory=dict)
    vad: Floats | None = None


class Fusion(Protocol):
    """A fusion model at work."""

    @property
    def needs(self) -> frozenset[str]:
        """Modalities that it cannot do without."""

    def say(self, features: Sequence[Features]) -> Said:
        """Answer for utterances together."""
