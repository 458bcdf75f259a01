"""A recording in time: who speaks when, with which emotion, and how it is cut up."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from emofuse.media.voice_activity import LOOKAHEAD
from emofuse.options import Options
from emofuse.recognition.answer import Adapted, Moods, Word

__all__ = ["Segment", "Timeline", "TimelineOptions"]

BLOCK = 0.1  # seconds of audio taken in at once, whatever the chunks
LONGEST_STRETCH = 28.0  # seconds of speech without a pause; what Whisper hears at once is 30
SLACK = 0.1  # seconds that resampling and the last frame of a detector hold back


class TimelineOptions(Options):
    """How a recording is cut up.

    Speech is found, each stretch of it is seen through overlapping windows, the probabilities of
    the windows are smoothed forward in time, and neighbouring steps of one emotion become a
    segment. Nothing depends on what comes more than `latency` seconds later.

    Attributes:
        window: seconds that the model sees at once; a shorter stretch is one window.
        hop: seconds from one window to the next.
        smoothing: time constant in seconds of the exponential smoothing; 0 = none. It starts anew
            after every pause.
        bridge: pauses of at most so many seconds do not end a stretch of speech.
        shortest: stretches with fewer seconds of speech are passed over.
        pad: seconds of the pause that belong to a stretch at either end.
        longest: seconds after which a segment is closed though the emotion stays.
        delay: seconds that a window may wait for others to be encoded with. The same delay gives
            the very same figures; another delay changes them by rounding alone (1e-4).
        batch: windows encoded together at most.
        detector: ``energy`` needs nothing; ``silero`` needs the extra ``silero``.
        margin: decibels over the noise that speech needs (``energy``).
        silero_file: Silero's weights, where the package is not installed.
        channels: ``mix`` listens to their mean; ``each`` listens to every channel by itself and
            takes each for one speaker, as on two-channel telephone recordings.
        adapt: whether voices are moved to where those of training lie: ``off``; ``causal``, by
            what was heard up to a window (a stream can do that); ``recording``, by all of the
            recording, which is answered once it was heard to its end.
        moods: what ``adapt`` takes for granted of a speaker: ``any``, nothing; ``mixed``, that all
            moods are heard in like measure, which gains more where it is so.
    """

    window: float = Field(default=3.0, ge=0.5, le=28.0)
    hop: float = Field(default=1.0, ge=0.1, le=28.0)
    smoothing: float = Field(default=1.0, ge=0.0, le=60.0)
    bridge: float = Field(default=0.5, ge=0.05, le=5.0)
    shortest: float = Field(default=0.25, ge=0.02, le=5.0)
    pad: float = Field(default=0.1, ge=0.0, le=1.0)
    longest: float = Field(default=10.0, ge=1.0, le=600.0)
    delay: float = Field(default=2.0, ge=0.0, le=600.0)
    batch: int = Field(default=32, ge=1, le=1024)
    detector: Literal["energy", "silero"] = "energy"
    margin: float = Field(default=9.0, ge=1.0, le=40.0)
    silero_file: Path | None = None
    channels: Literal["mix", "each"] = "mix"
    adapt: Literal["off", "causal", "recording"] = "off"
    moods: Moods = "any"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hop > self.window:
            raise ValueError(f"hop {self.hop:g} is longer than window {self.window:g}: give less")
        return self

    def latency(self, *, transcribed: bool = False) -> float:
        """Seconds of audio after the end of a segment by which it is out, at most.

        Half a window and one and a half hops (the next step must be known), the pause that is
        bridged, the detector's lookahead, the delay, and two blocks; with transcripts also the
        longest stretch of speech, which is heard as a whole. The time that the computer takes is
        not in it.
        """
        steps = self.window / 2 + 1.5 * self.hop + self.bridge + LOOKAHEAD
        late = steps + self.delay + 2 * BLOCK + SLACK
        return late + (LONGEST_STRETCH if transcribed else 0.0)


class Segment(Options):
    """A stretch of speech in one emotion.

    Attributes:
        start, end: seconds from the beginning of the recording.
        emotion: the most probable class.
        probabilities: class -> probability, the mean over the segment of the smoothed ones.
        confidence: probability of ``emotion``.
        too_unsure: whether that is below what the bundle answers from; None where it has no such
            limit. The limit was found on whole utterances, not on smoothed windows.
        vad: valence, arousal and dominance on the scheme's scale, where the model gives them.
        weights: modality -> share of the decision, the mean over the segment.
        text: what was heard, where there is a transcriber.
        words: the same with times.
        speaker: who speaks, where that is known.
        adapted: from how much the last window of it was adapted to its speaker, if it was.
        channel: number of the channel from 0, where channels are heard by themselves.
    """

    start: float
    end: float
    emotion: str
    probabilities: dict[str, float]
    confidence: float
    too_unsure: bool | None = None
    vad: dict[str, float] | None = None
    weights: dict[str, float] = Field(default_factory=dict)
    text: str | None = None
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    channel: int | None = None
    adapted: Adapted | None = None

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end - self.start


class Timeline(Options):
    """What was found in a recording.

    Attributes:
        id: of the recording, its path unless told.
        seconds: its length.
        classes: the emotions that the model knows, in the order of the label scheme.
        segments: in the order of their start.
        options: how it was cut up.
        calibrated: whether the probabilities of the windows are.
        language: of the transcript, where the transcriber says.
        transcriber: which model heard the words, if any did.
        model: name of the model and the first twelve digits of the hash of its weights.
        licence: of the training data and the encoders.
        notes: what to bear in mind.
    """

    id: str
    seconds: float
    classes: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    options: TimelineOptions = TimelineOptions()
    calibrated: bool = False
    language: str | None = None
    transcriber: str | None = None
    model: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def speech_seconds(self) -> float:
        """Seconds that the segments cover, each channel counted."""
        return sum(segment.seconds for segment in self.segments)

    def shares(self) -> dict[str, float]:
        """Emotion -> share of the speaking time, in the order of the classes."""
        total = self.speech_seconds or 1.0
        found = dict.fromkeys(self.classes, 0.0)
        for segment in self.segments:
            found[segment.emotion] += segment.seconds / total
        return found
