"""How a speaker's voice is told from what is heard of it.

With ``m`` the mean of ``n`` utterances' pooled features and ``t`` the mean of training, features
are moved by ``w(n) (m - t - e)``, ``w(n) = n / (n + half)``: the posterior mean of the speaker's
offset where offsets spread around zero by a variance ``B``, utterances around their speaker by
``W``, and ``half = W / B``. What one utterance says of its speaker counts little, because most of
it is what was said and how.

``e`` is what the moods explain that were heard: the mean over the utterances of
``sum over classes p(class) mood(class)``, with ``p`` the model's probabilities of each as it is,
not moved. Speech of one mood is then not taken for the speaker's own way, as far as the model hears
the mood. Where all moods are heard in like measure ``e`` is better left out: they cancel, and a
model that mishears a strange voice would explain that voice away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emofuse.recognition.adapting.profile import Heard, VoiceProfile
from emofuse.recognition.adapting.reference import Reference
from emofuse.recognition.adapting.voice import Voice
from emofuse.recognition.answer import Adapted, Moods

__all__ = ["Meter", "shift"]

Floats = NDArray[np.float64]


def shift(heard: Heard, reference: Reference, moods: Moods = "mixed") -> tuple[Floats, float]:
    """Give what is taken off a speaker's features, ``(dim,)``, and the share of the way.

    Args:
        heard: of the speaker.
        reference: of the model.
        moods: ``mixed`` takes for granted that they were heard in like measure; ``any`` takes off
            what those that were heard explain.
    """
    count = heard.utterances
    weight = count / (count + reference.half) if count > 0 else 0.0
    away = heard.mean - reference.mean
    if moods == "any" and heard.moods is not None:
        away = away - heard.moods
    return weight * away, weight


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
        self._moods: Floats | None = np.zeros_like(reference.mean)
        if before is not None:
            before.check(reference)
            known = before.heard
            self.utterances = known.utterances
            self._total = known.utterances * known.mean
            self._moods = None if known.moods is None else known.utterances * known.moods

    def hear(
        self, features: NDArray[np.float32], shares: Floats | None = None, weight: float = 1.0
    ) -> None:
        """Take the pooled features ``(1, dim)`` of an utterance.

        Args:
            features: as the encoder gives them.
            shares: ``(classes,)``, the model's probabilities by the sound alone, where it has any.
            weight: share of it that was not heard before, such as of a window that overlaps.
        """
        self._total += weight * features.astype(np.float64).mean(axis=0)
        self.utterances += weight
        if shares is None:
            self._moods = None
        elif self._moods is not None:
            self._moods += weight * (shares @ self._reference.moods)

    @property
    def heard(self) -> Heard:
        """What was heard by now."""
        count = self.utterances
        if not count:
            return Heard(0.0, self._reference.mean, np.zeros_like(self._reference.mean))
        return Heard(
            count, self._total / count, None if self._moods is None else self._moods / count
        )

    def voice(self, moods: Moods) -> Voice:
        """Give what is known by now."""
        offset, weight = shift(self.heard, self._reference, moods)
        note = Adapted(
            speaker=self.speaker,
            utterances=round(self.utterances, 3),
            weight=round(weight, 4),
            moods=moods,
        )
        return Voice(offset, note)

    def profile(self) -> VoiceProfile:
        """Give what can be kept."""
        return VoiceProfile.of(self.speaker, self.heard, self._reference)
