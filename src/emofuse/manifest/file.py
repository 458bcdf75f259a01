"""A manifest that stays on disk, for work that takes one utterance after the other."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from emofuse.errors import ManifestError
from emofuse.manifest.reading import Lines, resolve_media, twice
from emofuse.manifest.utterance import Utterance

__all__ = ["ManifestFile"]


class ManifestFile:
    """A manifest of which only one utterance at a time is in memory.

    Opening it reads it once from end to end, checking every line and that no id occurs twice; each
    iteration reads it again. While it is opened it costs 8 bytes an utterance, afterwards nothing.

    Args:
        path: the JSONL file.
        root: where the media are, when not where the header says.

    Attributes:
        root: folder that media paths are relative to.

    Raises:
        ManifestError: the first bad line or id, by file and line number; or (on iterating) the file
            is no longer the one that was checked.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self._path = path
        lines = Lines(path)
        digests = array("Q", (_digest(utterance.id) for _, utterance in lines))
        self._state = self._look()
        self._count = len(digests)
        self.root = Path(root) if root is not None else lines.root
        _refuse_doubles(path, digests)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Utterance]:
        if self._look() != self._state:
            raise ManifestError(f"{self._path} changed while it was in use; start again")
        return (utterance for _, utterance in Lines(self._path))

    def path(self, relative: str) -> Path:
        """Resolve a media path (see `Manifest.path`)."""
        return resolve_media(self.root, relative)

    def _look(self) -> tuple[int, int]:
        try:
            state = self._path.stat()
        except OSError as error:
            raise ManifestError(f"cannot read {self._path}: {error.strerror or error}") from error
        return state.st_size, state.st_mtime_ns


def _digest(name: str) -> int:
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _refuse_doubles(path: Path, digests: array[int]) -> None:
    import numpy as np

    ordered = np.sort(np.frombuffer(digests, np.uint64))
    alike = {int(value) for value in ordered[1:][ordered[1:] == ordered[:-1]]}
    if not alike:
        return
    seen: dict[str, int] = {}
    for number, utterance in Lines(path):
        if _digest(utterance.id) not in alike:
            continue
        if utterance.id in seen:
            raise twice(path, number, utterance.id, seen[utterance.id])
        seen[utterance.id] = number
