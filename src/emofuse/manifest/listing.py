"""A manifest in memory."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from emofuse.errors import ManifestError, shorten
from emofuse.labels import LabelScheme
from emofuse.manifest.reading import Lines, resolve_media, twice
from emofuse.manifest.utterance import Utterance
from emofuse.storage import write_text

__all__ = ["Manifest"]


class Manifest(Sequence[Utterance]):
    """Utterances in order, with the root that their paths start from.

    Args:
        utterances: the utterances; ids must differ.
        root: folder that media paths are relative to.

    Raises:
        ManifestError: an id occurs twice.

    >>> manifest = Manifest([Utterance(id="a", text="hello", emotion="happy")], Path("."))
    >>> len(manifest), manifest["a"].emotion
    (1, 'happiness')
    """

    def __init__(self, utterances: Iterable[Utterance], root: Path) -> None:
        self._utterances = tuple(utterances)
        self.root = Path(root)
        self._places = {u.id: place for place, u in enumerate(self._utterances)}
        if len(self._places) < len(self._utterances):
            counts = Counter(u.id for u in self._utterances)
            doubles = [name for name, count in counts.items() if count > 1]
            raise ManifestError(
                f"id {shorten(doubles[0])} occurs {counts[doubles[0]]} times "
                f"({len(doubles)} such ids); ids must be unique"
            )

    def __len__(self) -> int:
        return len(self._utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self._utterances)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._places:
                raise ManifestError(f"no utterance {shorten(key)} in the manifest")
            return self._utterances[self._places[key]]
        return self._utterances[key]

    def __contains__(self, key: object) -> bool:
        return key in self._places if isinstance(key, str) else key in self._utterances

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id, in order."""
        return tuple(u.id for u in self._utterances)

    def filter(self, keep: Callable[[Utterance], bool]) -> Manifest:
        """Give a manifest of the utterances that ``keep`` accepts."""
        return Manifest((u for u in self._utterances if keep(u)), self.root)

    def select(self, ids: Iterable[str]) -> Manifest:
        """Give a manifest of these ids, in the order given."""
        return Manifest((self[name] for name in ids), self.root)

    def path(self, relative: str) -> Path:
        """Resolve a media path, refusing one that leaves the root through a symbolic link.

        Raises:
            ManifestError: the path leaves the root.
        """
        return resolve_media(self.root, relative)

    def label(self, scheme: LabelScheme) -> Manifest:
        """Apply a scheme: emotions become its classes, labels it drops fall out.

        An utterance without an emotion is kept (it can be recognised, not learnt from).

        Raises:
            LabelError: labels outside the scheme, each with its count.
        """
        named = [u for u in self._utterances if u.emotion is not None]
        classes = scheme.map_all(str(u.emotion) for u in named)
        target = {u.id: name for u, name in zip(named, classes, strict=True)}
        return Manifest(
            (
                u if u.id not in target else u.model_copy(update={"emotion": target[u.id]})
                for u in self._utterances
                if u.id not in target or target[u.id] is not None
            ),
            self.root,
        )

    def save(self, path: Path) -> None:
        """Write JSONL, atomically: a header line with the absolute root, then the utterances."""
        header = {"manifest": {"version": 1, "root": str(self.root.resolve())}}
        lines = [json.dumps(header, ensure_ascii=False)]
        lines.extend(
            u.model_dump_json(exclude_none=True, exclude_defaults=True) for u in self._utterances
        )
        write_text(path, "\n".join(lines) + "\n")

    @classmethod
    def load(cls, path: Path, root: Path | None = None) -> Manifest:
        """Read JSONL.

        Args:
            path: the manifest.
            root: where the media are, when not where the header says.

        Raises:
            ManifestError: the first bad line, by file and line number.
        """
        utterances: list[Utterance] = []
        seen: dict[str, int] = {}
        lines = Lines(path)
        for number, utterance in lines:
            if utterance.id in seen:
                raise twice(path, number, utterance.id, seen[utterance.id])
            seen[utterance.id] = number
            utterances.append(utterance)
        return cls(utterances, root if root is not None else lines.root)

    @classmethod
    def concat(cls, manifests: Sequence[Manifest]) -> Manifest:
        """Join manifests under their common root; an id in two of them gets ``corpus/`` in front.

        Raises:
            ManifestError: no manifest is given, or ids clash within one corpus.
        """
        if not manifests:
            raise ManifestError("no manifest to join")
        if len(manifests) == 1:
            return manifests[0]
        roots = [str(m.root.resolve()) for m in manifests]
        common = Path(os.path.commonpath(roots))
        counts = Counter(name for m in manifests for name in m.ids)
        joined = [
            _rebase(u, Path(root).relative_to(common), counts[u.id] > 1)
            for m, root in zip(manifests, roots, strict=True)
            for u in m
        ]
        return cls(joined, common)


def _rebase(utterance: Utterance, prefix: Path, clash: bool) -> Utterance:
    update: dict[str, Any] = {
        kind: (prefix / str(getattr(utterance, kind))).as_posix()
        for kind in ("audio", "video")
        if getattr(utterance, kind) is not None
    }
    if clash:
        update["id"] = f"{utterance.corpus or prefix.name}/{utterance.id}"
    return utterance.model_copy(update=update)
