"""Utterances that were changed on purpose, encoded and kept in the store under what was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from emofuse.encoders.contract import Encoder, FloatArray, Item
from emofuse.errors import EncoderError, ManifestError, MediaError
from emofuse.features.keys import FeatureKey, encoder_space
from emofuse.features.memory import give_back
from emofuse.features.store import FeatureStore
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["Changed", "encode_changed"]

AHEAD = 8  # groups that are read and changed at once
THREADS = 4
FLUSH_SECONDS = 15.0  # work that a kill may cost
MANY_SHARDS = 64


@dataclass(frozen=True)
class Changed:
    """One changed utterance.

    Attributes:
        id: for messages.
        content: names what it was made of and what was done to it.
        make: reads it, changes it, and gives what the encoder takes.
    """

    id: str
    content: str
    make: Callable[[], Item]


def encode_changed(
    groups: Sequence[Sequence[Changed]],
    encoder: Encoder,
    store: FeatureStore,
    progress: Progress = silent,
    stage: str = "encode",
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Give the features of changed utterances, encoding what the store lacks.

    A group (one utterance at several levels, say) is encoded together, always whole: a group of
    which a kill left a part undone gives the same numbers as one that was done at once.

    Args:
        groups: what is encoded together.
        encoder: loaded.
        store: where the features are looked for and kept.
        progress: told of ``stage``, in utterances.
        stage: what to call it.

    Returns:
        Content -> array, and content -> why there is none.

    Raises:
        WorkError: the store cannot be written.
    """
    space = encoder_space(encoder)
    store.refresh()
    bad: dict[str, str] = {}
    todo = [
        group
        for group in groups
        if any(FeatureKey(space, one.content) not in store for one in group)
    ]
    total = sum(map(len, groups))
    done = total - sum(map(len, todo))
    progress(ProgressEvent(stage, done, total, "utterances"))
    entries: list[tuple[FeatureKey, FloatArray]] = []
    flushed = time.perf_counter()
    try:
        for group, found in _encoded(todo, encoder):
            for one, array in zip(group, found, strict=True):
                if isinstance(array, str):
                    bad[one.content] = array
                else:
                    entries.append((FeatureKey(space, one.content), array))
            done += len(group)
            progress(ProgressEvent(stage, done, total, "utterances"))
            if time.perf_counter() - flushed >= FLUSH_SECONDS:
                store.put_many(entries)
                store.compact(space, MANY_SHARDS)
                entries.clear()
                flushed = time.perf_counter()
    finally:  # whatever ends it, what is finished is stored
        store.put_many(entries)
    if todo:
        store.compact(space)
    wanted = list(dict.fromkeys(one.content for group in groups for one in group))
    arrays = store.get_many([FeatureKey(space, content) for content in wanted])
    return {c: a for c, a in zip(wanted, arrays, strict=True) if a is not None}, bad


def _encoded(
    groups: Sequence[Sequence[Changed]], encoder: Encoder
) -> Iterator[tuple[Sequence[Changed], list[FloatArray | str]]]:
    """Read a few groups ahead and encode them one by one."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(groups), AHEAD):
            window = groups[start : start + AHEAD]
            for group, items in zip(window, pool.map(_read, window), strict=True):
                yield group, _encode(items, encoder)
            give_back()


def _read(group: Sequence[Changed]) -> list[Item | str]:
    found: list[Item | str] = []
    for one in group:
        try:
            found.append(one.make())
        except (MediaError, ManifestError) as error:
            found.append(str(error))
    return found


def _encode(items: Sequence[Item | str], encoder: Encoder) -> list[FloatArray | str]:
    """Encode together; where that fails, one by one."""
    good = [item for item in items if isinstance(item, Item)]
    try:
        arrays: list[FloatArray | str] = [*encoder.encode(good)] if good else []
    except EncoderError as error:
        if len(good) == 1:
            arrays = [str(error)]
        else:
            arrays = [found for item in good for found in _encode([item], encoder)]
    left = iter([_finite(array) for array in arrays])
    return [next(left) if isinstance(item, Item) else item for item in items]


def _finite(found: FloatArray | str) -> FloatArray | str:
    if isinstance(found, str) or bool(np.isfinite(found).all()):
        return found
    return "the encoder gave NaN or infinity"
