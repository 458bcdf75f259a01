"""Freed memory goes back to the system.

Arrays of many sizes, made and freed in turn, leave gaps between those that stay. The C library
keeps the gaps, so a process grows over hours although it holds nothing.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

__all__ = ["give_back"]


def give_back() -> None:
    """Hand the gaps back, where the C library can (glibc); elsewhere do nothing.

    About a millisecond; nothing is set for later.
    """
    _trimmer()(0)


@cache
def _trimmer() -> Callable[[int], object]:
    if sys.platform != "linux":
        return _nothing
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library, or none that can be asked
        return _nothing
    trim.argtypes = (ctypes.c_size_t,)
    found: Callable[[int], object] = trim
    return found


def _nothing(pad: int) -> None:
    del pad
