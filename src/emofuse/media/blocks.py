"""Audio of any length, block by block: what libsndfile reads, else what FFmpeg reads (PyAV).

Memory is that of one block, whatever the length. The samples are those of a whole read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from emofuse.errors import MediaError, shorten
from emofuse.media.audio import MAX_SECONDS, FloatArray, probe

__all__ = ["PLAYLISTS", "AudioBlocks", "BlockSource", "gather", "open_blocks"]

BlockSource = Path | bytes | BinaryIO
BLOCK = 1 << 15  # samples a channel
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]")  # text that sends FFmpeg to other files
AV_HINT = "formats beyond libsndfile need PyAV: pip install 'emofuse[video]'"


@dataclass(frozen=True)
class AudioBlocks:
    """An open source.

    Attributes:
        sample_rate: hertz.
        channels: number of channels.
        seconds: length that the header promises, None where it does not say.
        blocks: gives ``(samples, channels)`` float32 until the end; NaN and infinity are refused.
    """

    sample_rate: int
    channels: int
    seconds: float | None
    blocks: Iterator[FloatArray]


@contextmanager
def open_blocks(
    source: BlockSource, start: float | None = None, end: float | None = None
) -> Iterator[AudioBlocks]:
    """Open audio for reading in order.

    Args:
        source: a file, the bytes of one, or an open binary file that can seek.
        start: seconds from which to read.
        end: seconds up to which to read.

    Raises:
        MediaError: it cannot be read, as a whole or from some place on.
    """
    name = str(source) if isinstance(source, Path) else "the audio"
    file, own = _opened(source, name)
    try:
        with _with_libsndfile(file, name, start, end) as found:
            if found is not None:
                yield found
                return
        file.seek(0)
        with _with_ffmpeg(file, name, start, end) as found:
            yield found
    finally:
        if own:
            file.close()


def gather(
    source: BlockSource,
    start: float | None = None,
    end: float | None = None,
    limit: float = MAX_SECONDS,
) -> tuple[FloatArray, int]:
    """Read audio whole, or a slice of it, as stored.

    Args:
        source: see `open_blocks`.
        start: seconds from which to read.
        end: seconds up to which to read.
        limit: seconds above which it is refused, counted as they are read: a header may lie.

    Returns:
        ``(samples, channels)`` float32 and the sample rate in hertz.

    Raises:
        MediaError: it cannot be read, is empty, or longer than the limit.
    """
    kept: list[FloatArray] = []
    length = 0
    with open_blocks(source, start, end) as audio:
        for block in audio.blocks:
            kept.append(block)
            length += len(block)
            if length > limit * audio.sample_rate:
                raise MediaError(f"the audio is over {limit:g} seconds; give start and end")
        rate = audio.sample_rate
    if not length:
        raise MediaError("the audio holds no samples")
    return np.concatenate(kept), rate


class _Steady(io.BytesIO):
    """Bytes whose seek stops at the beginning.

    A torn header sends libsndfile before it, and what its callback raises would be printed.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place that is there."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}
        return super().seek(max(base[whence] + offset, 0))


def _opened(source: BlockSource, name: str) -> tuple[BinaryIO, bool]:
    if isinstance(source, bytes):
        return _Steady(source), True
    if not isinstance(source, Path):
        return source, False
    try:
        probe(source)  # says in one line what a missing file, a folder or a pointer is
    except MediaError as error:
        if not isinstance(error.__cause__, soundfile.LibsndfileError):
            raise
    try:
        return source.open("rb"), True
    except OSError as error:
        raise MediaError(f"{name} cannot be read: {error.strerror or error}") from error


@contextmanager
def _with_libsndfile(
    file: BinaryIO, name: str, start: float | None, end: float | None
) -> Iterator[AudioBlocks | None]:
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError, ValueError):
        yield None
        return
    with sound:
        rate = int(sound.samplerate)
        first = round((start or 0.0) * rate)
        last = sound.frames if end is None else min(round(end * rate), sound.frames)
        left = max(last - first, 0)
        yield AudioBlocks(
            rate, int(sound.channels), left / rate, _sound_blocks(sound, name, first, left)
        )


def _sound_blocks(sound: Any, name: str, first: int, left: int) -> Iterator[FloatArray]:
    try:
        if first and left:
            sound.seek(first)
        while left > 0:
            block = sound.read(min(BLOCK, left), dtype="float32", always_2d=True)
            if not len(block):
                return
            left -= len(block)
            yield _finite(block, name)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise _unreadable(name, str(error)) from error


@contextmanager
def _with_ffmpeg(
    file: BinaryIO, name: str, start: float | None, end: float | None
) -> Iterator[AudioBlocks]:
    head = file.read(64)
    file.seek(0)
    if head.lstrip().startswith(PLAYLISTS):
        raise MediaError(f"{name} is a playlist, not audio; give the audio file itself")
    try:
        import av
    except ImportError as error:
        raise _unreadable(name, f"Format not recognised; {AV_HINT}") from error
    try:
        with av.open(
            file, metadata_errors="replace", options={"protocol_whitelist": "pipe"}
        ) as box:
            if not box.streams.audio:
                raise MediaError(f"{name} has no sound track")
            stream = box.streams.audio[0]
            rate = int(getattr(stream, "rate", None) or 0)  # an unknown coding has none
            if rate <= 0:
                raise MediaError(f"{name}: the header names {rate} Hz, or an unknown coding")
            length = None if box.duration is None else box.duration / 1_000_000
            span = (round((start or 0.0) * rate), None if end is None else round(end * rate))
            yield AudioBlocks(
                rate, int(stream.channels), length, _av_blocks(av, box, stream, name, span)
            )
    except (av.FFmpegError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "Format not recognised"
        raise _unreadable(name, reason) from error


def _av_blocks(
    av: Any, box: Any, stream: Any, name: str, span: tuple[int, int | None]
) -> Iterator[FloatArray]:
    resampler = av.AudioResampler(format="fltp", rate=int(stream.rate))
    seen, (first, last) = 0, span
    try:
        for frame in box.decode(stream):
            for block in resampler.resample(frame):
                samples = np.ascontiguousarray(block.to_ndarray().T, dtype=np.float32)
                begin = max(first - seen, 0)
                stop = len(samples) if last is None else min(last - seen, len(samples))
                seen += len(samples)
                if stop > begin:
                    yield _finite(samples[begin:stop], name)
            if last is not None and seen >= last:
                return
    except av.FFmpegError as error:
        raise _unreadable(name, error.strerror or str(error)) from error


def _finite(block: FloatArray, name: str) -> FloatArray:
    if not np.isfinite(block).all():
        raise MediaError(f"{name} holds samples that are NaN or infinite")
    return block


def _unreadable(name: str, reason: str) -> MediaError:
    return MediaError(
        f"{name} is not audio that can be read: {shorten(reason, 160).strip(chr(39))}"
    )
