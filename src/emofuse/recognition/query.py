"""What a recogniser is asked, and reading its sound."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from emofuse.corpora.files import VIDEO_EXTENSIONS
from emofuse.errors import MediaError
from emofuse.media.audio import AUDIO_EXTENSIONS, probe, read_audio, to_mono
from emofuse.media.video import has_sound_track, probe_video, read_sound_track

__all__ = [
    "AudioSource",
    "Query",
    "Sound",
    "is_video",
    "looks_like_audio",
    "path_id",
    "read_sound",
    "seconds_of",
    "video_query",
]

FloatArray = NDArray[np.float32]
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"ID3", b".snd", b"caff", b"riff")


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples in memory.

    Attributes:
        samples: ``(samples,)`` or ``(samples, channels)``, float in [-1, 1] or integer at full
            scale.
        sample_rate: hertz.
    """

    samples: NDArray[Any]
    sample_rate: int


AudioSource = Path | Sound | bytes
"""A file (of a video, its sound track), samples in memory, or the bytes of an audio file."""


@dataclass(frozen=True, eq=False)
class Query:
    """One utterance to recognise.

    Attributes:
        id: for the answer.
        audio: where its sound is, or None.
        start, end: seconds, where it is a slice of its file.
        text: what is said, or None; blank counts as None.
        error: why it cannot be recognised, where that is known already.
        video: where its picture is, or None.
    """

    id: str
    audio: AudioSource | None = None
    start: float | None = None
    end: float | None = None
    text: str | None = None
    error: str | None = None
    video: Path | None = None

    @property
    def has_text(self) -> bool:
        """Whether there are words."""
        return self.text is not None and bool(self.text.strip())


def path_id(path: Path) -> str:
    """Give a path as text that can be printed, whatever bytes its name holds."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def is_video(path: Path) -> bool:
    """Tell by its name whether a file is a video."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def video_query(path: Path, text: str | None = None) -> Query:
    """Ask about a video: its picture, and its sound track if it has one.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        sound = path if has_sound_track(path) else None
    except MediaError as error:
        return Query(path_id(path), error=str(error))
    return Query(path_id(path), sound, text=text, video=path)


def looks_like_audio(head: bytes) -> bool:
    """Tell audio by its first bytes from anything else, such as a list of paths.

    >>> looks_like_audio(b"RIFF....WAVE"), looks_like_audio(b"calls/one.wav")
    (True, False)
    """
    if head.startswith(_MAGIC):
        return True
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2  # MPEG, layer III


def seconds_of(query: Query) -> float:
    """Length of a query's audio in seconds, from the header alone; 0 without audio.

    Raises:
        MediaError: the file cannot be read.
    """
    if query.audio is None:
        return 0.0
    if isinstance(query.audio, Path):
        measure = probe_video if is_video(query.audio) else probe
        length = measure(query.audio).seconds
        end = length if query.end is None else min(query.end, length)
        return max(end - (query.start or 0.0), 0.0)
    sound = _decode_bytes(query.audio) if isinstance(query.audio, bytes) else query.audio
    return len(sound.samples) / max(sound.sample_rate, 1)


def read_sound(query: Query, sample_rate: int) -> FloatArray:
    """Give a query's audio as mono ``(samples,)`` float32 at ``sample_rate`` hertz.

    Raises:
        MediaError: it cannot be read, is empty, or holds NaN or infinity.
    """
    source = query.audio
    if isinstance(source, Path):
        read = read_sound_track if is_video(source) else read_audio
        return read(source, sample_rate, query.start, query.end)
    if isinstance(source, bytes):
        source = _decode_bytes(source)
    if source is None:
        raise MediaError(f"{query.id} has no audio")
    return to_mono(_check_samples(source), source.sample_rate, sample_rate)


def _check_samples(sound: Sound) -> FloatArray:
    samples, rate = np.asarray(sound.samples), sound.sample_rate
    if rate <= 0:
        raise MediaError(f"the sample rate is {rate} Hz; it must be above 0")
    if samples.ndim not in (1, 2) or samples.shape[0] == 0 or samples.size == 0:
        raise MediaError(
            f"samples of shape {samples.shape} are no audio; give (samples,) or (samples, channels)"
        )
    if samples.dtype.kind in "iu":
        scale = float(np.iinfo(samples.dtype).max) + 1.0
        offset = scale / 2 if samples.dtype.kind == "u" else 0.0
        samples = (samples.astype(np.float64) - offset) / (offset or scale)
    if samples.dtype.kind != "f":
        raise MediaError(f"samples of type {samples.dtype} are no audio; give float or integer")
    if not np.isfinite(samples).all():
        raise MediaError("the samples hold NaN or infinity")
    flat = samples.astype(np.float32)
    return flat[:, None] if flat.ndim == 1 else flat


def _decode_bytes(data: bytes) -> Sound:
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        kinds = " ".join(AUDIO_EXTENSIONS)
        raise MediaError(
            f"{len(data):,} bytes are not audio that can be read ({kinds}): {reason}"
        ) from error
    return Sound(samples, int(rate))
