"""One shard: a safetensors file that carries its own index.

Tensors: ``offsets`` (items + 1,) int64; ``checks`` (items,) int64, CRC-32 of each item's bytes;
``keys`` (items, 32) uint8, the digests; ``values`` (frames, dim) float32. The metadata holds the
description of the space and a CRC-32 of keys, offsets and checks. Values stay on disk until they
are asked for; the index of a long shard is mapped, that of a short one kept.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from emofuse.encoders.contract import FloatArray
from emofuse.errors import FeatureError, WorkError
from emofuse.features.shard_file import DIGEST, TYPES, ShardFile

__all__ = ["Shard", "ShardIndex", "index_check", "value_check"]

KEPT_ITEMS = 4096  # the index of a longer shard is mapped: 48 bytes an item
RUN_BYTES = 1 << 20  # items that lie together are read together, up to this


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
    return crc32(np.ascontiguousarray(array, dtype=TYPES["F32"]).data)


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
        try:
            self._file = ShardFile(path)
            frames, self.dim = self._file.shapes["values"]
            index = self._read_index()
            self._index = index if len(self) <= KEPT_ITEMS else self._map_index()
            self._keys = self._index.keys.data.cast("B")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE}:
                raise WorkError(f"too many open files for the shards of {path.parent}") from error
            raise FeatureError(f"{path} is damaged: {error}") from error
        self.nbytes = 4 * frames * self.dim
        if self._file.metadata.get("space") != space:
            raise FeatureError(f"{path} belongs to other features")
        if self._file.metadata.get("index") != str(index_check(index)):
            raise FeatureError(f"{path} is damaged: its index has a wrong checksum")
        if int(index.offsets[-1]) != frames:
            raise FeatureError(f"{path} is damaged: its index does not fit its values")

    def _read_index(self) -> ShardIndex:
        return ShardIndex(*(self._file.whole(name) for name in ("keys", "offsets", "checks")))

    def _map_index(self) -> ShardIndex:
        return ShardIndex(*self._file.mapped("keys", "offsets", "checks"))

    def __len__(self) -> int:
        return self._file.shapes["checks"][0]

    def index(self) -> ShardIndex:
        """Read the index."""
        return self._index if len(self) <= KEPT_ITEMS else self._read_index()

    def key(self, row: int) -> bytes:
        """Give the key of an item."""
        return self._keys[DIGEST * row : DIGEST * (row + 1)].tobytes()

    def has_keys(self, rows: NDArray[np.intp], keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which rows ``(n,)`` have the keys ``(n, 32)`` that stand beside them."""
        alike: NDArray[np.bool_] = (self._index.keys[rows] == keys).all(axis=1)
        return alike

    def read(self, row: int) -> FloatArray:
        """Copy the ``(frames, dim)`` array of an item into memory.

        Raises:
            FeatureError: its bytes are not those that were written.
        """
        offsets = self._index.offsets
        array = self._block(offsets.item(row), offsets.item(row + 1))
        self._check(row, array)
        return array

    def read_many(self, rows: NDArray[np.intp]) -> Iterator[FloatArray]:
        """Read items one after the other (see `read`).

        Items that lie together are read together, and are pieces of one array of up to 1 MB.

        Args:
            rows: which, best in ascending order.
        """
        starts, stops = self._index.offsets[rows], self._index.offsets[rows + 1]
        for first, last in _runs(starts, stops, max(1, RUN_BYTES // (4 * max(self.dim, 1)))):
            base = int(starts[first])
            block = self._block(base, int(stops[last - 1]))
            edges = (stops[first:last] - base).tolist()
            at = 0
            for row, edge in zip(rows[first:last].tolist(), edges, strict=True):
                array = block[at:edge]
                self._check(row, array)
                yield array
                at = edge

    def _block(self, start: int, stop: int) -> FloatArray:
        try:
            block: FloatArray = self._file.part("values", start, max(start, stop))
        except OSError as error:
            raise FeatureError(f"{self.path} cannot be read: {error}") from error
        return block

    def _check(self, row: int, array: FloatArray) -> None:
        if not len(array):
            raise FeatureError(f"{self.path} is damaged: item {row} is empty")
        if crc32(array.data) != self._index.checks.item(row):
            raise FeatureError(f"{self.path} is damaged: item {row} has a wrong checksum")


def _runs(
    starts: NDArray[np.int64], stops: NDArray[np.int64], most: int
) -> Iterator[tuple[int, int]]:
    """Cut items into runs that lie together, of at most ``most`` frames or one item."""
    breaks = np.flatnonzero(starts[1:] != stops[:-1]) + 1
    first = 0
    for end in (*breaks.tolist(), len(starts)):
        while first < end:
            limit = int(np.searchsorted(stops[first:end], starts[first] + most, side="right"))
            last = first + max(1, limit)
            yield first, last
            first = last
