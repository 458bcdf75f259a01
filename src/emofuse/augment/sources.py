"""Folders of noises and of impulse responses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock

import numpy as np

from emofuse.errors import MediaError
from emofuse.media.audio import AUDIO_EXTENSIONS, FloatArray, read_audio
from emofuse.storage import sha256_file

__all__ = ["Sources"]

DIGITS = 16
REMEMBERED = 32  # sounds that are kept at hand
LONGEST_REMEMBERED = 1 << 20  # samples


class Sources:
    """Where recorded noises and impulse responses lie.

    Args:
        noise: folder of noises. Of a copy of MUSAN its part ``noise`` is taken: never speech.
        responses: folder of impulse responses.
        voices: root of a corpus whose utterances make a babble.
    """

    def __init__(
        self,
        noise: Path | str | None = None,
        responses: Path | str | None = None,
        voices: Path | str | None = None,
    ) -> None:
        self._folders = {
            "noise": None if noise is None else _environment(Path(noise)),
            "responses": None if responses is None else Path(responses),
            "voices": None if voices is None else Path(voices),
        }
        self._memory: OrderedDict[object, FloatArray] = OrderedDict()
        self._lock = Lock()

    def has(self, kind: str) -> bool:
        """Tell whether there is a folder of this kind (``noise``, ``responses``)."""
        return self._folders[kind] is not None

    @cached_property
    def noises(self) -> tuple[str, ...]:
        """Noise files below their folder, sorted.

        Raises:
            MediaError: there is none.
        """
        return self._list("noise")

    @cached_property
    def responses(self) -> tuple[str, ...]:
        """Impulse responses below their folder, sorted.

        Raises:
            MediaError: there is none.
        """
        return self._list("responses")

    def _list(self, kind: str) -> tuple[str, ...]:
        folder = self._folder(kind)
        found = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in AUDIO_EXTENSIONS and path.is_file()
        )
        if not found:
            raise MediaError(f"{folder} holds no audio to take as {kind}")
        return tuple(found)

    def _folder(self, kind: str) -> Path:
        folder = self._folders[kind]
        if folder is None:
            raise MediaError(f"no folder of {kind} is given; set augment.{kind}")
        return folder

    def digest(self, kind: str, name: str) -> str:
        """Give the first 16 hexadecimal digits of a file's SHA-256."""
        return _digest(self._folder(kind) / name)

    def read(
        self,
        kind: str,
        name: str,
        sha256: str | None,
        rate: int,
        part: tuple[float | None, float | None] = (None, None),
    ) -> FloatArray:
        """Read a file that a record names, or a part of it (seconds from and to).

        Raises:
            MediaError: it cannot be read, lies outside the folder, or has changed since.
        """
        folder = self._folder(kind)
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise MediaError(f"{name} leaves the folder {folder}")
        if not path.is_file():
            raise MediaError(f"{path} is missing; a record of augmentation names it")
        if sha256 is not None and _digest(path) != sha256:
            raise MediaError(f"{path} has changed since it was recorded (hash {sha256})")
        key = (kind, name, sha256, rate, part)
        return self.recall(key, lambda: read_audio(path, rate, *part))

    def recall(self, key: object, make: Callable[[], FloatArray]) -> FloatArray:
        """Make a sound, or give it again if it is among the last that were made.

        Args:
            key: what it is made of; equal keys stand for equal samples.
            make: makes it. The array is shared: it must not be changed.
        """
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        found = make()
        if len(found) <= LONGEST_REMEMBERED:
            found.setflags(write=False)
            with self._lock:
                self._memory[key] = found
                while len(self._memory) > REMEMBERED:
                    self._memory.popitem(last=False)
        return found


def _environment(folder: Path) -> Path:
    inner = folder / "noise"
    return inner if inner.is_dir() and (folder / "speech").is_dir() else folder


@lru_cache(maxsize=4096)
def _digest(path: Path) -> str:
    return sha256_file(path)[:DIGITS]


def looped(wave: FloatArray, samples: int, offset: float) -> FloatArray:
    """Take ``samples`` from a share of the way into a sound on, beginning again at its end."""
    start = int(offset * len(wave))
    return np.take(wave, np.arange(start, start + samples), mode="wrap")
