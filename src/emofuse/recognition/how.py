"""How many utterances are answered, in one place for all who ask."""

from __future__ import annotations

from typing import TypedDict

from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.answer import Moods

__all__ = ["How"]


class How(TypedDict, total=False):
    """Keywords of `Recognizer.recognise_each`, which says what they mean."""

    strict: bool
    channels: str
    adapt: bool
    voice: VoiceProfile | None
    moods: Moods
