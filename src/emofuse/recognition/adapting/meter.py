"""How a speaker's voice is told from what is heard of it.

With ``m`` the mean of ``n`` utterances' pooled features and ``t`` the mean of training, features
are moved by ``w(n) (m - t)``, ``w(n) = n / (n + half)``: the posterior mean of the speaker's
offset where offsets spread around zero by a variance ``B``, utterances around their speaker by
``W``, and ``half = W / B``: what one utterance says of its speaker counts little, because most of
it is what was said and how.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.adapting.reference import Reference
from emofuse.recognition.adapting.voice import Voice
from emofuse.recognition.answer import Adapted

__all__ = ["Meter", "shift"]

Floats = NDArray[np.float64]


def shift(mean: ArrayLike, count: float, target: ArrayLike, half: float) -> tuple[Floats, float]:
    """Give what is taken off a speaker's features, ``(dim,)``, and the share of the way.

    Args:
        mean: ``(dim,)`` of the speaker's features.
        count: utterances behind it, 0 or more.
        target: ``(dim,)``, the mean of training.
        half: count that moves half of the way.

    >>> shift([3.0], 1.0, [1.0], 1.0)
    (array([1.]), 0.5)
    """
    weight = count / (count + half) if count > 0 else 0.0
    return weight * (np.asarray(mean, np.float64) - np.asarray(target, np.float64)), weight


class Meter:
    """Gathers what is heard of one speaker, in any order.

    Args:
        reference: of the model.
        speaker: whose voice.
        before: what is known already.

    Raises:
        OptionError: ``before`` was taken by a model that hears otherwise.
    """

    def __init__(
        self, reference: Reference, speaker: str, before: VoiceProfile | None = None
    ) -> None:
        self._reference, self.speaker = reference, speaker
        self.utterances = 0.0
        self._total = np.zeros_like(reference.mean)
        if before is not None:
            before.check(reference)
            self.utterances = before.utterances
            self._total = before.utterances * before.vector

    def hear(self, features: NDArray[np.float32], weight: float = 1.0) -> None:
        """Take the pooled features ``(1, dim)`` of an utterance.

        Args:
            features: as the encoder gives them.
            weight: share of it that was not heard before, such as of a window that overlaps.
        """
        self._total += weight * features.astype(np.float64).mean(axis=0)
        self.utterances += weight

    def voice(self) -> Voice:
        """Give what is known by now."""
        count = self.utterances
        mean = self._total / count if count else self._reference.mean
        offset, weight = shift(mean, count, self._reference.mean, self._reference.half)
        note = Adapted(speaker=self.speaker, utterances=round(count, 3), weight=round(weight, 4))
        return Voice(offset, note)

    def profile(self) -> VoiceProfile:
        """Give what can be kept."""
        mean = self._total / (self.utterances or 1.0)
        return VoiceProfile.of(self.speaker, self.utterances, mean, self._reference)
