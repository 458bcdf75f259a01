"""The bytes of a stranger into samples: counted as they are decoded, never more than agreed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from emofuse.errors import MediaError, MissingExtraError
from emofuse.media.blocks import AudioBlocks, open_blocks
from emofuse.media.video import probe_video
from emofuse.recognition.query import Sound
from emofuse.server.problems import Problem

__all__ = [
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "MOST_CHANNELS",
    "MOST_SPEAKERS",
    "Header",
    "decode",
    "decode_each",
    "read_header",
    "shows_something",
]

FloatArray = NDArray[np.float32]
LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # hertz, as for streams
MOST_CHANNELS = 32
MOST_SPEAKERS = 8  # channels that are heard each by itself
UNKNOWN = 1e8  # seconds; libsndfile's word for a length that the header does not say is far above


@dataclass(frozen=True)
class Header:
    """What the header of an audio file says, true or not.

    Attributes:
        sample_rate: hertz.
        channels: number of channels.
        seconds: length, or None where it does not say.
    """

    sample_rate: int
    channels: int
    seconds: float | None


def read_header(data: bytes, limit: float) -> Header:
    """Look at a file without decoding it.

    Raises:
        Problem: no audio, or more than ``limit`` seconds of it.
    """
    try:
        with open_blocks(data) as audio:
            return _checked(audio, limit)
    except MediaError as error:
        raise Problem("bad_audio", str(error)) from error


def decode(data: bytes, rate: int, limit: float, until: float) -> Sound:
    """Decode a file to one channel.

    Memory stays at that of the samples kept and one block, whatever the header claims.

    Args:
        data: the bytes of an audio file, or of a video file with a sound track.
        rate: hertz wanted.
        limit: seconds above which it is refused.
        until: `time.monotonic` after which nobody waits for it.

    Raises:
        Problem: no audio, nothing in it, too long, or too late.
    """
    return _decoded(data, rate, limit, until, each=False)[0]


def decode_each(data: bytes, rate: int, limit: float, until: float) -> list[Sound]:
    """Decode every channel of a file by itself; arguments and errors are those of `decode`.

    Raises:
        Problem: also where there are more channels than speakers that are heard apart.
    """
    return _decoded(data, rate, limit, until, each=True)


def shows_something(data: bytes, limit: float) -> bool:
    """Tell whether a file has a picture beside or instead of its sound.

    Raises:
        Problem: a video of more than ``limit`` seconds, or nothing here reads videos.
    """
    try:
        found = probe_video(data)
    except MissingExtraError as error:
        raise Problem("no_answer", str(error)) from error
    except MediaError:
        return False
    if found.seconds > limit:
        raise _too_long(limit, found.seconds)
    return True


def _decoded(data: bytes, rate: int, limit: float, until: float, *, each: bool) -> list[Sound]:
    kept: list[FloatArray] = []
    count = 0
    try:
        with open_blocks(data) as audio:
            header = _checked(audio, limit)
            if each and header.channels > MOST_SPEAKERS:
                raise Problem(
                    "bad_audio",
                    f"the audio has {header.channels} channels; at most {MOST_SPEAKERS} are heard "
                    "each by itself",
                )
            for block in audio.blocks:
                count += len(block)
                if count > limit * header.sample_rate:
                    raise _too_long(limit)
                if time.monotonic() > until:
                    raise Problem("timeout", "the audio was not decoded within the time limit")
                kept.append(block if each else _mono(block)[:, None])
    except MediaError as error:
        raise Problem("bad_audio", str(error)) from error
    if not count:
        raise Problem("bad_audio", "the audio holds no samples")
    joined = np.concatenate(kept)
    return [_sound(joined[:, n], header.sample_rate, rate) for n in range(joined.shape[1])]


def _sound(samples: FloatArray, have: int, want: int) -> Sound:
    count = len(samples)
    if have != want:
        samples = soxr.resample(np.ascontiguousarray(samples), have, want, quality="HQ")
    if not len(samples):
        raise Problem("bad_audio", f"{count} samples at {have} Hz are no audio")
    return Sound(np.ascontiguousarray(samples, dtype=np.float32), want)


def _mono(block: FloatArray) -> FloatArray:
    return block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1)


def _checked(audio: AudioBlocks, limit: float) -> Header:
    if not LOWEST_RATE <= audio.sample_rate <= HIGHEST_RATE:
        raise Problem(
            "bad_audio",
            f"the header names {audio.sample_rate} Hz; legal: {LOWEST_RATE} to {HIGHEST_RATE}",
        )
    if not 1 <= audio.channels <= MOST_CHANNELS:
        raise Problem(
            "bad_audio", f"the header names {audio.channels} channels; at most {MOST_CHANNELS}"
        )
    seconds = audio.seconds
    if seconds is not None and seconds > UNKNOWN:
        seconds = None
    if seconds is not None and seconds > limit:
        raise _too_long(limit, seconds)
    return Header(audio.sample_rate, audio.channels, seconds)


def _too_long(limit: float, seconds: float | None = None) -> Problem:
    says = "" if seconds is None else f" (its header says {seconds:.1f})"
    return Problem("too_long", f"the audio is over {limit:g} seconds{says}")
