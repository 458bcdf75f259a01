"""The typed answer of a recogniser, and the words it may rest on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emofuse.options import Options

__all__ = ["Adapted", "Moods", "Recognition", "Transcript", "Word"]


Moods = Literal["any", "mixed"]


class Word(Options):
    """A word that was heard.

    Attributes:
        start, end: seconds from the beginning of the audio.
        text: the word as written, punctuation with it.
        confidence: probability that the recogniser of speech gives it, the mean of its tokens.
    """

    start: float = Field(ge=0.0)
    end: float = Field(ge=0.0)
    text: str
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)


class Transcript(Options):
    """What a recogniser of speech heard.

    Attributes:
        text: all of it.
        words: with their times; empty where nothing was said.
        language: code such as ``en``, or None where the model does not say.
        confidence: mean probability of the words: the share of them expected to be right.
        model: which model heard it.
    """

    text: str = ""
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    model: str = ""


class Adapted(Options):
    """That an answer was adapted to its speaker, and from how much.

    Attributes:
        speaker: whose voice was moved to the voices of training.
        utterances: how many utterances of that speaker were heard for it, this one among them
            unless the voice came from elsewhere; overlapping windows of a recording count by what
            is new in them.
        weight: share of the way that the voice was moved, in [0, 1].
        moods: what was taken for granted of them: ``any``, nothing; ``mixed``, that they hold all
            moods in like measure.
    """

    speaker: str
    utterances: float = Field(ge=0.0)
    weight: float = Field(ge=0.0, le=1.0)
    moods: Moods = "any"


class Recognition(Options):
    """The answer to one query.

    Attributes:
        id: of the query.
        emotion: the most probable class, or None where ``error`` says why not.
        probabilities: class -> probability, in the order of the label scheme; they sum to 1.
            Calibrated where the bundle can.
        confidence: probability of ``emotion``.
        calibrated: whether they are; else they are as the model gave them. None without an answer.
        emotion_set: emotions that hold the right one as often as the bundle promises, likeliest
            first; empty where it promises nothing.
        too_unsure: whether the confidence is below what the bundle answers from; None where it
            has no such limit.
        modalities: what the answer rests on.
        weights: modality -> share of the decision; empty where the model does not say.
        missing: modalities that the model knows and the query lacks.
        vad: valence, arousal and dominance on the scheme's scale, where the model gives them.
        seconds: length of the audio, where there is any.
        start, end: seconds of its source that the answer is about, where there is audio.
        channel: number of the channel from 0, or None for all of them mixed.
        transcript: what was heard, where the words were not given.
        adapted: whether it was adapted to its speaker, and from how much; None = it was not.
        model: name of the model and the first twelve digits of the hash of its weights.
        licence: of the training data and the encoders.
        notes: what to bear in mind.
        error: why there is no answer.
    """

    id: str
    emotion: str | None = None
    probabilities: dict[str, float] = Field(default_factory=dict)
    confidence: float | None = None
    calibrated: bool | None = None
    emotion_set: tuple[str, ...] = ()
    too_unsure: bool | None = None
    modalities: tuple[str, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    vad: dict[str, float] | None = None
    seconds: float | None = None
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    transcript: Transcript | None = None
    adapted: Adapted | None = None
    model: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
