"""Queries on their way to an answer: measured, grouped by what memory holds, read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MediaError
from emofuse.recognition.answer import Adapted, Recognition
from emofuse.recognition.query import Query, read_sound, seconds_of

__all__ = [
    "CHUNK_ITEMS",
    "CHUNK_SECONDS",
    "THREADS",
    "AnswerLoaded",
    "Loaded",
    "group",
    "measure",
    "read",
]

FloatArray = NDArray[np.float32]
CHUNK_ITEMS = 64
CHUNK_SECONDS = 300.0
THREADS = 4


@dataclass
class Loaded:
    """A query with what was read and encoded of it so far.

    Attributes:
        query: what was asked.
        seconds: length of its audio, where it has any that the model wants.
        error: why it cannot be answered.
        waveform: mono ``(samples,)`` at the encoder's rate, until it is encoded.
        features: modality -> ``(frames, dim)``.
        silent: whether the audio is digital silence.
        shares: ``(classes,)`` probabilities by the sound alone, where a voice is told from it.
        adapted: from how much it was adapted to its speaker, once it was.
    """

    query: Query
    seconds: float | None = None
    error: str | None = None
    waveform: FloatArray | None = None
    features: dict[str, FloatArray] = field(default_factory=dict)
    silent: bool = False
    shares: NDArray[np.float64] | None = None
    adapted: Adapted | None = None


AnswerLoaded = Callable[[Sequence[Loaded]], Sequence[Recognition]]
"""Answers for what is read, in order."""


def measure(query: Query, listens: bool) -> Loaded:
    """Look how long a query's audio is.

    Args:
        query: what is asked.
        listens: whether anybody wants its sound.
    """
    if query.error is not None:
        return Loaded(query, error=query.error)
    if query.audio is None or not listens:
        return Loaded(query)
    try:
        return Loaded(query, seconds=seconds_of(query))
    except (MediaError, OSError) as error:
        return Loaded(query, error=str(error))


def group(
    queries: Sequence[Query], listens: bool, pool: ThreadPoolExecutor
) -> Iterator[list[Loaded]]:
    """Group queries, in order, by number and by seconds of audio held in memory at once."""
    for first in range(0, len(queries), CHUNK_ITEMS):
        chunk: list[Loaded] = []
        held = 0.0
        some = queries[first : first + CHUNK_ITEMS]
        for one in pool.map(lambda query: measure(query, listens), some):
            size = one.seconds or 0.0
            if chunk and held + size > CHUNK_SECONDS:
                yield chunk
                chunk, held = [], 0.0
            chunk.append(one)
            held += size
        if chunk:
            yield chunk


def read(chunk: Sequence[Loaded], rate: int, pool: ThreadPoolExecutor) -> None:
    """Read the sound of a chunk at ``rate`` hertz; what cannot be read gets its error."""

    def one_of(one: Loaded) -> None:
        try:
            one.waveform = read_sound(one.query, rate)
            one.silent = not np.any(one.waveform)
        except (MediaError, OSError) as error:
            one.error = str(error)

    list(pool.map(one_of, [one for one in chunk if one.error is None and one.seconds is not None]))
