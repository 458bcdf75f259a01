"""Read video: frames as RGB arrays, one at a time, and the sound track (extra ``video``, PyAV)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MediaError, MissingExtraError
from emofuse.media.audio import MAX_SECONDS, SAMPLE_RATE, FloatArray, is_lfs_pointer, to_mono
from emofuse.media.blocks import PLAYLISTS

__all__ = [
    "Image",
    "VideoInfo",
    "VideoSource",
    "has_sound_track",
    "probe_video",
    "read_frames",
    "read_sound_track",
]

Image = NDArray[np.uint8]
VideoSource = Path | bytes
"""A video file, or the bytes of one."""
MAX_PIXELS = 7680 * 4320  # of a frame; more is a mistake or an attack
TOLERANCE = 1e-4  # seconds by which the time of a frame may be rounded


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width, height: pixels.
        seconds: length; of the container where the stream does not say.
        fps: average frames a second, 0 where unknown.
        sound: whether there is a sound track.
    """

    width: int
    height: int
    seconds: float
    fps: float
    sound: bool


def probe_video(path: VideoSource) -> VideoInfo:
    """Read the header of a video, and its first frame.

    Raises:
        MediaError: missing, empty, a Git-LFS pointer, no video, without frames, or too large.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        first = next(container.decode(stream), None)
        if first is None:
            raise MediaError(f"{_name(path)} holds no video frame")
        length = stream.duration * stream.time_base if stream.duration else None
        if length is None:
            length = (container.duration or 0) / 1_000_000
        return VideoInfo(
            stream.codec_context.width,
            stream.codec_context.height,
            float(length) or 1.0 / float(stream.average_rate or 25),
            float(stream.average_rate or 0),
            bool(container.streams.audio),
        )


def read_frames(
    path: VideoSource,
    start: float | None = None,
    end: float | None = None,
    *,
    every: int = 1,
    fps: float | None = None,
    most: int | None = None,
) -> Iterator[Image]:
    """Give frames in order, each as it is decoded.

    Args:
        path: any video that FFmpeg reads.
        start: seconds from which to read.
        end: seconds before which to stop.
        every: keep the first of so many frames.
        fps: keep at most so many frames a second: the first at or after each tick.
        most: stop after so many frames.

    Yields:
        ``(height, width, 3)`` uint8 RGB, turned upright.

    Raises:
        MediaError: see `probe_video`; no frame in the span; over four hours.
        MissingExtraError: PyAV is not installed.
    """
    begin, given = start or 0.0, 0
    with _opened(path) as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        if begin:
            container.seek(int(begin * 1_000_000), backward=True)
        tick = begin
        for number, (time, frame) in enumerate(_between(container, stream, begin, end)):
            if time - begin > MAX_SECONDS:
                raise MediaError(
                    f"{_name(path)} is over {MAX_SECONDS / 3600:g} hours; give start and end"
                )
            if number % every or (fps and time < tick - TOLERANCE):
                continue
            if fps:
                tick += max(1, int((time - tick) * fps + TOLERANCE) + 1) / fps
            yield _upright(frame)
            given += 1
            if given == most:
                return
    if not given:
        span = f"[{begin:g}, {'end' if end is None else f'{end:g}'}] s"
        raise MediaError(f"{_name(path)} holds no video frame in {span}")


def _between(
    container: Any, stream: Any, begin: float, end: float | None
) -> Iterator[tuple[float, Any]]:
    origin = float((stream.start_time or 0) * stream.time_base)
    for frame in container.decode(stream):
        time = 0.0 if frame.time is None else frame.time - origin
        if end is not None and time >= end - TOLERANCE:
            return
        if time >= begin - TOLERANCE:
            yield time, frame


def _upright(frame: Any) -> Image:
    image: Image = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def has_sound_track(path: VideoSource) -> bool:
    """Tell whether a video has a sound track (raises as `probe_video`)."""
    with _opened(path) as container:
        return bool(container.streams.audio)


def read_sound_track(
    path: Path,
    sample_rate: int = SAMPLE_RATE,
    start: float | None = None,
    end: float | None = None,
) -> FloatArray:
    """Read the sound track of a video, or a slice of it, as mono.

    Args:
        path: any file with a sound track that FFmpeg reads.
        sample_rate: hertz wanted.
        start: seconds from which to read.
        end: seconds up to which to read.

    Returns:
        ``(samples,)`` float32, nominally in [-1, 1].

    Raises:
        MediaError: unreadable, no sound track, nothing in the span, NaN, or over four hours.
        MissingExtraError: PyAV is not installed.
    """
    blocks: list[FloatArray] = []
    length = 0
    with _opened(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no sound track")
        stream = container.streams.audio[0]
        rate = int(stream.rate)
        resampler = _resampler(rate)
        stop = round((MAX_SECONDS if end is None else end) * rate)
        for frame in container.decode(stream):
            for block in resampler.resample(frame):
                blocks.append(block.to_ndarray())
                length += block.samples
            if length > stop:
                break
    if end is None and length > stop:
        raise MediaError(f"{path} is over {MAX_SECONDS / 3600:g} hours; give start and end")
    samples = np.concatenate(blocks, axis=1).T if blocks else np.zeros((0, 1), np.float32)
    samples = samples[round((start or 0.0) * rate) : stop]
    if not len(samples) or not np.isfinite(samples).all():
        what = "no sound" if not len(samples) else "samples that are NaN or infinite"
        raise MediaError(f"{path} holds {what} in the span asked for")
    return to_mono(samples, rate, sample_rate)


def _resampler(rate: int) -> Any:
    import av

    return av.AudioResampler(format="fltp", rate=rate)


@contextmanager
def _opened(path: VideoSource) -> Iterator[Any]:
    """Open a file with FFmpeg; what goes wrong in the block is said in one line."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video") from error
    if isinstance(path, bytes):
        given: Any = io.BytesIO(path)
        if path[:64].lstrip().startswith(PLAYLISTS):
            raise MediaError(f"{_name(path)} is a playlist, not video; give the video itself")
    else:
        _check(path)
        given = str(path)
    rules = {"protocol_whitelist": "pipe"} if isinstance(path, bytes) else {}
    try:
        with av.open(given, mode="r", metadata_errors="replace", options=rules) as container:
            yield container
    except (av.FFmpegError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{_name(path)} is not video that can be read: {reason}") from error


def _name(source: VideoSource) -> str:
    return "the video" if isinstance(source, bytes) else str(source)


def _video_stream(container: Any, path: VideoSource) -> Any:
    if not container.streams.video:
        raise MediaError(f"{_name(path)} has no video track")
    stream = container.streams.video[0]
    coding = stream.codec_context
    if coding is None:
        raise MediaError(f"{_name(path)}: the picture has an unknown coding")
    width, height = coding.width, coding.height
    if width * height > MAX_PIXELS:
        raise MediaError(f"{_name(path)}: frames of {width} x {height} pixels are larger than 8K")
    return stream


def _check(path: Path) -> None:
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "missing"
            raise MediaError(f"{path} is {what}, not a video file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)")
        if is_lfs_pointer(path):
            raise MediaError(f"{path} is a Git-LFS pointer, not video; run: git lfs pull")
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise MediaError(f"{path!s} is no legal path: {error}") from error
