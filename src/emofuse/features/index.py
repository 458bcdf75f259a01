"""Where each feature of a space lies: 16 bytes an item in memory."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emofuse.features.shard import Shard
from emofuse.features.shard_file import DIGEST

__all__ = ["SpaceIndex"]

_Found = tuple[Shard, NDArray[np.intp], NDArray[np.intp]]


class SpaceIndex:
    """Finds digests among the shards of one space.

    Kept in memory are the first 8 bytes of each digest, in order, with the shard and row they
    stand for; a hit is compared with the whole digest in the file.

    Attributes:
        shards: file name -> shard.
    """

    def __init__(self) -> None:
        self.shards: dict[str, Shard] = {}
        self._numbers: dict[int, Shard] = {}
        self._next = 0
        self._heads: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._shard: NDArray[np.int32] = np.empty(0, np.int32)
        self._row: NDArray[np.int32] = np.empty(0, np.int32)

    def add(self, shard: Shard) -> None:
        """Take a shard in."""
        keys = shard.index().keys
        heads = np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]
        order = np.argsort(heads, kind="stable")
        places = np.searchsorted(self._heads, heads[order], side="right")
        number = np.full(len(order), self._next, np.int32)
        self._heads = np.insert(self._heads, places, heads[order])
        self._shard = np.insert(self._shard, places, number)
        self._row = np.insert(self._row, places, order.astype(np.int32))
        self.shards[shard.path.name] = shard
        self._numbers[self._next] = shard
        self._next += 1

    def drop(self, *names: str) -> None:
        """Forget shards."""
        gone = [number for number, shard in self._numbers.items() if shard.path.name in names]
        keep = ~np.isin(self._shard, gone)
        self._heads, self._shard = self._heads[keep], self._shard[keep]
        self._row = self._row[keep]
        for number in gone:
            del self.shards[self._numbers.pop(number).path.name]

    def find(self, digest: bytes) -> tuple[Shard, int] | None:
        """Give the shard and row of a digest of 32 bytes."""
        head = int.from_bytes(digest[:8], sys.byteorder)
        heads = self._heads.data
        place, end = bisect_left(heads, head), len(heads)
        while place < end and heads[place] == head:
            shard, row = self._numbers[self._shard.item(place)], self._row.item(place)
            if shard.key(row) == digest:
                return shard, row
            place += 1
        return None

    def find_many(self, digests: Sequence[bytes]) -> list[_Found]:
        """Find many digests of 32 bytes.

        Returns:
            For each shard that holds some: its rows in ascending order, and the places of their
            digests in ``digests``.
        """
        keys = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST)
        heads = np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]
        first = np.searchsorted(self._heads, heads)
        inside = np.flatnonzero(first < len(self._heads))
        likely = inside[self._heads[first[inside]] == heads[inside]]
        numbers = self._shard[first[likely]]
        rows = self._row[first[likely]].astype(np.intp)
        found: list[_Found] = []
        for number in np.unique(numbers).tolist():
            shard, here = self._numbers[number], np.flatnonzero(numbers == number)
            here = here[np.argsort(rows[here], kind="stable")]
            alike = shard.has_keys(rows[here], keys[likely[here]])
            found.append((shard, rows[here][alike], likely[here][alike]))
            found.extend(self._behind(digests, likely[here][~alike].tolist()))
        return found

    def _behind(self, digests: Sequence[bytes], places: Sequence[int]) -> list[_Found]:
        """Find digests before which another lies that begins alike."""
        found: list[_Found] = []
        for place in places:
            hit = self.find(digests[place])
            if hit is not None:
                found.append((hit[0], np.array([hit[1]]), np.array([place])))
        return found

    def __len__(self) -> int:
        """Count different items (digests that share their first 8 bytes count as one)."""
        return int(np.count_nonzero(np.diff(self._heads))) + 1 if len(self._heads) else 0
