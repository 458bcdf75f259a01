"""Read old feature pickles without executing them.

The unpickler here knows a closed list of names, and none of them stands for what it stood for when
the file was written: each is a small class or function of this module that takes in plain data and
checks it. NumPy arrays and scalars and PyTorch CPU tensors are rebuilt from their raw bytes, so
neither NumPy's nor PyTorch's own reconstruction runs. Every other name is refused, by name.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import FeatureError, shorten

__all__ = ["plain", "read_pickle"]

MAX_BYTES = 8 << 30
COPIES = 4  # copies of the whole file that reading it may make
MAX_MEMO = 50_000_000
MAX_DIMENSIONS = 4
_MEMO_OPS = ("PUT", "BINPUT", "LONG_BINPUT")
_EXTENSIONS = ("EXT1", "EXT2", "EXT4")


class _RefusedError(FeatureError):
    """Something that a feature pickle has no need of."""


class _DType:
    """Stands for ``numpy.dtype``: numbers, truth values and fixed-length text only."""

    def __init__(self, code: str = "", *args: object) -> None:
        self.code = code
        self.order: Any = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"an array type with byte order {shorten(order)}")
        self.order = order

    def resolve(self) -> np.dtype[Any]:
        """Give the NumPy type."""
        if not isinstance(self.code, str) or self.code[:1] not in "fiubUS":
            raise _RefusedError(
                f"an array of type {shorten(self.code)}: only numbers and text are read"
            )
        try:
            return np.dtype(self.code).newbyteorder(self.order)
        except (TypeError, ValueError) as error:
            raise _RefusedError(f"an array of type {shorten(self.code)}") from error


class _Array:
    """Stands for ``numpy.ndarray``; the state that follows says what is in it."""

    value: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray | str):
        raise _RefusedError("an array whose values are objects")
    data = raw.encode("latin-1") if isinstance(raw, str) else bytes(raw)
    kind = dtype.resolve()
    sizes = _sizes(shape)
    if len(data) != int(np.prod(sizes, dtype=object)) * kind.itemsize:
        raise _RefusedError(f"{len(data)} bytes for an array of shape {sizes}")
    if kind.itemsize == 0:
        return np.zeros(sizes, kind)
    return np.frombuffer(data, kind).reshape(sizes, order="F" if order == "F" else "C")


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise _RefusedError(f"an array of shape {shorten(shape)}")
    if not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise _RefusedError(f"an array of shape {shorten(shape)}")
    return shape


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _Array:
        raise _RefusedError("an array of a class of its own")
    return _Array()


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _from_bytes(raw, dtype, (), "C").item()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _from_bytes(bytes(raw), dtype, shape, order)
    return array


def _empty(kind: Callable[[], Any]) -> Callable[..., Any]:
    """Give a function that makes an empty container and refuses to fill one by copying."""

    def make(*arguments: Any) -> Any:
        if arguments:
            raise _RefusedError(f"a call of {kind.__name__}")
        return kind()

    return make


class _StorageType:
    """Stands for a storage class of PyTorch."""

    def __init__(self, code: str) -> None:
        self.code = code


_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Array:
    sizes, steps = _sizes(size), _sizes(stride)
    if not isinstance(storage, np.ndarray) or type(offset) is not int or len(sizes) != len(steps):
        raise _RefusedError("a tensor without a storage")
    last = offset + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
    if offset < 0 or (min(sizes, default=1) > 0 and last >= len(storage)):
        raise _RefusedError("a tensor that reaches beyond its storage")
    if int(np.prod(sizes, dtype=object)) > len(storage):
        raise _RefusedError("a tensor that repeats its storage")
    array = _Array()
    strides = tuple(step * storage.itemsize for step in steps)
    array.value = np.lib.stride_tricks.as_strided(storage[offset:], sizes, strides)
    return array


def _known_names() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("collections", "OrderedDict"): _empty(OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        names[f"{core}.multiarray", "scalar"] = _scalar
        names[f"{core}.numeric", "_frombuffer"] = _frombuffer
    for module in ("builtins", "__builtin__"):
        names[module, "bytes"] = _empty(bytes)
    names.update({("torch", name): _StorageType(code) for name, code in _STORAGES.items()})
    return names


_NAMES: Mapping[tuple[str, str], Any] = _known_names()


class _Unpickler(pickle.Unpickler):
    """Knows the names above and no others.

    Args:
        stream: the pickle.
        budget: bytes that it may copy, so that a small file cannot fill the memory.
    """

    def __init__(self, stream: io.BytesIO | io.BufferedReader, budget: int) -> None:
        super().__init__(stream)
        self._budget = budget

    def find_class(self, module: str, name: str) -> Any:
        """Give what stands for a name here."""
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._load_storage
        found = _NAMES.get((module, name))
        if found is None:
            raise _RefusedError(f"the name {shorten(f'{module}.{name}')}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Admit a reference to a PyTorch storage (inside a tensor), nothing else."""
        if isinstance(pid, tuple) and len(pid) > 1 and isinstance(pid[1], _StorageType):
            return pid[1]
        raise _RefusedError("a reference to something outside the file")

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise _RefusedError("the same bytes copied over and over")

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _RefusedError(f"text in {shorten(encoding)}")
        self._spend(len(text))
        return text.encode("latin-1")

    def _load_storage(self, raw: Any) -> NDArray[Any]:
        """Read a storage as PyTorch pickles it: five pickles, a length, the raw values."""
        if not isinstance(raw, bytes):
            raise _RefusedError("a tensor without bytes")
        self._spend(len(raw))
        stream = io.BytesIO(raw)
        _check_grammar(stream, count=5)
        parts = [_Unpickler(stream, len(raw)).load() for _ in range(5)]
        storage, keys = parts[3], parts[4]
        if not isinstance(storage, _StorageType) or not isinstance(keys, list) or len(keys) != 1:
            raise _RefusedError("a tensor that is no plain storage")
        kind = np.dtype("u2" if storage.code == "bf16" else storage.code).newbyteorder("<")
        count = int.from_bytes(stream.read(8), "little")
        if count * kind.itemsize != len(raw) - stream.tell():
            raise _RefusedError("a tensor whose storage is cut short")
        values: NDArray[Any] = np.frombuffer(raw, kind, count, stream.tell())
        if storage.code == "bf16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values


def _check_grammar(stream: io.BytesIO | io.BufferedReader, count: int = 1) -> None:
    """Walk the pickle's instructions before anything runs: whole, and without memory bombs."""
    start = stream.tell()
    for _ in range(count):
        for opcode, argument, _place in pickletools.genops(stream):
            if opcode.name in _MEMO_OPS and int(str(argument)) > MAX_MEMO:
                raise _RefusedError("a memo of absurd size")
            if opcode.name in _EXTENSIONS:
                raise _RefusedError("a registered extension")
    stream.seek(start)


def read_pickle(path: Path) -> Any:
    """Read a pickle of arrays and plain containers; nothing in it is executed.

    Returns:
        Lists, dicts, tuples and plain values; arrays stay wrapped until `plain` opens them.

    Raises:
        FeatureError: missing, cut short, over 8 GiB, or holding anything else, which is named.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise FeatureError(f"{path} is over {MAX_BYTES >> 30} GiB; split it")
        with path.open("rb") as stream:
            _check_grammar(stream)
            return _Unpickler(stream, COPIES * size).load()
    except _RefusedError as error:
        raise FeatureError(
            f"{path} holds {error}, which no list of features needs; it was not executed. "
            "Export the arrays as .npy and import those"
        ) from error
    except OSError as error:
        raise FeatureError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:
        raise FeatureError(f"{path} is no pickle that can be read: {error}") from error


def plain(value: Any) -> Any:
    """Open what `read_pickle` wrapped: an array, a scalar or a plain value.

    Raises:
        FeatureError: an array that was begun but never filled.
    """
    if isinstance(value, _Array):
        if value.value is None:
            raise FeatureError("an array without values")
        return value.value
    return value
