"""What every encoder takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from emofuse.errors import OptionError, shorten
from emofuse.manifest import Modality
from emofuse.options import Options, parse_yaml

__all__ = ["Encoder", "EncoderSpec", "FloatArray", "Item", "Provenance"]

FloatArray = NDArray[np.float32]
CROP_PATTERN = r"^(whole|left|right|centre|face|iemocap|\d{1,5}x\d{1,5}\+\d{1,5}\+\d{1,5})$"


class EncoderSpec(Options):
    """Which encoder, and what of it.

    Attributes:
        name: a built-in name (``logmel``, ``prosody``, ``egemaps``, ``ngrams``), a Hugging
            Face hub name, the path of a local folder, or ``imported:NAME`` for imported vectors.
        revision: commit, tag or branch on the hub.
        layer: hidden layer (0 = the input of the first; negative counts from the end), ``last``,
            ``mean`` of all hidden layers, or a list of layers, set side by side (Hugging Face).
        granularity: one vector an utterance (``pooled``) or a sequence (``frames``).
        pooling: how a sequence becomes a vector: ``mean``, ``mean+std``, ``max``, ``cls``, or
            ``stats`` (mean, std, quantiles and steps; see `encoders.pooling.pool`).
        stride: so many successive frames are averaged into one (``frames`` only): a slower, shorter
            sequence; the last may rest on fewer.
        precision: ``auto`` takes bfloat16 where the processor is fast at it, else ``fp32``.
        dim: size of the vector, for encoders that let one choose (``ngrams``, ``arrays``).
        trim: silence at both ends of a recording is cut off: what lies so many decibels below its
            loud speech (Hugging Face encoders of speech; see `media.conditioning.condition`).
        level: decibels below full scale that active speech is brought to (likewise).
        strip_events: take bracketed notes such as ``[LAUGHTER]`` out of a text before it is
            encoded; a text of nothing else stays as it is (text).
        crop: part of a video frame that is looked at: ``whole``, ``left``, ``right``, ``centre``,
            ``face``, ``iemocap`` (the speaker's half), or a box, ``WIDTHxHEIGHT+LEFT+TOP``.
        every: keep the first of so many video frames.
        fps: keep at most so many video frames a second.
        max_frames: look at the first so many frames alone (video).
    """

    name: str = Field(min_length=1, max_length=500)
    revision: str = "main"
    layer: int | Literal["last", "mean"] | tuple[int, ...] = "last"
    granularity: Literal["pooled", "frames"] = "pooled"
    pooling: Literal["mean", "mean+std", "max", "cls", "stats"] = "mean"
    stride: int = Field(default=1, ge=1, le=1000)
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    dim: int | None = Field(default=None, ge=8, le=1 << 20)
    trim: float | None = Field(default=None, ge=5.0, le=100.0)
    level: float | None = Field(default=None, ge=-60.0, le=0.0)
    strip_events: bool = False
    crop: str = Field(default="whole", pattern=CROP_PATTERN)
    every: int = Field(default=1, ge=1, le=10_000)
    fps: float | None = Field(default=None, gt=0.0, le=1000.0)
    max_frames: int | None = Field(default=None, ge=1, le=1_000_000)

    @field_validator("name")
    @classmethod
    def _clean(cls, value: str) -> str:
        if value != value.strip() or not value.isprintable():
            raise ValueError("an encoder's name has no blanks at its ends")
        return value

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the command line's short form, ``NAME`` or ``NAME:key=value,key=value``.

        >>> EncoderSpec.from_text("logmel:pooling=mean+std").pooling
        'mean+std'

        Raises:
            OptionError: an option that is no ``key=value``, an unknown key, or one given twice.
        """
        name, options = text, ""
        if ":" in text and "=" in text.rpartition(":")[2]:
            name, _, options = text.rpartition(":")
        data: dict[str, object] = {"name": name}
        for part in filter(None, options.split(",")):
            key, equals, value = part.partition("=")
            if not equals:
                raise OptionError(f"encoder {shorten(text)}: {part!r} is not key=value")
            if key.strip() in data:
                raise OptionError(f"encoder {shorten(text)}: {key.strip()!r} is given twice")
            data[key.strip()] = parse_yaml(value, f"encoder option {key}")
        return cls.parse(data, f"encoder {shorten(text)}")


@dataclass(frozen=True)
class Provenance:
    """Where an encoder comes from.

    Attributes:
        licence: licence of the weights.
        pretrained_on: corpora seen in pre-training, without labels.
        labelled_on: corpora seen with emotion labels; a test on one of them is contaminated.
        adapted_on: those of ``labelled_on`` that it saw in an adaptation alone, which keeps a list
            of its utterances: training refuses test utterances that are on it.
        known: False where nobody wrote down what it saw.
        source: where these facts are written.
        checked: the day on which somebody read them there, or ``unverified``; empty where there is
            nothing to read.
    """

    licence: str = "unknown"
    pretrained_on: tuple[str, ...] = ()
    labelled_on: tuple[str, ...] = ()
    adapted_on: tuple[str, ...] = ()
    known: bool = False
    source: str = ""
    checked: str = ""


@dataclass(frozen=True)
class Item:
    """One thing to encode.

    Attributes:
        id: for messages.
        waveform: ``(samples,)`` float32 in [-1, 1] at `Encoder.sample_rate`, for audio.
        text: for text.
        video: path of a video file, or of an array in its place, or the bytes of a video file.
        start, end: seconds, where the video is a slice of its file.
    """

    id: str
    waveform: FloatArray | None = None
    text: str | None = None
    video: Path | bytes | None = None
    start: float | None = None
    end: float | None = None


class Encoder(ABC):
    """Turns utterances into feature sequences.

    Attributes:
        modality: ``audio``, ``text`` or ``video``.
        spec: what was asked for.
        revision: fingerprint of the weights and settings; part of every stored feature's key.
        precision: ``fp32`` or ``bf16``, what ``auto`` came to on this machine.
        dim: feature size.
        frame_rate: frames a second, or None for tokens and pooled vectors.
        sample_rate: hertz that waveforms must have; 0 where there are none.
        provenance: what it was trained on.
        reentrant: whether several threads may encode at once.
    """

    modality: Modality
    spec: EncoderSpec
    revision: str
    dim: int
    precision: str = "fp32"
    frame_rate: float | None = None
    sample_rate: int = 0
    provenance: Provenance = Provenance()
    reentrant: bool = False

    @abstractmethod
    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Encode items together.

        Returns:
            One ``(frames, dim)`` float32 array an item, in order; pooled = one frame. An item
            alone and in a batch gives the same array (to 1e-4).

        Raises:
            EncoderError: an item that cannot be encoded.
        """

    def take_warnings(self) -> tuple[str, ...]:
        """Give what was found since the last call and is no error (a text that was cut)."""
        return ()
