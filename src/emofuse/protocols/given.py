"""Folds that a JSON file lists: a run's own ``folds.json``, or test lists by file stem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from emofuse.errors import ProtocolError, shorten
from emofuse.manifest import Manifest
from emofuse.protocols.contract import Fold, Protocol, ProtocolOptions
from emofuse.protocols.dev import make_fold
from emofuse.storage import read_json

__all__ = ["Given", "GivenOptions"]

PARTS = ("train", "dev", "test")


class GivenOptions(ProtocolOptions):
    """Options of `Given`.

    Attributes:
        path: JSON file, ``{"folds": [{"name" or "fold", "test": [...], "train": [...], "dev":
            [...]}]}``; without train, everything outside test and dev is learnt from; without dev,
            it is cut from train by group.
        missing: what to do about listed ids that the labelled manifest lacks: ``error``, or
            ``skip`` (where the label scheme dropped them on purpose).
    """

    path: Path
    missing: Literal["error", "skip"] = "error"


class Given(Protocol):
    """Folds from a list; nothing may overlap unless ``allow`` says so."""

    options_type: ClassVar[type[ProtocolOptions]] = GivenOptions

    def __init__(self, options: GivenOptions) -> None:
        super().__init__(options)
        self._path, self._skip = options.path, options.missing == "skip"

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Read the folds.

        Ids are utterance ids, or stems of the utterances' files.

        Raises:
            ProtocolError: the file is no list of folds, names ids that the manifest lacks, or
                a stem that several utterances have.
        """
        names = _Names(manifest)
        entries = _entries(self._path)
        parts = [
            {part: names.find(entry[part]) for part in PARTS if part in entry} for entry in entries
        ]
        if names.unknown and not self._skip:
            raise ProtocolError(
                f"{self._path} lists {len(names.unknown):,} ids that the labelled manifest lacks "
                f"(first {shorten(min(names.unknown))}); prepare the whole corpus, or set "
                "missing=skip where the label scheme drops them"
            )
        return [
            self._fold(_name(entry, number), part, manifest, number)
            for number, (entry, part) in enumerate(zip(entries, parts, strict=True))
        ]

    def _fold(
        self, name: str, part: Mapping[str, Sequence[str]], manifest: Manifest, number: int
    ) -> Fold:
        test, dev = tuple(part["test"]), tuple(part.get("dev", ()))
        if not test:
            raise ProtocolError(f"{self._path}, {name}: no listed test id is in the manifest")
        held = {*test, *dev}
        train = tuple(part["train"]) if "train" in part else None
        if dev:
            rest = tuple(sorted(u.id for u in manifest if u.id not in held))
            return Fold(name, rest if train is None else train, dev, test, "given")
        learn = manifest if train is None else manifest.select(train)
        if train is not None and held & set(train):
            clash = min(held & set(train))
            raise ProtocolError(f"{self._path}, {name}: {shorten(clash)} is in train and in test")
        kept = (u for u in learn if u.id not in held)
        return make_fold(name, kept, manifest.select(test), self.options, number)


class _Names:
    """Finds utterances by id or by the stem of their file; keeps what it did not find."""

    def __init__(self, manifest: Manifest) -> None:
        self._ids = set(manifest.ids)
        self._stems: dict[str, list[str]] = {}
        self.unknown: set[str] = set()
        for utterance in manifest:
            media = utterance.audio or utterance.video
            stem = PurePosixPath(media).stem if media else utterance.id.rpartition("/")[2]
            self._stems.setdefault(stem, []).append(utterance.id)

    def find(self, listed: Iterable[str]) -> list[str]:
        found: list[str] = []
        for name in listed:
            if name in self._ids:
                found.append(name)
                continue
            owners = self._stems.get(name, self._stems.get(PurePosixPath(name).stem, []))
            if len(owners) > 1:
                raise ProtocolError(
                    f"{shorten(name)} is the file stem of {len(owners)} utterances "
                    f"({owners[0]}, {owners[1]}, ...); list utterance ids"
                )
            if owners:
                found.append(owners[0])
            else:
                self.unknown.add(name)
        return list(dict.fromkeys(found))


def _entries(path: Path) -> list[Mapping[str, Any]]:
    data = read_json(path)
    folds = data.get("folds") if isinstance(data, Mapping) else None
    if not isinstance(folds, list) or not folds:
        raise ProtocolError(f'{path} lists no folds; expected {{"folds": [{{"test": [...]}}]}}')
    for number, entry in enumerate(folds, start=1):
        if not isinstance(entry, Mapping) or "test" not in entry:
            raise ProtocolError(f'{path}, fold {number}: expected an object with "test"')
        for part in PARTS:
            ids = entry.get(part, [])
            if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
                raise ProtocolError(f"{path}, fold {number}: {part} must be a list of ids")
    return folds


def _name(entry: Mapping[str, Any], number: int) -> str:
    if isinstance(entry.get("name"), str):
        return str(entry["name"])
    return f"fold {entry.get('fold', number + 1)}"
