"""Where the voices lie that a model learned from, as a bundle keeps it."""

from __future__ import annotations

import base64
import binascii
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from emofuse.options import Options

__all__ = ["VoicesNote", "pack", "unpack"]


class VoicesNote(Options):
    """The pooled audio features of training, summed up; `recognition.adapting` moves voices there.

    Attributes:
        dim: feature size.
        mean: ``(dim,)`` mean of the training items, each speaker's emotions weighing alike where
            the training moved its speakers' means there; see `pack` for how it is written.
        moods: class -> ``(dim,)``, how far the class lies from a speaker's mean.
        half: utterances of a speaker that move a voice half of the way: the variance within a
            speaker over that between speakers' means.
        utterances, speakers: what it was taken from.
    """

    dim: int = Field(ge=1)
    mean: str
    moods: dict[str, str] = Field(min_length=1)
    half: float = Field(ge=0.0, allow_inf_nan=False)
    utterances: int = Field(ge=1)
    speakers: int = Field(ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for text in (self.mean, *self.moods.values()):
            unpack(text, self.dim)
        return self


def pack(values: ArrayLike) -> str:
    """Write numbers as base64 of little-endian float32."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


def unpack(text: str, dim: int) -> NDArray[np.float64]:
    """Read ``(dim,)`` numbers.

    Raises:
        ValueError: they are no numbers, infinite, or not so many.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the voices are not base64") from error
    if len(data) != 4 * dim:
        raise ValueError(f"the voices hold {len(data)} bytes instead of {4 * dim}")
    values = np.frombuffer(data, "<f4").astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the voices hold NaN or infinity")
    return values
