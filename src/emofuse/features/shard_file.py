"""The file of a shard: its header, and its tensors read or mapped piece by piece."""

from __future__ import annotations

import json
import mmap
import os
import weakref
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import FeatureError

__all__ = ["DIGEST", "LAYOUT", "TYPES", "ShardFile"]

DIGEST = 32  # bytes of a key
LAYOUT = {"offsets": "I64", "checks": "I64", "keys": "U8", "values": "F32"}
TYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "F32": np.dtype("<f4"),
}
_KINDS = {name: TYPES[kind] for name, kind in LAYOUT.items()}
_LONGEST_HEADER = 1 << 20
_AT_ONCE = hasattr(os, "preadv")  # without a seek, so without a lock


class ShardFile:
    """A safetensors file of the tensors in `LAYOUT`, held open.

    Args:
        path: the file.

    Attributes:
        metadata: what the header holds beside the tensors.
        shapes: name -> shape.

    Raises:
        FeatureError, OSError, ValueError, KeyError, TypeError, AttributeError: it is no such file,
            cut short, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reading = Lock()
        self._file = path.open("rb", buffering=0)
        self._handle = self._file.fileno()
        weakref.finalize(self, self._file.close)
        size = int.from_bytes(self._bytes(0, 8), "little")
        if not 2 <= size <= _LONGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        header: dict[str, Any] = json.loads(self._bytes(8, size))
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        if {name: entry["dtype"] for name, entry in header.items()} != LAYOUT:
            raise FeatureError(f"{path} is no feature shard")
        self.shapes = {n: tuple(int(v) for v in entry["shape"]) for n, entry in header.items()}
        self._starts = {n: 8 + size + int(entry["data_offsets"][0]) for n, entry in header.items()}
        self._check(8 + size + max(int(entry["data_offsets"][1]) for entry in header.values()))

    def _check(self, end: int) -> None:
        items = self.shapes["checks"][0]
        fitting = {"offsets": (items + 1,), "checks": (items,), "keys": (items, DIGEST)}
        if any(self.shapes[name] != shape for name, shape in fitting.items()) or items < 1:
            raise ValueError("its index does not fit together")
        if self.path.stat().st_size != end:
            raise ValueError("it is cut short, or too long")

    def _bytes(self, start: int, size: int) -> bytes:
        found = bytearray(size)
        self._fill(memoryview(found), start)
        return bytes(found)

    def _fill(self, view: memoryview, start: int) -> None:
        while size := len(view):
            count = self._read_into(view, start)
            if count == size:
                return
            if not count:
                raise FeatureError(f"{self.path} is damaged: it is cut short")
            view, start = view[count:], start + count

    def _read_into(self, view: memoryview, start: int) -> int | None:
        if _AT_ONCE:
            return os.preadv(self._handle, (view,), start)
        with self._reading:
            self._file.seek(start)
            return self._file.readinto(view)

    def part(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows ``start`` to ``stop`` of a tensor.

        Raises:
            FeatureError: the file is cut short.
            OSError: it cannot be read.
        """
        found: NDArray[Any] = np.empty((stop - start, *self.shapes[name][1:]), _KINDS[name])
        size = found.nbytes
        if size:
            begin = self._starts[name] + size // (stop - start) * start
            self._fill(found.data.cast("B"), begin)
        return found

    def whole(self, name: str) -> NDArray[Any]:
        """Read a tensor (see `part`)."""
        return self.part(name, 0, self.shapes[name][0])

    def mapped(self, *names: str) -> list[NDArray[Any]]:
        """Map tensors into memory, for reading only.

        Raises:
            OSError: the system has no room for another mapping.
        """
        sizes = {n: int(np.prod(self.shapes[n], dtype=np.int64)) for n in names}
        end = max(self._starts[n] + sizes[n] * _KINDS[n].itemsize for n in names)
        memory = mmap.mmap(self._file.fileno(), end, access=mmap.ACCESS_READ)
        return [
            np.frombuffer(memory, _KINDS[n], sizes[n], self._starts[n]).reshape(self.shapes[n])
            for n in names
        ]
