"""What a recogniser is asked, and reading its sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from emofuse.corpora.files import VIDEO_EXTENSIONS
from emofuse.errors import MediaError, OptionError
from emofuse.media.audio import probe, to_mono
from emofuse.media.blocks import gather, open_blocks
from emofuse.media.video import has_sound_track, probe_video, read_sound_track
from emofuse.recognition.adapting.voice import Voice
from emofuse.recognition.answer import Transcript

__all__ = [
    "CHANNELS",
    "Audio",
    "AudioSource",
    "Query",
    "Sound",
    "as_source",
    "channel_count",
    "check_channels",
    "checked_samples",
    "is_video",
    "looks_like_audio",
    "path_id",
    "read_sound",
    "seconds_of",
    "split_channels",
    "video_query",
]

FloatArray = NDArray[np.float32]
CHANNELS = ("mix", "each")
MAX_BYTES = 1 << 30
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
Audio = Path | str | tuple[NDArray[Any], int] | Sound | bytes | BinaryIO
"""What a caller may give: a path, samples with their rate, the bytes of a file, an open file."""


@dataclass(frozen=True, eq=False)
class Query:
    """One utterance to recognise.

    Attributes:
        id: for the answer.
        audio: where its sound is, or None.
        start, end: seconds, where it is a slice of its file.
        text: what is said, or None; blank counts as None.
        error: why it cannot be recognised, where that is known already.
        video: where its picture is, or the bytes of the video file, or None.
        channel: number of the channel to listen to, from 0; None = the mean of all.
        transcript: what was heard, where the words were not given; it counts where ``text`` is
            None.
        speaker: who speaks, where that is known; queries of one name are one voice to adapt to.
        voice: what is known of how the speaker sounds; the answer is adapted to it.
    """

    id: str
    audio: AudioSource | None = None
    start: float | None = None
    end: float | None = None
    text: str | None = None
    error: str | None = None
    video: Path | bytes | None = None
    channel: int | None = None
    transcript: Transcript | None = None
    speaker: str | None = None
    voice: Voice | None = None

    @property
    def words(self) -> str | None:
        """What is said: as given, or as heard; None where there are no words."""
        heard = None if self.transcript is None else self.transcript.text
        said = heard if self.text is None else self.text
        return said if said is not None and said.strip() else None

    @property
    def has_text(self) -> bool:
        """Whether there are words."""
        return self.words is not None

    @property
    def trust(self) -> float:
        """Share of the words expected to be right: 1 for words that were given."""
        return (
            1.0 if self.text is not None or self.transcript is None else self.transcript.confidence
        )


def as_source(audio: Audio) -> AudioSource:
    """Turn what a caller gives into a source that can be read more than once.

    Raises:
        MediaError: an open file that cannot be read, or holds over 1 GiB.
        OptionError: neither a path, nor samples with their rate, nor bytes, nor a binary file.
    """
    if isinstance(audio, Sound | bytes):
        return audio
    if isinstance(audio, bytearray | memoryview):
        return bytes(audio)
    if isinstance(audio, Path | str):
        return Path(audio)
    if isinstance(audio, tuple) and len(audio) == 2:
        return Sound(np.asarray(audio[0]), int(audio[1]))
    if not hasattr(audio, "read"):
        raise OptionError(
            f"{type(audio).__name__} is no audio; give a path, (samples, rate), bytes or a binary "
            "file"
        )
    try:
        data = audio.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise MediaError(f"the open file cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise OptionError("the file is open as text; open it with mode 'rb'")
    if len(data) > MAX_BYTES:
        raise MediaError("the open file holds over 1 GiB; give its path instead")
    return data


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
    if head.startswith(_MAGIC) or head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3"):
        return True
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE0)  # MPEG, ADTS


def check_channels(name: str) -> str:
    """Give back a legal way to treat channels.

    Raises:
        OptionError: it is not legal.
    """
    if name not in CHANNELS:
        raise OptionError(f"channels {name!r} is not legal; legal: {', '.join(CHANNELS)}")
    return name


def channel_count(source: AudioSource) -> int:
    """Count the channels of a source.

    Raises:
        MediaError: it cannot be read.
    """
    if isinstance(source, Sound):
        return int(checked_samples(source).shape[1])
    with open_blocks(source) as audio:
        return audio.channels


def split_channels(queries: Sequence[Query]) -> list[Query]:
    """Ask about each channel by itself: ``id#0``, ``id#1`` ...; one channel stays as it is.

    Speakers are told apart in the same way: two channels are two voices.
    """
    found: list[Query] = []
    for query in queries:
        try:
            count = 1 if query.audio is None or query.error else channel_count(query.audio)
        except MediaError as error:
            found.append(replace(query, error=str(error)))
            continue
        if count == 1:
            found.append(query)
        else:
            found += [_channel(query, n) for n in range(count)]
    return found


def _channel(query: Query, number: int) -> Query:
    speaker = None if query.speaker is None else f"{query.speaker}#{number}"
    return replace(query, id=f"{query.id}#{number}", channel=number, speaker=speaker)


def seconds_of(query: Query) -> float:
    """Length of a query's audio in seconds, from the header alone where it says; 0 without audio.

    Raises:
        MediaError: the file cannot be read.
    """
    source = query.audio
    if source is None:
        return 0.0
    if isinstance(source, Sound):
        return len(source.samples) / max(source.sample_rate, 1)
    if isinstance(source, Path) and is_video(source):
        length = probe_video(source).seconds
    else:
        length = _measure(source)
    end = length if query.end is None else min(query.end, length)
    return max(end - (query.start or 0.0), 0.0)


def _measure(source: Path | bytes) -> float:
    if isinstance(source, Path):
        try:
            return probe(source).seconds
        except MediaError as error:
            if not isinstance(error.__cause__, soundfile.LibsndfileError):
                raise
    with open_blocks(source) as audio:
        if audio.seconds is not None:
            return audio.seconds
        return sum(len(block) for block in audio.blocks) / audio.sample_rate


def read_sound(query: Query, sample_rate: int) -> FloatArray:
    """Give a query's audio as mono ``(samples,)`` float32 at ``sample_rate`` hertz.

    Raises:
        MediaError: it cannot be read, is empty, or holds NaN or infinity.
    """
    source = query.audio
    if source is None:
        raise MediaError(f"{query.id} has no audio")
    if isinstance(source, Path) and is_video(source) and query.channel is None:
        return read_sound_track(source, sample_rate, query.start, query.end)
    if isinstance(source, Sound):
        samples, rate = checked_samples(source), source.sample_rate
        samples = _sliced(samples, rate, query)
    else:
        samples, rate = _gathered(source, query)
    if query.channel is not None:
        if query.channel >= samples.shape[1]:
            raise MediaError(f"{query.id}: there is no channel {query.channel}")
        samples = samples[:, query.channel : query.channel + 1]
    return to_mono(samples, rate, sample_rate)


def _gathered(source: Path | bytes, query: Query) -> tuple[FloatArray, int]:
    try:
        return gather(source, query.start, query.end)
    except MediaError as error:
        if isinstance(source, bytes) or str(source) in str(error):
            raise
        raise MediaError(f"{source}: {error}") from error


def _sliced(samples: FloatArray, rate: int, query: Query) -> FloatArray:
    first = round((query.start or 0.0) * rate)
    last = len(samples) if query.end is None else round(query.end * rate)
    if last <= first or first >= len(samples):
        raise MediaError(f"{query.id} holds no audio in the span asked for")
    return samples[first:last]


def checked_samples(sound: Sound) -> FloatArray:
    """Give samples in memory as ``(samples, channels)`` float32.

    Raises:
        MediaError: they are no audio, or hold NaN or infinity.
    """
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
