"""How far a speaker's voice lies from those of training, and moving it there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.recognition.answer import Adapted

__all__ = ["FEW", "FEW_NOTE", "Voice"]

FEW = 8
"""Utterances of a speaker below which an answer warns."""
FEW_NOTE = (
    f"adapted to a speaker of whom fewer than {FEW} utterances were heard: what they have in "
    "common, such as one mood, is taken for the voice"
)


@dataclass(frozen=True, eq=False)
class Voice:
    """What is known of a speaker when an answer is given.

    Attributes:
        offset: ``(dim,)`` float64, what is taken off the pooled features of the speaker's sound.
        note: whose it is, and from how much.
    """

    offset: NDArray[np.float64]
    note: Adapted

    def move(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move ``(frames, dim)`` float32 features; they are not changed in place."""
        return (features.astype(np.float64) - self.offset).astype(np.float32)
