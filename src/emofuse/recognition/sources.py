"""Where a stream's chunks come from: a microphone, a file at its own pace, raw samples."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MediaError, MissingExtraError
from emofuse.media.blocks import BlockSource, open_blocks

__all__ = ["file_chunks", "microphone_chunks", "raw_chunks"]

Chunks = Iterator[NDArray[Any]]
CHUNK = 0.1  # seconds
WAITING = 600  # chunks of a microphone that wait at most: a minute


def microphone_chunks(rate: int, device: str | None = None) -> Chunks:
    """Listen to a microphone until the caller stops (extra ``microphone``).

    Args:
        rate: hertz.
        device: its name or number; None = the system's.

    Yields:
        ``(samples, 1)`` float32, 100 ms each.

    Raises:
        MissingExtraError: sounddevice or PortAudio is not installed.
        MediaError: there is no such microphone, or the computer is too slow to follow it.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the library PortAudio is missing
        raise MissingExtraError("sounddevice (with PortAudio)", "microphone") from error
    heard: queue.Queue[NDArray[Any] | None] = queue.Queue(WAITING)

    def take(samples: NDArray[Any], frames: int, moment: Any, status: Any) -> None:
        if heard.full():
            return  # said below: the queue never gets this long unless nobody keeps up
        heard.put_nowait(samples.copy())

    which = int(device) if device is not None and device.isdigit() else device
    try:
        with sounddevice.InputStream(
            samplerate=rate,
            channels=1,
            dtype="float32",
            blocksize=round(CHUNK * rate),
            device=which,
            callback=take,
        ):
            while True:
                if heard.full():
                    raise MediaError(
                        f"recognition fell {WAITING * CHUNK:g} s behind the microphone; take a "
                        "smaller model or longer hops"
                    )
                chunk = heard.get()
                if chunk is not None:
                    yield chunk
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MediaError(f"no microphone can be opened: {error}") from error


def file_chunks(
    source: BlockSource, *, paced: bool = True, sleep: Callable[[float], None] = time.sleep
) -> tuple[int, Chunks]:
    """Read a file as if it were heard now.

    Args:
        source: see `media.blocks.open_blocks`.
        paced: wait as long as the audio lasts; else as fast as it is read.
        sleep: waits.

    Returns:
        The rate in hertz, and chunks of 100 ms.

    Raises:
        MediaError: it cannot be read.
    """
    opening = open_blocks(source)
    audio = opening.__enter__()

    def chunks() -> Chunks:
        size = round(CHUNK * audio.sample_rate)
        try:
            for block in audio.blocks:
                for first in range(0, len(block), size):
                    chunk = block[first : first + size]
                    if paced:
                        sleep(len(chunk) / audio.sample_rate)
                    yield chunk
        finally:
            opening.__exit__(None, None, None)

    return audio.sample_rate, chunks()


def raw_chunks(stream: BinaryIO, rate: int) -> Chunks:
    """Read raw mono samples, 16-bit little endian, until the stream ends.

    Args:
        stream: such as standard input, at the end of ``arecord -t raw -f S16_LE -r 16000``.
        rate: hertz.

    Yields:
        ``(samples,)`` int16; what came at once, 100 ms at most.
    """
    size = 2 * round(CHUNK * rate)
    read = getattr(stream, "read1", stream.read)  # gives what is there, does not wait for all
    rest = b""
    while data := read(size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.int16)
