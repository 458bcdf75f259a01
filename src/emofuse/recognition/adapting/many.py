"""Many utterances of known speakers: all are heard, then all are answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from emofuse.errors import WorkError
from emofuse.progress import Progress, ProgressEvent
from emofuse.recognition.adapting.meter import Meter
from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.adapting.reference import Reference
from emofuse.recognition.adapting.voice import Voice
from emofuse.recognition.answer import Moods, Recognition
from emofuse.recognition.answering import failed, refuse
from emofuse.recognition.query import Query
from emofuse.recognition.reading import CHUNK_ITEMS, THREADS, Loaded, group

if TYPE_CHECKING:
    from emofuse.recognition.recognizer import Recognizer

__all__ = ["Speakers", "answer_adapted", "enrol"]

NOBODY = "nobody says who speaks: not adapted"


class Speakers:
    """The speakers among utterances, told by `Query.speaker`.

    Between hearing and answering each utterance is kept as its features (4 bytes a number), not as
    sound.

    Args:
        reference: of the model.
        before: what is known of the one speaker there is.
        moods: see `meter.shift`.
    """

    def __init__(
        self, reference: Reference, before: VoiceProfile | None = None, moods: Moods = "any"
    ) -> None:
        self._reference, self._before, self._moods = reference, before, moods
        self._meters: dict[str, Meter] = {}

    def hear(self, chunk: Iterable[Loaded]) -> None:
        """Count utterances that are encoded; those without sound or speaker count for none."""
        for one in chunk:
            speaker = one.query.speaker
            if speaker is None or one.error is not None or "audio" not in one.features:
                continue
            if one.silent:
                continue
            if speaker not in self._meters:
                self._meters[speaker] = Meter(self._reference, speaker, self._before)
            self._meters[speaker].hear(one.features["audio"], one.shares)

    def voices(self) -> dict[str, Voice]:
        """Give every speaker's voice."""
        return {name: meter.voice(self._moods) for name, meter in self._meters.items()}

    def profiles(self) -> dict[str, VoiceProfile]:
        """Give what can be kept of every speaker."""
        return {name: meter.profile() for name, meter in self._meters.items()}

    def give(self, every: Iterable[Loaded]) -> None:
        """Give utterances the voices of their speakers."""
        voices = self.voices()
        for one in every:
            if one.query.speaker in voices:
                one.query = replace(one.query, voice=voices[one.query.speaker])

    def moved(self, every: Sequence[Loaded]) -> Iterator[list[Loaded]]:
        """Give the utterances again, in batches, each with its speaker's voice; they are let go of.

        Args:
            every: what was heard, in order.
        """
        self.give(every)
        waiting = list(reversed(every))
        while waiting:
            yield [waiting.pop() for _ in range(min(CHUNK_ITEMS, len(waiting)))]


def answer_adapted(
    recognizer: Recognizer,
    every: Sequence[Query],
    speakers: Speakers,
    progress: Progress,
    strict: bool,
) -> Iterator[Recognition]:
    """Do what `Recognizer.recognise_each` promises of ``adapt``."""
    heard = list(_hear_each(recognizer, every, speakers, progress, strict))
    done = 0
    for chunk in speakers.moved(heard):
        answers = _remarked(chunk, recognizer.answer_loaded(chunk))
        if strict:
            refuse(answers)
        done += len(answers)
        progress(ProgressEvent("recognise", done, len(every), "utterances"))
        yield from answers


def enrol(
    recognizer: Recognizer, every: Sequence[Query], speaker: str, progress: Progress
) -> VoiceProfile:
    """Do what `Recognizer.enrol` promises."""
    speakers = Speakers(recognizer.reference)
    named = [replace(one, speaker=speaker) for one in every]
    for _ in _hear_each(recognizer, named, speakers, progress, strict=True):
        pass
    found = speakers.profiles().get(speaker)
    if found is None:
        raise WorkError(f"nothing was heard of {speaker!r}: give audio of that speaker")
    return found


def _hear_each(
    recognizer: Recognizer,
    every: Sequence[Query],
    speakers: Speakers,
    progress: Progress,
    strict: bool,
) -> Iterator[Loaded]:
    """Read and encode the sound of queries, and count it for their speakers."""
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for chunk in group(every, True, pool):
            recognizer.read_loaded(chunk, pool)
            recognizer.listen_loaded(chunk)
            if strict:
                refuse(failed(one) for one in chunk)
            speakers.hear(chunk)
            done += len(chunk)
            progress(ProgressEvent("listen", done, len(every), "utterances"))
            yield from chunk


def _remarked(chunk: Sequence[Loaded], answers: Sequence[Recognition]) -> list[Recognition]:
    """Say of answers that should have been adapted and could not why."""
    found = []
    for one, answer in zip(chunk, answers, strict=True):
        lost = answer.error is None and one.query.speaker is None and "audio" in answer.modalities
        notes = (*answer.notes, NOBODY) if lost else answer.notes
        found.append(answer.model_copy(update={"notes": notes}))
    return found
