"""One utterance: what was said, by whom, and where the recording lies."""

from __future__ import annotations

import math
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from emofuse.labels import canonical
from emofuse.options import Options

__all__ = ["VAD", "Modality", "Seconds", "Utterance", "check_relative"]

Modality = Literal["audio", "text", "video"]
Seconds = float


class VAD(Options):
    """Valence, arousal and dominance, on the scale of the corpus (see `LabelScheme.vad`)."""

    valence: float | None = Field(default=None, allow_inf_nan=False)
    arousal: float | None = Field(default=None, allow_inf_nan=False)
    dominance: float | None = Field(default=None, allow_inf_nan=False)


class Utterance(Options):
    """One thing said by one speaker: an id and at least one modality.

    Attributes:
        id: unique in its manifest; no control characters, at most 200 characters.
        corpus: name of the corpus it comes from.
        audio, video: path of the media file, relative to the manifest's root, with ``/``.
        start, end: seconds from the start of the file, where the utterance is a slice.
        text: what is said.
        features: modality -> name under which its vector was imported into a feature store.
        emotion: a word of `labels.VOCABULARY`, or one that the user's scheme maps.
        votes: emotion -> share of annotators (sums to 1), where the corpus has them.
        vad: valence, arousal, dominance.
        speaker, gender, session, dialogue, language: who said it, and where.
        split: ``train``, ``dev`` or ``test`` where the corpus has an official split.
        extra: whatever else the corpus knows (plain values).
    """

    id: str = Field(min_length=1, max_length=200)
    corpus: str | None = None
    audio: str | None = None
    start: Seconds | None = Field(default=None, ge=0, allow_inf_nan=False)
    end: Seconds | None = Field(default=None, gt=0, allow_inf_nan=False)
    text: str | None = None
    video: str | None = None
    features: dict[Modality, str] = Field(default_factory=dict)
    emotion: str | None = Field(default=None, min_length=1)
    votes: dict[str, float] | None = None
    vad: VAD | None = None
    speaker: str | None = None
    gender: str | None = None
    session: str | None = None
    dialogue: str | None = None
    language: str | None = None
    split: Literal["train", "dev", "test"] | None = None
    extra: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @field_validator("id")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError("an id has no control characters and no blanks at its ends")
        return value

    @field_validator("audio", "video")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        return None if value is None else check_relative(value)

    @field_validator("emotion")
    @classmethod
    def _word(cls, value: str | None) -> str | None:
        return None if value is None else canonical(value)

    @field_validator("votes")
    @classmethod
    def _shares(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is None:
            return None
        if not value or not all(math.isfinite(v) and v >= 0 for v in value.values()):
            raise ValueError("votes are shares of 0 or more")
        if not math.isclose(sum(value.values()), 1.0, abs_tol=1e-3):
            raise ValueError(f"votes must sum to 1, not {sum(value.values()):.4g}")
        return {canonical(label): share for label, share in value.items()}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.modalities:
            raise ValueError("an utterance needs audio, text, video or imported features")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"end {self.end} s is not after start {self.start or 0.0} s")
        return self

    @property
    def modalities(self) -> frozenset[Modality]:
        """The modalities this utterance has; a blank text counts as none."""
        found: set[Modality] = set(self.features)
        if self.audio is not None:
            found.add("audio")
        if self.video is not None:
            found.add("video")
        if self.text is not None and self.text.strip():
            found.add("text")
        return frozenset(found)


def check_relative(value: str) -> str:
    """Refuse a path that is absolute, empty, or climbs out of its root.

    Raises:
        ValueError: with what is wrong.
    """
    posix, windows = PurePosixPath(value), PureWindowsPath(value)
    if not value.strip() or "\0" in value:
        raise ValueError("a path is not empty and holds no NUL")
    if posix.is_absolute() or windows.drive or windows.root:
        raise ValueError("the path is absolute; give it relative to the manifest's root")
    if ".." in posix.parts or ".." in windows.parts:
        raise ValueError("the path leaves the corpus root ('..')")
    return value
