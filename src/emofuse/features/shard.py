"""One shard: a safetensors file that carries its own index.

Tensors: ``offsets`` (items + 1,) int64; ``checks`` (items,) int64, CRC-32 of each item's bytes;
``keys`` (items, 32) uint8, the digests; ``values`` (frames, dim) float32. The metadata holds the
description of the space and a CRC-32 of keys, offsets and checks. Nothing of a shard is kept in
memory: what is asked for is read from its place in the file.
"""

from __future__ import annotations

import errno
import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import FloatArray
from emofuse.errors import FeatureError, WorkError

__all__ = ["DIGEST", "LAYOUT", "Shard", "ShardIndex", "index_check", "value_check"]

DIGEST = 32  # bytes of a key
LAYOUT = {"offsets": "I64", "checks": "I64", "keys": "U8", "values": "F32"}
_TYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "F32": np.dtype("<f4"),
}
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class ShardIndex:
    """What a shard holds, item by item.

    Attributes:
        keys: ``(items, 32)`` uint8.
        offsets: ``(items + 1,)`` int64, first frame of each item, then the end.
        checks: ``(items,)`` int64.
    """

    keys: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    checks: NDArray[np.int64]


def value_check(array: FloatArray) -> int:
    """CRC-32 of the bytes of an item."""
    return crc32(np.ascontiguousarray(array, dtype=_TYPES["F32"]).data)


def index_check(index: ShardIndex) -> int:
    """CRC-32 of an index."""
    value = 0
    for part in (index.keys, index.offsets, index.checks):
        value = crc32(np.ascontiguousarray(part).data, value)
    return value


class Shard:
    """A shard opened for reading.

    Args:
        path: the file.
        space: canonical JSON of the space it must belong to.

    Attributes:
        dim: feature size.
        nbytes: bytes of values.

    Raises:
        FeatureError: the file is cut short, damaged or of another space.
        WorkError: the system does not allow another open file.
    """

    def __init__(self, path: Path, space: str) -> None:
        self.path = path
        self._reading = Lock()
        try:
            self._file = path.open("rb", buffering=0)
            weakref.finalize(self, self._file.close)
            metadata = self._read_header()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE}:
                raise WorkError(f"too many open files for the shards of {path.parent}") from error
            raise FeatureError(f"{path} is damaged: {error}") from error
        if metadata.get("space") != space:
            raise FeatureError(f"{path} belongs to other features")
        frames, self.dim = self._shapes["values"]
        self.nbytes = 4 * frames * self.dim
        index = self.index()
        if metadata.get("index") != str(index_check(index)):
            raise FeatureError(f"{path} is damaged: its index has a wrong checksum")
        if int(index.offsets[-1]) != frames:
            raise FeatureError(f"{path} is damaged: its index does not fit its values")

    def _read_header(self) -> dict[str, str]:
        size = int.from_bytes(self._bytes(0, 8), "little")
        if not 2 <= size <= _LONGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        header: dict[str, Any] = json.loads(self._bytes(8, size))
        metadata: dict[str, str] = header.pop("__metadata__", {})
        if {name: entry["dtype"] for name, entry in header.items()} != LAYOUT:
            raise FeatureError(f"{self.path} is no feature shard")
        self._shapes = {n: tuple(int(v) for v in entry["shape"]) for n, entry in header.items()}
        self._starts = {n: 8 + size + int(entry["data_offsets"][0]) for n, entry in header.items()}
        items = self._shapes["checks"][0]
        fitting = {"offsets": (items + 1,), "checks": (items,), "keys": (items, DIGEST)}
        if any(self._shapes[name] != shape for name, shape in fitting.items()) or items < 1:
            raise ValueError("its index does not fit together")
        end = max(int(entry["data_offsets"][1]) for entry in header.values())
        if self.path.stat().st_size != 8 + size + end:
            raise ValueError("it is cut short, or too long")
        return metadata

    def _bytes(self, start: int, size: int) -> bytes:
        found = bytearray(size)
        self._fill(memoryview(found), start)
        return bytes(found)

    def _fill(self, view: memoryview, start: int) -> None:
        with self._reading:
            self._file.seek(start)
            while len(view):
                count = self._file.readinto(view)
                if not count:
                    raise FeatureError(f"{self.path} is damaged: it is cut short")
                view = view[count:]

    def _part(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows ``start`` to ``stop`` of a tensor."""
        kind, shape = _TYPES[LAYOUT[name]], self._shapes[name][1:]
        step = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        found: NDArray[Any] = np.empty((stop - start, *shape), kind)
        if found.size:
            self._fill(found.data.cast("B"), self._starts[name] + step * start)
        return found

    def __len__(self) -> int:
        return self._shapes["checks"][0]

    def index(self) -> ShardIndex:
        """Read the index."""
        return ShardIndex(
            self._part("keys", 0, len(self)),
            self._part("offsets", 0, len(self) + 1),
            self._part("checks", 0, len(self)),
        )

    def key(self, row: int) -> bytes:
        """Read the key of an item."""
        return self._part("keys", row, row + 1).tobytes()

    def read(self, row: int) -> FloatArray:
        """Copy the ``(frames, dim)`` array of an item into memory.

        Raises:
            FeatureError: its bytes are not those that were written.
        """
        start, stop = self._part("offsets", row, row + 2)
        (check,) = self._part("checks", row, row + 1)
        return self._values(row, int(start), int(stop), int(check))

    def read_all(self, index: ShardIndex, rows: NDArray[np.intp]) -> Iterator[FloatArray]:
        """Read items one after the other (see `read`).

        Args:
            index: what `index` gave.
            rows: which.
        """
        for row in rows.tolist():
            start, stop = int(index.offsets[row]), int(index.offsets[row + 1])
            yield self._values(row, start, stop, int(index.checks[row]))

    def _values(self, row: int, start: int, stop: int, check: int) -> FloatArray:
        if stop <= start:
            raise FeatureError(f"{self.path} is damaged: item {row} is empty")
        array: FloatArray = self._part("values", start, stop)
        if value_check(array) != check:
            raise FeatureError(f"{self.path} is damaged: item {row} has a wrong checksum")
        return array
