"""Locks of files: held by one process, and let go of when it ends, however it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emofuse.errors import UsageError
from emofuse.storage import lock_file

__all__ = ["FileLock", "held"]

POLL_SECONDS = 0.02


class FileLock:
    """A lock that was taken; see `FileLock.take`."""

    def __init__(self, path: Path, stream: IO[str]) -> None:
        self.path, self._stream = path, stream

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """Take a lock at once, or give None where another process, or another caller, has it.

        Raises:
            UsageError: the folder cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            lock_file(stream)
        except OSError:
            stream.close()
            return None
        return cls(path, stream)

    def release(self) -> None:
        """Let go of it."""
        self._stream.close()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock for the block, after waiting for it.

    Raises:
        UsageError: the folder cannot be written.
    """
    while (lock := FileLock.take(path)) is None:
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
