"""Writing shards: header and index first, then one item after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import FloatArray
from emofuse.errors import FeatureError
from emofuse.features.shard import Shard, ShardIndex, index_check, value_check
from emofuse.features.shard_file import DIGEST, LAYOUT
from emofuse.storage import atomic_path

__all__ = ["merge_shards", "write_shard"]

BUFFER = 1 << 20


def write_shard(
    path: Path, space: str, digests: Sequence[bytes], arrays: Sequence[FloatArray]
) -> None:
    """Write a shard, atomically.

    Args:
        path: where to.
        space: canonical JSON of the space.
        digests: 32 bytes an item.
        arrays: ``(frames, dim)`` float32 an item.

    Raises:
        FeatureError: no items, or arrays that are not all of one size.
        WorkError: the folder cannot be written.
    """
    if not arrays or len(digests) != len(arrays):
        raise FeatureError(f"{len(digests)} keys for {len(arrays)} arrays; nothing to store")
    if len({array.shape[1] for array in arrays}) != 1:
        raise FeatureError("arrays of different sizes cannot share a shard")
    index = ShardIndex(
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST),
        np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64),
        np.array([value_check(array) for array in arrays], np.int64),
    )
    _write(path, space, index, arrays[0].shape[1], arrays)


def merge_shards(path: Path, space: str, shards: Sequence[Shard]) -> None:
    """Write what shards hold into one, atomically; an item in several of them is taken once.

    Only the indices and about 1 MB of items at a time are in memory.

    Raises:
        FeatureError: a shard is damaged, or they are not all of one size.
        WorkError: the folder cannot be written.
    """
    if len({shard.dim for shard in shards}) != 1:
        raise FeatureError("arrays of different sizes cannot share a shard")
    indices = [shard.index() for shard in shards]
    rows = _first_of_each(indices)
    kept = list(zip(indices, rows, strict=True))
    lengths = np.concatenate([np.diff(index.offsets)[chosen] for index, chosen in kept])
    merged = ShardIndex(
        np.concatenate([index.keys[chosen] for index, chosen in kept]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        np.concatenate([index.checks[chosen] for index, chosen in kept]),
    )
    arrays = chain.from_iterable(
        shard.read_many(chosen) for shard, (_, chosen) in zip(shards, kept, strict=True)
    )
    _write(path, space, merged, shards[0].dim, arrays)


def _first_of_each(indices: Sequence[ShardIndex]) -> list[NDArray[np.intp]]:
    """Give, for each index, the rows whose key no earlier row has."""
    keys = np.concatenate([index.keys for index in indices]).view(f"S{DIGEST}")[:, 0]
    places = np.sort(np.unique(keys, return_index=True)[1])
    edges = np.cumsum([0, *(len(index.checks) for index in indices)])
    return [places[(places >= start) & (places < stop)] - start for start, stop in pairwise(edges)]


def _write(
    path: Path, space: str, index: ShardIndex, dim: int, arrays: Iterable[FloatArray]
) -> None:
    frames = int(index.offsets[-1])
    shapes = {
        "offsets": index.offsets.shape,
        "checks": index.checks.shape,
        "keys": index.keys.shape,
        "values": (frames, dim),
    }
    sizes = (index.offsets.nbytes, index.checks.nbytes, index.keys.nbytes, 4 * frames * dim)
    edges = np.cumsum([0, *sizes]).tolist()
    header: dict[str, object] = {
        "__metadata__": {"space": space, "index": str(index_check(index))},
        **{
            name: {"dtype": kind, "shape": list(shapes[name]), "data_offsets": edges[at : at + 2]}
            for at, (name, kind) in enumerate(LAYOUT.items())
        },
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb", buffering=BUFFER) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for part in (index.offsets.astype("<i8"), index.checks.astype("<i8"), index.keys):
            stream.write(np.ascontiguousarray(part).data)
        for array in arrays:
            stream.write(np.ascontiguousarray(array, dtype="<f4").data)
