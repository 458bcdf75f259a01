"""A recording that is heard to its end before any of it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from emofuse.features.memory import give_back
from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.reading import CHUNK_ITEMS, AnswerLoaded, Loaded
from emofuse.recognition.stream import Stream
from emofuse.recognition.timeline import Segment, TimelineOptions
from emofuse.recognition.timeline_windows import Window
from emofuse.recognition.turns import Turn

if TYPE_CHECKING:
    from emofuse.recognition.recognizer import Recognizer

__all__ = ["PatientStream"]


class PatientStream(Stream):
    """A `Stream` that adapts to all that was said: every segment comes at the end.

    Windows are kept as their features (4 bytes a number), not as sound: 3 MB for an hour of speech
    without a pause, with 768 numbers a window and a window a second; and their words, where they
    are heard.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        rate: int,
        options: TimelineOptions,
        channel: int | None = None,
        *,
        turns: Sequence[Turn] | None = None,
        voice: VoiceProfile | None = None,
        answer: AnswerLoaded | None = None,
    ) -> None:
        super().__init__(
            recognizer, rate, options, channel, turns=turns, voice=voice, answer=answer
        )
        self._kept: list[tuple[Window, Loaded, str | None]] = []

    def _answer(self) -> list[Segment]:
        """Keep the windows that wait; at the end answer for all."""
        while self._waiting:
            waiting = self._waiting[: self.options.batch]
            self._waiting = self._waiting[len(waiting) :]
            self._keep(
                [window for window, _, _ in waiting], [self._loaded(*one) for one in waiting]
            )
            if not self._finished:
                return []
        return self._settle() if self._finished else []

    def _keep(self, windows: Sequence[Window], loaded: Sequence[Loaded]) -> None:
        self._recognizer.listen_loaded(loaded)
        give_back()
        for window, one in zip(windows, loaded, strict=True):
            speaker = self._voices.hear(window, self._rate, one) if self._voices else None
            one.query = replace(one.query, audio=None)
            self._kept.append((window, one, speaker))

    def _settle(self) -> list[Segment]:
        found: list[Segment] = []
        for first in range(0, len(self._kept), CHUNK_ITEMS):
            some = self._kept[first : first + CHUNK_ITEMS]
            for _, one, speaker in some:
                if self._voices is not None:
                    self._voices.give(one, speaker)
            found += self._tell([window for window, _, _ in some], [one for _, one, _ in some])
        self._kept = []
        return found
