"""The voices in a stream or recording, told by its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from emofuse.errors import OptionError
from emofuse.recognition.adapting.meter import Meter
from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.adapting.reference import Reference, check_moods
from emofuse.recognition.answer import Moods
from emofuse.recognition.reading import Loaded
from emofuse.recognition.timeline import TimelineOptions
from emofuse.recognition.timeline_windows import Window
from emofuse.recognition.turns import Turn, TurnTable

if TYPE_CHECKING:
    from emofuse.recognition.recognizer import Recognizer

__all__ = ["WindowVoices", "stream_voices"]

How = Literal["off", "causal", "recording"]


class WindowVoices:
    """Counts windows for their speakers, in their order, and gives each its speaker's voice.

    Windows overlap: each counts by the share of it that it speaks for, so that a second of speech
    counts once. Without turns all is one speaker; with turns a window that nobody's turn covers is
    not adapted.

    Args:
        reference: of the model.
        how: ``causal`` counts windows, ``off`` goes by what was known before, ``recording`` counts
            them and leaves their voices to `voice`.
        speaker: what to call the one speaker.
        turns: who speaks when.
        before: what is known of a speaker already.
        moods: see `meter.shift`.
    """

    def __init__(
        self,
        reference: Reference,
        how: How,
        speaker: str,
        *,
        turns: Sequence[Turn] | None = None,
        before: VoiceProfile | None = None,
        moods: Moods = "any",
    ) -> None:
        self._reference, self._how, self._speaker = reference, how, speaker
        self._moods = moods
        self._table = None if turns is None else TurnTable(turns)
        self._before = before
        self._meters: dict[str, Meter] = {}
        self._check(before)

    def hear(self, window: Window, rate: int, one: Loaded) -> str | None:
        """Count a window whose sound is encoded; give its speaker, if it has one.

        Args:
            window: in samples.
            rate: hertz.
            one: what was read of it; unless told to wait it gets its voice.
        """
        speaker = self._who(window.first / rate, window.until / rate)
        if speaker is None or one.error is not None or "audio" not in one.features:
            return None
        known = self._before is not None and speaker == self._before.speaker
        if self._how == "off" and not known:
            return None
        if speaker not in self._meters:
            before = self._before if known else None
            self._meters[speaker] = Meter(self._reference, speaker, before)
        if self._how != "off":
            share = (window.until - window.first) / (window.end - window.start)
            self._meters[speaker].hear(one.features["audio"], one.shares, share)
        if self._how != "recording":
            self.give(one, speaker)
        return speaker

    def give(self, one: Loaded, speaker: str | None) -> None:
        """Give what was read of a window its speaker's voice, as it is known by now."""
        if speaker is not None:
            one.query = replace(one.query, voice=self._meters[speaker].voice(self._moods))

    def _who(self, start: float, end: float) -> str | None:
        return self._speaker if self._table is None else self._table.speaker(start, end)

    def _check(self, before: VoiceProfile | None) -> None:
        if before is None:
            return
        before.check(self._reference)
        if self._table is not None and before.speaker not in self._table.speakers:
            raise OptionError(
                f"the turns know no speaker {before.speaker!r}, whose voice was given; they know "
                f"{', '.join(self._table.speakers)}"
            )


def stream_voices(
    recognizer: Recognizer,
    options: TimelineOptions,
    channel: int | None,
    *,
    turns: Sequence[Turn] | None,
    voice: VoiceProfile | None,
) -> WindowVoices | None:
    """Give what tells the voices of a stream, or None where nothing is adapted.

    Raises:
        OptionError: the model cannot be adapted, or the voice is not of its hearing.
    """
    how, moods = options.adapt, options.moods
    if how == "off" and voice is None:
        return None
    check_moods(recognizer.config, recognizer.needs, moods)
    name = "recording" if channel is None else f"channel{channel}"
    speaker = name if voice is None or turns is not None else voice.speaker
    return WindowVoices(recognizer.reference, how, speaker, turns=turns, before=voice, moods=moods)
