"""What is known of a speaker's voice, on disk: a small JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from emofuse.errors import OptionError, WorkError
from emofuse.models.voices_note import pack, unpack
from emofuse.options import Options
from emofuse.recognition.adapting.reference import Reference
from emofuse.storage import write_json

__all__ = ["Heard", "VoiceProfile"]

FORMAT = 1
MAX_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard of a speaker.

    Attributes:
        utterances: how many.
        mean: ``(dim,)`` of their features.
        moods: ``(dim,)``, what of it the moods explain that were heard, where that is known.
    """

    utterances: float
    mean: NDArray[np.float64]
    moods: NDArray[np.float64] | None


class VoiceProfile(Options):
    """The mean of a speaker's pooled audio features. It holds no sound and no words.

    A mean of a voice's features may help to tell that voice again: treat it as personal data.

    Attributes:
        format: version of the file.
        speaker: whose voice.
        utterances: how many were heard.
        dim: feature size.
        mean: ``(dim,)``, see `models.voices_note.pack`.
        moods: ``(dim,)``, what of the mean the moods explain that were heard; None where the
            model does not hear them in the sound alone.
        hearing: fingerprint of the encoder that heard them.
    """

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    speaker: str = Field(min_length=1, max_length=200)
    utterances: float = Field(gt=0.0, allow_inf_nan=False)
    dim: int = Field(ge=1, le=1 << 20)
    mean: str
    moods: str | None = None
    hearing: str

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for text in (self.mean, *([] if self.moods is None else [self.moods])):
            unpack(text, self.dim)
        return self

    @classmethod
    def of(cls, speaker: str, heard: Heard, reference: Reference) -> Self:
        """Make one of what a model's encoder heard."""
        return cls(
            speaker=speaker,
            utterances=heard.utterances,
            dim=len(heard.mean),
            mean=pack(heard.mean),
            moods=None if heard.moods is None else pack(heard.moods),
            hearing=reference.hearing,
        )

    @property
    def heard(self) -> Heard:
        """What it holds, as numbers."""
        moods = None if self.moods is None else unpack(self.moods, self.dim)
        return Heard(self.utterances, unpack(self.mean, self.dim), moods)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            WorkError: the file cannot be written.
        """
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one.

        Raises:
            WorkError: the file cannot be read, or is no profile.
        """
        try:
            size = path.stat().st_size
            record = json.loads(path.read_bytes()) if size <= MAX_BYTES else None
        except OSError as error:
            raise WorkError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise WorkError(f"{path} is not JSON: {error}") from error
        try:
            return cls.parse(record, str(path))
        except OptionError as error:
            raise WorkError(f"{error}; give a voice that --save-voice wrote") from error

    def check(self, reference: Reference) -> None:
        """See that a model hears as the one did that made this.

        Raises:
            OptionError: it hears in another way, so that the means cannot be compared.
        """
        if self.hearing != reference.hearing:
            raise OptionError(
                f"the voice of {self.speaker!r} was taken by a model that hears otherwise "
                f"({self.hearing} instead of {reference.hearing}); take it again with this model"
            )
