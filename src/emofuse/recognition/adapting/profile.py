"""What is known of a speaker's voice, on disk: a small JSON file."""

from __future__ import annotations

import json
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

__all__ = ["VoiceProfile"]

FORMAT = 1
MAX_BYTES = 1 << 20


class VoiceProfile(Options):
    """The mean of a speaker's pooled audio features. It holds no sound and no words.

    A mean of a voice's features may help to tell that voice again: treat it as personal data.

    Attributes:
        format: version of the file.
        speaker: whose voice.
        utterances: how many were heard.
        dim: feature size.
        mean: ``(dim,)``, see `models.voices_note.pack`.
        hearing: fingerprint of the encoder that heard them.
    """

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    speaker: str = Field(min_length=1, max_length=200)
    utterances: float = Field(gt=0.0, allow_inf_nan=False)
    dim: int = Field(ge=1, le=1 << 20)
    mean: str
    hearing: str

    @model_validator(mode="after")
    def _whole(self) -> Self:
        unpack(self.mean, self.dim)
        return self

    @classmethod
    def of(
        cls, speaker: str, utterances: float, mean: NDArray[np.float64], reference: Reference
    ) -> Self:
        """Make one of a mean ``(dim,)`` that a model's encoder gave."""
        return cls(
            speaker=speaker,
            utterances=utterances,
            dim=len(mean),
            mean=pack(mean),
            hearing=reference.hearing,
        )

    @property
    def vector(self) -> NDArray[np.float64]:
        """The mean, ``(dim,)`` float64."""
        return unpack(self.mean, self.dim)

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
