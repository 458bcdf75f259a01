"""One shard: a safetensors file that carries its own index.

Tensors: ``keys`` (items, 32) uint8, the digests; ``offsets`` (items + 1,) int64; ``checks``
(items,) int64, CRC-32 of each item's bytes; ``values`` (frames, dim) float32. The metadata holds
the description of the space and a CRC-32 of the first three.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emofuse.encoders.contract import FloatArray
from emofuse.errors import FeatureError
from emofuse.storage import atomic_path

__all__ = ["Shard", "write_shard"]

LAYOUT = {"keys": "U8", "offsets": "I64", "checks": "I64", "values": "F32"}


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
    tensors: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        "offsets": np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64),
        "checks": np.array([_check(array) for array in arrays], np.int64),
        "values": np.concatenate(arrays).astype(np.float32, copy=False),
    }
    metadata = {"space": space, "index": str(_index_check(tensors))}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata)


def _check(array: FloatArray) -> int:
    return crc32(np.ascontiguousarray(array, dtype=np.float32).tobytes())


def _index_check(tensors: dict[str, NDArray[Any]]) -> int:
    value = 0
    for name in ("keys", "offsets", "checks"):
        value = crc32(np.ascontiguousarray(tensors[name]).tobytes(), value)
    return value


class Shard:
    """A shard opened for reading; values stay on disk, mapped into memory.

    Args:
        path: the file.
        space: canonical JSON of the space it must belong to.

    Attributes:
        digests: the key of each item.
        dim: feature size.
        nbytes: bytes of values.

    Raises:
        FeatureError: the file is cut short, damaged or of another space.
    """

    def __init__(self, path: Path, space: str) -> None:
        self.path = path
        try:
            index = self._read_index(space)
            self._offsets, self._checks = index["offsets"], index["checks"]
            self._values = self._map_values()
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise FeatureError(f"{path} is damaged: {error}") from error
        keys = np.ascontiguousarray(index["keys"]).tobytes()
        self.digests = [keys[at : at + 32] for at in range(0, len(keys), 32)]
        if len(self.digests) != len(self._checks) or len(self._offsets) != len(self._checks) + 1:
            raise FeatureError(f"{path} is damaged: its index does not fit together")
        if int(self._offsets[-1]) != self._values.shape[0]:
            raise FeatureError(f"{path} is damaged: its index does not fit its values")
        self.dim, self.nbytes = int(self._values.shape[1]), int(self._values.nbytes)

    def _read_index(self, space: str) -> dict[str, NDArray[Any]]:
        index: dict[str, NDArray[Any]]
        with safe_open(str(self.path), framework="np") as stored:
            metadata = stored.metadata() or {}
            if set(stored.keys()) != set(LAYOUT):
                raise FeatureError(f"{self.path} is no feature shard")
            if metadata.get("space") != space:
                raise FeatureError(f"{self.path} belongs to other features")
            index = {name: stored.get_tensor(name) for name in ("keys", "offsets", "checks")}
        if metadata.get("index") != str(_index_check(index)):
            raise FeatureError(f"{self.path} is damaged: its index has a wrong checksum")
        return index

    def _map_values(self) -> FloatArray:
        with self.path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            entry = json.loads(stream.read(size))["values"]
        if entry["dtype"] != LAYOUT["values"] or len(entry["shape"]) != 2:
            raise FeatureError(f"{self.path} is no feature shard")
        shape = (int(entry["shape"][0]), int(entry["shape"][1]))
        start = 8 + size + int(entry["data_offsets"][0])
        return np.memmap(self.path, np.float32, "r", offset=start, shape=shape)

    def __len__(self) -> int:
        return len(self.digests)

    def read(self, row: int) -> FloatArray:
        """Copy the ``(frames, dim)`` array of an item into memory.

        Raises:
            FeatureError: its bytes are not those that were written.
        """
        start, stop = int(self._offsets[row]), int(self._offsets[row + 1])
        array: FloatArray = np.array(self._values[start:stop])
        if not len(array) or _check(array) != int(self._checks[row]):
            raise FeatureError(f"{self.path} is damaged: item {row} has a wrong checksum")
        return array
