"""A stream of audio: chunks in, segments that will not change out.

A file goes through the same stream block by block, so that the two give the same segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import OptionError, WorkError
from emofuse.features.memory import give_back
from emofuse.media.speech_spans import SpanEvent, SpeechSpans
from emofuse.media.voice_activity import EnergyDetector, VoiceDetector
from emofuse.recognition.adapting.profile import VoiceProfile
from emofuse.recognition.adapting.windows import stream_voices
from emofuse.recognition.answer import Recognition, Transcript, Word
from emofuse.recognition.query import Query, Sound
from emofuse.recognition.reading import AnswerLoaded, Loaded
from emofuse.recognition.stream_audio import Recent, StreamAudio
from emofuse.recognition.timeline import LONGEST_STRETCH, Segment, TimelineOptions
from emofuse.recognition.timeline_segments import SegmentBuilder, Step
from emofuse.recognition.timeline_windows import Window, WindowPlan
from emofuse.recognition.turns import Turn

if TYPE_CHECKING:
    from emofuse.recognition.recognizer import Recognizer

__all__ = ["Stream"]

FloatArray = NDArray[np.float32]


class Stream:
    """Takes audio as it comes and gives segments; make one with `Recognizer.stream`.

    One stream belongs to one thread at a time; several streams may share a recogniser.

    Args:
        recognizer: answers for the windows.
        rate: hertz of the chunks.
        options: how the audio is cut up.
        channel: number for the segments.
        turns: who speaks when, where that is known: a voice each to adapt to.
        voice: what is known of the speaker already.
        answer: see `Recognizer.stream`.

    Attributes:
        language: of the words heard so far, where the transcriber says.
        latency: seconds of audio after the end of a segment by which it is out, at most.

    Raises:
        OptionError: an illegal rate, or a model that cannot do with the audio alone.
        MissingExtraError: the detector is not installed.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        rate: int,
        options: TimelineOptions | None = None,
        channel: int | None = None,
        *,
        turns: Sequence[Turn] | None = None,
        voice: VoiceProfile | None = None,
        answer: AnswerLoaded | None = None,
    ) -> None:
        self.options = options or TimelineOptions()
        self._recognizer = recognizer
        self._ask = answer or recognizer.answer_loaded
        self._transcriber = recognizer.transcriber
        _check_model(recognizer)
        self._rate = recognizer.sample_rate
        self._audio = StreamAudio(rate, self._rate)
        self._recent = Recent()
        self._detector = _detector(self.options, self._rate)
        o = self.options
        self._spans = SpeechSpans(self._detector.hop, o.bridge, o.shortest, o.pad, LONGEST_STRETCH)
        self._plan: WindowPlan | None = None
        self._waiting: list[tuple[Window, FloatArray, Transcript | None]] = []
        self._words: list[tuple[Window, tuple[Word, ...]]] = []
        self._voices = stream_voices(recognizer, o, channel, turns=turns, voice=voice)
        self._builder = SegmentBuilder(
            recognizer.classes, o.smoothing, o.longest, self._unsure, channel
        )
        self._finished = False
        self.language: str | None = None
        self.latency = o.latency(transcribed=self._transcriber is not None)

    @property
    def seconds(self) -> float:
        """Seconds of audio taken in, but for the block that is not full yet."""
        return self._recent.end / self._rate

    def feed(self, chunk: NDArray[Any]) -> list[Segment]:
        """Take the next chunk.

        Args:
            chunk: ``(samples,)`` or ``(samples, channels)``, of any length; float in [-1, 1] or
                16-bit integer. Channels are mixed.

        Returns:
            Segments that became settled, in order; none of them changes later.

        Raises:
            MediaError: no audio, NaN or infinity.
            OptionError: the stream is finished.
        """
        if self._finished:
            raise OptionError("the stream is finished; open another one")
        found: list[Segment] = []
        for block in self._audio.feed(chunk):
            found += self._take(block)
        return found

    def finish(self) -> list[Segment]:
        """End the stream; give the segments that are left. A second call gives none."""
        if self._finished:
            return []
        self._finished = True
        rest = self._audio.finish()
        self._recent.add(rest)
        frames = np.concatenate([self._detector.feed(rest), self._detector.finish()])
        self._follow(self._spans.feed(frames.tolist()))
        self._follow(self._spans.finish(self.seconds))
        return [*self._answer(), *self._builder.finish()]

    def _take(self, block: FloatArray) -> list[Segment]:
        self._recent.add(block)
        self._follow(self._spans.feed(self._detector.feed(block).tolist()))
        found: list[Segment] = []
        late = self._recent.end - round(self.options.delay * self._rate)
        while self._waiting and (
            len(self._waiting) >= self.options.batch or self._waiting[0][0].end <= late
        ):
            found += self._answer()
        self._recent.forget(self._needed())
        return found

    def _needed(self) -> int:
        """First sample that may still be looked at."""
        if self._plan is None:
            lookback = self.options.pad + self._spans.undecided(self.seconds)
            return self._recent.end - round(lookback * self._rate) - 1
        return self._plan.start if self._transcriber is not None else self._plan.needed

    def _follow(self, events: Sequence[SpanEvent]) -> None:
        for event in events:
            if self._plan is None:
                start = round(event.start * self._rate)
                o = self.options
                size, hop = round(o.window * self._rate), round(o.hop * self._rate)
                self._plan = WindowPlan(start, size, hop)
            end = min(round(event.end * self._rate), self._recent.end)
            if not event.closed:
                if self._transcriber is None:
                    self._wait(self._plan.reach(end))
                continue
            heard = self._hear(self._plan.start, end)
            windows = self._plan.close(end, cut=event.cut)
            self._plan = None
            self._wait(windows, heard)

    def _hear(self, start: int, end: int) -> Transcript | None:
        if self._transcriber is None:
            return None
        heard = self._transcriber.transcribe(self._recent.slice(start, end), self._rate)
        self.language = heard.language or self.language
        shift = start / self._rate
        words = tuple(
            word.model_copy(update={"start": word.start + shift, "end": word.end + shift})
            for word in heard.words
        )
        return heard.model_copy(update={"words": words})

    def _wait(self, windows: Sequence[Window], heard: Transcript | None = None) -> None:
        """Copy what the windows see, so that the stream can forget it."""
        if heard is not None and windows:
            self._words.append((windows[0], heard.words))
        for window in windows:
            said = None if heard is None else _within(heard, window, self._rate)
            self._waiting.append((window, self._recent.slice(window.start, window.end), said))

    def _answer(self) -> list[Segment]:
        """Answer for the windows that wait, together; give the segments that this settles."""
        waiting = self._waiting[: self.options.batch]
        self._waiting = self._waiting[len(waiting) :]
        loaded = [self._loaded(*one) for one in waiting]
        if self._voices is not None and loaded:
            self._recognizer.listen_loaded(loaded)
            for (window, _, _), one in zip(waiting, loaded, strict=True):
                self._voices.hear(window, self._rate, one)
        found = self._tell([window for window, _, _ in waiting], loaded)
        if self._waiting and self._finished:
            found += self._answer()
        return found

    def _tell(self, windows: Sequence[Window], loaded: Sequence[Loaded]) -> list[Segment]:
        answers = self._ask(loaded) if loaded else []
        give_back()
        found: list[Segment] = []
        for window, answer in zip(windows, answers, strict=True):
            if self._words and self._words[0][0] is window:
                self._builder.hear(self._words.pop(0)[1])
            found += self._builder.push(self._step(window, answer))
        return found

    def _loaded(self, window: Window, samples: FloatArray, said: Transcript | None) -> Loaded:
        query = Query(
            f"{window.start / self._rate:.3f} s",
            Sound(samples, self._rate),
            start=window.start / self._rate,
            transcript=said,
        )
        return Loaded(query, len(samples) / self._rate, waveform=samples)

    def _step(self, window: Window, answer: Recognition) -> Step:
        return Step(
            window.first / self._rate, window.until / self._rate, answer, window.last, window.cut
        )

    def _unsure(self, shares: Mapping[str, float]) -> bool | None:
        return self._recognizer.scoring.unsure(shares)


def _within(heard: Transcript, window: Window, rate: int) -> Transcript:
    """The words whose middle a window sees."""
    first, last = window.start / rate, window.end / rate
    words = tuple(w for w in heard.words if first <= (w.start + w.end) / 2 < last)
    mean = sum(w.confidence for w in words) / len(words) if words else heard.confidence
    text = " ".join(word.text for word in words)
    return heard.model_copy(update={"text": text, "words": words, "confidence": mean})


def _detector(options: TimelineOptions, rate: int) -> VoiceDetector:
    if options.detector == "silero":
        from emofuse.media.silero import SileroDetector

        return SileroDetector(rate, options.silero_file)
    return EnergyDetector(rate, options.margin)


def _check_model(recognizer: Recognizer) -> None:
    lacking = recognizer.needs - {"audio"}
    if "audio" not in recognizer.modalities:
        lacking |= {"text"} if "text" in recognizer.modalities else {"video"}
    if recognizer.transcriber is not None:
        lacking -= {"text"}
    if lacking == {"text"}:
        raise OptionError(
            "the model cannot do without text: say which Whisper hears it (--transcribe MODEL)"
        )
    if lacking:
        raise OptionError(
            f"the model cannot do without {' and '.join(sorted(lacking))}: no timeline"
        )
    if not set(recognizer.modalities) & {"audio", "text"}:
        raise WorkError("the model takes neither audio nor text: no timeline")
