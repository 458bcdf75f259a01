"""What goes over the wire, typed: the bodies of requests and answers, the messages of a stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from emofuse.options import Options
from emofuse.recognition.answer import Recognition
from emofuse.recognition.timeline import Segment
from emofuse.server.problems import ErrorNote

__all__ = [
    "TIMELINE_KEYS",
    "BatchAnswer",
    "BatchRequest",
    "Final",
    "Health",
    "Heard",
    "Hello",
    "ItemRequest",
    "Limits",
    "ModelCard",
    "Models",
    "Ready",
    "RecogniseRequest",
    "SegmentMessage",
    "StreamError",
    "TimelineRequest",
    "UtteranceRequest",
]

TIMELINE_KEYS = (
    "window",
    "hop",
    "smoothing",
    "bridge",
    "shortest",
    "pad",
    "longest",
    "margin",
    "channels",
    "adapt",
    "moods",
)
"""Keys of `TimelineOptions` that a client may set: none that names a file or costs memory."""

Base64 = Annotated[
    str,
    Field(
        description="An audio file in base64; any format, rate and number of channels.",
        json_schema_extra={"contentEncoding": "base64"},
    ),
]
Settings = Annotated[
    dict[str, Any],
    Field(
        default_factory=dict,
        description=f"How it is cut up; keys of TimelineOptions: {', '.join(TIMELINE_KEYS)}.",
    ),
]
Format = Literal["json", "csv", "srt", "vtt", "rttm", "audacity", "html"]


class UtteranceRequest(Options):
    """One utterance of several: audio, text, or both."""

    audio: Base64 | None = None
    text: str | None = Field(default=None, description="What is said.")
    id: str | None = Field(default=None, max_length=200, description="Comes back in the answer.")


class RecogniseRequest(UtteranceRequest):
    """One utterance: audio, text, or both."""

    channels: Literal["mix", "each"] = Field(
        default="mix", description="Mix the channels, or answer for every one by itself."
    )


class ItemRequest(UtteranceRequest):
    """One utterance of several: audio, text, or both, and who speaks."""

    speaker: str | None = Field(
        default=None,
        max_length=200,
        description="Who speaks: the voice of a speaker is told from all items that name it, and "
        "moved to where the voices of training lie.",
    )


class BatchRequest(Options):
    """Several utterances."""

    items: tuple[ItemRequest, ...] = Field(min_length=1)


class TimelineRequest(Options):
    """A recording."""

    audio: Base64
    id: str | None = Field(default=None, max_length=200, description="Comes back in the answer.")
    format: Format = Field(default="json", description="Of the answer.")
    settings: Settings


class BatchAnswer(Options):
    """One answer an utterance, in order; one that could not be answered says why in ``error``."""

    answers: tuple[Recognition, ...]


class Limits(Options):
    """What a service takes."""

    max_upload_bytes: int
    max_seconds: float
    max_items: int
    max_text: int
    timeline_seconds: float
    stream_seconds: float


class ModelCard(Options):
    """A model that a service answers with."""

    id: str
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    needs: tuple[str, ...]
    sample_rate: int
    scale: tuple[float, float] = Field(description="Lowest and highest valence and arousal.")
    calibrated: bool
    precision: str = Field(description="What encoders compute in.")
    transcriber: str | None
    licence: str
    corpora: tuple[str, ...]
    languages: tuple[str, ...]


class Models(Options):
    """What a service answers with, and what it takes."""

    version: str
    models: tuple[ModelCard, ...]
    limits: Limits


class Health(Options):
    """Whether a service is alive or ready."""

    status: Literal["ok", "ready", "stopping", "failed"]
    waiting: int = 0


class Hello(Options):
    """The first message of a stream, from the client."""

    rate: int = Field(ge=4_000, le=768_000, description="Hertz.")
    channels: int = Field(default=1, ge=1, le=8)
    encoding: Literal["pcm16", "float32"] = Field(
        default="pcm16", description="Little-endian samples, channels in turn."
    )
    settings: Settings
    key: str | None = Field(default=None, description="API key, where no header can hold it.")


class Ready(Options):
    """The service listens."""

    type: Literal["ready"] = "ready"
    classes: tuple[str, ...]
    latency: float = Field(description="Seconds of audio by which a segment is late at most.")
    model: str


class SegmentMessage(Options):
    """A segment that will not change."""

    type: Literal["segment"] = "segment"
    segment: Segment


class Heard(Options):
    """How much was taken in, about once a second of audio."""

    type: Literal["heard"] = "heard"
    seconds: float


class Final(Options):
    """The last message of a stream that ended well."""

    type: Literal["final"] = "final"
    seconds: float
    segments: int
    reason: Literal["end", "limit", "idle", "stopping"] = "end"
    language: str | None = None


class StreamError(Options):
    """The last message of a stream that did not."""

    type: Literal["error"] = "error"
    error: ErrorNote
