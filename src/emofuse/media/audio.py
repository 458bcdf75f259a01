"""Read, resample, slice and write audio: whatever libsndfile reads, mono float32 out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emofuse.errors import MediaError
from emofuse.storage import atomic_path

__all__ = [
    "AUDIO_EXTENSIONS",
    "SAMPLE_RATE",
    "AudioInfo",
    "audio_key",
    "decode",
    "is_lfs_pointer",
    "probe",
    "read_audio",
    "slice_key",
    "to_mono",
    "write_wav",
]

SAMPLE_RATE = 16_000  # hertz: what speech encoders are trained on
AUDIO_EXTENSIONS = (
    ".wav",
    ".flac",
    ".ogg",
    ".opus",
    ".mp3",
    ".aiff",
    ".aif",
    ".au",
    ".caf",
    ".w64",
)
LFS_MAGIC = b"version https://git-lfs"
MAX_SECONDS = 4 * 3600.0  # one read of more than this is a mistake; slice it

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        sample_rate: hertz.
        channels: number of channels.
        frames: samples a channel.
        format, subtype: container and coding, as libsndfile names them.
    """

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.sample_rate


def is_lfs_pointer(path: Path) -> bool:
    """Tell whether a file is a Git-LFS pointer: a note about audio, not audio."""
    with path.open("rb") as stream:
        return stream.read(len(LFS_MAGIC)) == LFS_MAGIC


def probe(path: Path) -> AudioInfo:
    """Read the header of an audio file.

    Raises:
        MediaError: missing, empty, a Git-LFS pointer, or no audio that libsndfile reads.
    """
    _check(path)
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise _unreadable(path, error) from error
    if info.samplerate <= 0 or info.channels <= 0:
        raise MediaError(f"{path}: the header names {info.samplerate} Hz, {info.channels} channels")
    return AudioInfo(info.samplerate, info.channels, info.frames, info.format, info.subtype)


def decode(
    path: Path, start: float | None = None, end: float | None = None
) -> tuple[FloatArray, int]:
    """Decode a file, or a slice of it, as stored.

    Returns:
        ``(samples, channels)`` float32 and the sample rate in hertz.

    Raises:
        MediaError: unreadable, without samples, or over four hours.
    """
    info = probe(path)
    first = round((start or 0.0) * info.sample_rate)
    last = info.frames if end is None else min(round(end * info.sample_rate), info.frames)
    if info.frames == 0 or last <= first:
        raise MediaError(
            f"{path} holds no audio in [{start or 0:g}, {'end' if end is None else f'{end:g}'}] s "
            f"(length {info.seconds:.3f} s)"
        )
    if (last - first) / info.sample_rate > MAX_SECONDS:
        raise MediaError(f"{path} is over {MAX_SECONDS / 3600:g} hours; give start and end")
    try:
        samples, rate = soundfile.read(
            str(path), start=first, stop=last, dtype="float32", always_2d=True
        )
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise _unreadable(path, error) from error
    if samples.shape[0] == 0:
        raise MediaError(f"{path} holds no audio: the header promises {info.frames} samples")
    return samples, int(rate)


def to_mono(samples: FloatArray, rate: int, target_rate: int = SAMPLE_RATE) -> FloatArray:
    """Average the channels of ``(samples, channels)`` and resample (soxr, high quality)."""
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if rate != target_rate:
        mono = soxr.resample(mono, rate, target_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def read_audio(
    path: Path,
    sample_rate: int = SAMPLE_RATE,
    start: float | None = None,
    end: float | None = None,
) -> FloatArray:
    """Read a file, or a slice of it, as mono.

    Args:
        path: any file that libsndfile reads.
        sample_rate: hertz wanted; the file is resampled where it differs.
        start: seconds from which to read.
        end: seconds up to which to read.

    Returns:
        ``(samples,)`` float32, nominally in [-1, 1].

    Raises:
        MediaError: unreadable, without samples, or holding NaN or infinity.
    """
    samples, rate = decode(path, start, end)
    if not np.isfinite(samples).all():
        raise MediaError(f"{path} holds samples that are NaN or infinite")
    return to_mono(samples, rate, sample_rate)


def audio_key(path: Path, start: float | None = None, end: float | None = None) -> str:
    """Name the content of an utterance: hash of the file's bytes, and the slice.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    return slice_key(digest, start, end)


def slice_key(digest: str, start: float | None, end: float | None) -> str:
    """Name a slice of a file whose hash is known.

    >>> slice_key("ab", 0.5, None), slice_key("ab", None, None)
    ('ab[0.500000,]', 'ab')
    """
    if start is None and end is None:
        return digest
    return f"{digest}[{start or 0.0:.6f},{'' if end is None else f'{end:.6f}'}]"


def write_wav(path: Path, waveform: FloatArray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write mono 16-bit WAV, atomically; samples outside [-1, 1] are clipped."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        soundfile.write(stream, waveform, sample_rate, format="WAV", subtype="PCM_16")


def _check(path: Path) -> None:
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "missing"
            raise MediaError(f"{path} is {what}, not an audio file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)")
        if is_lfs_pointer(path):
            raise MediaError(f"{path} is a Git-LFS pointer, not audio; run: git lfs pull")
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise MediaError(f"{path!s} is no legal path: {error}") from error


def _unreadable(path: Path, error: Exception) -> MediaError:
    reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return MediaError(f"{path} is not audio that can be read: {reason}")
