"""Feature arrays on disk: ``.npy`` files of ``(frames, dim)`` numbers, never pickled objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.errors import MediaError
from emofuse.media.audio import is_lfs_pointer

__all__ = ["ARRAY_EXTENSION", "read_array", "reason"]

ARRAY_EXTENSION = ".npy"


def read_array(path: Path) -> NDArray[Any]:
    """Open an array without reading its numbers (they are mapped into memory).

    Args:
        path: of a ``.npy`` file.

    Returns:
        ``(frames, dim)``; a single vector becomes one frame.

    Raises:
        MediaError: missing, a Git-LFS pointer, no array of numbers, or without frames.
    """
    try:
        if path.is_file() and is_lfs_pointer(path):
            raise MediaError(f"{path} is a Git-LFS pointer, not an array; run: git lfs pull")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(f"{path} is no .npy array that can be read: {reason(error)}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim > 2:
        shape = getattr(array, "shape", "several arrays")
        raise MediaError(f"{path} holds {shape}; expected numbers, (frames, dim)")
    if not array.size:
        raise MediaError(f"{path} holds no frame (shape {array.shape})")
    return np.atleast_2d(array)


def reason(error: Exception) -> str:
    """Say why NumPy could not read an array; its advice to load pickles unsafely is left out."""
    if "pickle" in str(error):
        return "it holds objects, or is no array at all"
    return getattr(error, "strerror", None) or str(error)
