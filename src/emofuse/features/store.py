"""The feature store: arrays filed by content, in shards that are read piece by piece.

A space (one encoder, revision and set of options) is a folder; every shard in it carries its own
index, so there is no file that two writers could both want, and the index of a space is what its
shards say. A shard is written once, under a name of its own, atomically. A shard that is cut short
or damaged is named in `FeatureStore.damaged`, set aside, and its features count as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from emofuse.encoders.contract import FloatArray
from emofuse.errors import FeatureError, shorten
from emofuse.features.index import SpaceIndex
from emofuse.features.keys import FeatureKey, FeatureSpace
from emofuse.features.shard import Shard
from emofuse.features.shard_writing import merge_shards, write_shard
from emofuse.storage import write_json

__all__ = ["DEFAULT_STORE", "FeatureStore"]

DEFAULT_STORE = Path(".emofuse/features")
"""Where the commands keep features unless told."""

SHARD_BYTES = 64 << 20  # a merged shard is not made larger
SHARD_ITEMS = 1 << 16
MANY_SHARDS = 8  # more small shards than this are merged at the end of an encoding


class FeatureStore:
    """Features on disk, by content.

    Args:
        folder: where they lie; made when something is first written.

    Attributes:
        damaged: shards found damaged so far, and what is wrong with each.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.damaged: dict[Path, str] = {}
        self._spaces: dict[FeatureSpace, SpaceIndex] = {}
        if self.folder.exists() and not self.folder.is_dir():
            raise FeatureError(f"{self.folder} is a file; a feature store is a folder")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, FeatureKey) and self._index(key.space).find(key.digest) is not None

    def count(self, space: FeatureSpace) -> int:
        """Count the arrays of a space."""
        return len(self._index(space))

    def get(self, key: FeatureKey) -> FloatArray | None:
        """Read the ``(frames, dim)`` array of a key; None where the store has none."""
        index = self._index(key.space)
        while (place := index.find(key.digest)) is not None:
            shard, row = place
            try:
                return shard.read(row)
            except FeatureError as error:
                index.drop(shard.path.name)
                self._set_aside(shard.path, error)
        return None

    def get_many(self, keys: Sequence[FeatureKey]) -> list[FloatArray | None]:
        """Read the arrays of many keys, in the order in which they lie on the disk.

        Small arrays that lie together are pieces of one array (of up to 1 MB).

        Returns:
            One ``(frames, dim)`` array a key; None where the store has none.
        """
        found: list[FloatArray | None] = [None] * len(keys)
        spaces: dict[FeatureSpace, list[int]] = {}
        for place, key in enumerate(keys):
            spaces.setdefault(key.space, []).append(place)
        for space, wanted in spaces.items():
            places = wanted
            while places:  # again what a shard lost that turned out damaged
                places = self._get_here(space, keys, places, found)
        return found

    def _get_here(
        self,
        space: FeatureSpace,
        keys: Sequence[FeatureKey],
        places: Sequence[int],
        found: list[FloatArray | None],
    ) -> list[int]:
        """Read keys of one space into ``found``; give the places of those in a damaged shard."""
        index, lost = self._index(space), []
        for shard, rows, hits in index.find_many([keys[place].digest for place in places]):
            here = [places[hit] for hit in hits.tolist()]
            try:
                for place, array in zip(here, shard.read_many(rows), strict=True):
                    found[place] = array
            except FeatureError as error:
                if shard.path.name in index.shards:
                    index.drop(shard.path.name)
                    self._set_aside(shard.path, error)
                lost += here
                for place in here:
                    found[place] = None
        return lost

    def put_many(self, entries: Iterable[tuple[FeatureKey, FloatArray]]) -> int:
        """Store arrays, one shard a space; what is there already is passed over.

        Args:
            entries: keys with ``(frames, dim)`` float32 arrays, at least one frame each.

        Returns:
            How many arrays were new.

        Raises:
            FeatureError: an array that is empty, not two-dimensional or not finite.
            WorkError: the folder cannot be written.
        """
        fresh: dict[FeatureSpace, dict[bytes, FloatArray]] = {}
        for key, array in entries:
            _check_array(key, array)
            digest = key.digest
            if self._index(key.space).find(digest) is None:
                fresh.setdefault(key.space, {})[digest] = array
        for space, arrays in fresh.items():
            self._write(space, list(arrays), list(arrays.values()))
        return sum(len(arrays) for arrays in fresh.values())

    def _write(
        self, space: FeatureSpace, digests: Sequence[bytes], arrays: Sequence[FloatArray]
    ) -> None:
        path = self._new_shard(space)
        write_shard(path, space.text, digests, arrays)
        self._take(space, self._index(space), path)

    def _take(self, space: FeatureSpace, index: SpaceIndex, path: Path) -> None:
        try:
            index.add(Shard(path, space.text))
        except FeatureError:
            if path.exists():
                raise
            self._scan(space, index)  # another process has just merged it

    def _new_shard(self, space: FeatureSpace) -> Path:
        folder = self.folder / space.folder
        if not (folder / "space.json").exists():
            write_json(folder / "space.json", space.description)
        return folder / f"shard-{uuid4().hex}.safetensors"

    def refresh(self) -> None:
        """Look again at the disk: another process may have added or merged shards."""
        for space, index in self._spaces.items():
            self._scan(space, index)

    def _index(self, space: FeatureSpace) -> SpaceIndex:
        if space not in self._spaces:
            self._spaces[space] = SpaceIndex()
            self._scan(space, self._spaces[space])
        return self._spaces[space]

    def _scan(self, space: FeatureSpace, index: SpaceIndex) -> None:
        for path in sorted((self.folder / space.folder).glob("shard-*.safetensors")):
            if path.name in index.shards or path in self.damaged:
                continue
            try:
                index.add(Shard(path, space.text))
            except FeatureError as error:
                if path.exists():  # else another process has just merged it
                    self._set_aside(path, error)

    def _set_aside(self, path: Path, error: FeatureError) -> None:
        self.damaged[path] = str(error)
        with suppress(OSError):  # a read-only store: passed over on every reading
            path.replace(path.with_name(path.name + ".damaged"))

    def compact(self, space: FeatureSpace, many: int = MANY_SHARDS) -> int:
        """Merge the small shards of a space, once there are more than ``many``.

        A shard is deleted only after one that holds all of it is on the disk, so a kill, a reader
        or a second writer loses nothing. Items are copied one by one: memory does not grow with
        what is merged.

        Returns:
            How many shards were merged.
        """
        self.refresh()
        index = self._index(space)
        small = [
            s
            for s in index.shards.values()
            if s.nbytes < SHARD_BYTES // 2 and len(s) < SHARD_ITEMS // 2
        ]
        if len(small) <= many:
            return 0
        for group in _groups(small):
            self._merge(space, index, group)
        return len(small)

    def _merge(self, space: FeatureSpace, index: SpaceIndex, group: Sequence[Shard]) -> None:
        path = self._new_shard(space)
        try:
            merge_shards(path, space.text, group)
        except FeatureError:
            return  # left as it is: reading it will name the damage
        self._take(space, index, path)
        index.drop(*(shard.path.name for shard in group))
        for shard in group:
            with suppress(OSError):
                shard.path.unlink()


def _groups(shards: Sequence[Shard]) -> list[list[Shard]]:
    """Put shards together until a group reaches the size of a large shard."""
    groups: list[list[Shard]] = [[]]
    size = items = 0
    for shard in shards:
        size += shard.nbytes
        items += len(shard)
        groups[-1].append(shard)
        if size >= SHARD_BYTES or items >= SHARD_ITEMS:
            groups.append([])
            size = items = 0
    return [group for group in groups if len(group) > 1]


def _check_array(key: FeatureKey, array: FloatArray) -> None:
    if array.ndim != 2 or not array.size:
        raise FeatureError(
            f"{shorten(key.content)}: an array of shape {array.shape} is no (frames, dim)"
        )
    if not np.isfinite(array).all():
        raise FeatureError(f"{shorten(key.content)}: the features hold NaN or infinity")
