"""A manifest lists utterances: one JSON object a line, paths relative to a root.

The first line may be a header, ``{"manifest": {"root": "/data/emodb"}}``; every other line is an
`Utterance`. Without a header the root is the folder that holds the manifest.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from emofuse.errors import ManifestError, shorten
from emofuse.labels import LabelScheme, canonical
from emofuse.options import Options
from emofuse.storage import write_text

__all__ = ["VAD", "Manifest", "Modality", "Seconds", "Utterance"]

Modality = Literal["audio", "text", "video"]
Seconds = float
MAX_LINE = 1 << 20


class VAD(Options):
    """Valence, arousal and dominance, on the scale of the corpus (see `LabelScheme.vad`)."""

    valence: float | None = Field(default=None, allow_inf_nan=False)
    arousal: float | None = Field(default=None, allow_inf_nan=False)
    dominance: float | None = Field(default=None, allow_inf_nan=False)


class Utterance(Options):
    """One thing said by one speaker: an id and at least one modality.

    Attributes:
        id: unique in its manifest; no control characters, at most 200 characters.
        corpus: name of the corpus it comes from.
        audio, video: path of the media file, relative to the manifest's root, with ``/``.
        start, end: seconds from the start of the file, where the utterance is a slice.
        text: what is said.
        features: modality -> name under which its vector was imported into a feature store.
        emotion: a word of `labels.VOCABULARY`, or one that the user's scheme maps.
        votes: emotion -> share of annotators (sums to 1), where the corpus has them.
        vad: valence, arousal, dominance.
        speaker, gender, session, dialogue, language: who said it, and where.
        split: ``train``, ``dev`` or ``test`` where the corpus has an official split.
        extra: whatever else the corpus knows (plain values).
    """

    id: str = Field(min_length=1, max_length=200)
    corpus: str | None = None
    audio: str | None = None
    start: Seconds | None = Field(default=None, ge=0, allow_inf_nan=False)
    end: Seconds | None = Field(default=None, gt=0, allow_inf_nan=False)
    text: str | None = None
    video: str | None = None
    features: dict[Modality, str] = Field(default_factory=dict)
    emotion: str | None = Field(default=None, min_length=1)
    votes: dict[str, float] | None = None
    vad: VAD | None = None
    speaker: str | None = None
    gender: str | None = None
    session: str | None = None
    dialogue: str | None = None
    language: str | None = None
    split: Literal["train", "dev", "test"] | None = None
    extra: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @field_validator("id")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError("an id has no control characters and no blanks at its ends")
        return value

    @field_validator("audio", "video")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        return None if value is None else check_relative(value)

    @field_validator("emotion")
    @classmethod
    def _word(cls, value: str | None) -> str | None:
        return None if value is None else canonical(value)

    @field_validator("votes")
    @classmethod
    def _shares(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is None:
            return None
        if not value or not all(math.isfinite(v) and v >= 0 for v in value.values()):
            raise ValueError("votes are shares of 0 or more")
        if not math.isclose(sum(value.values()), 1.0, abs_tol=1e-3):
            raise ValueError(f"votes must sum to 1, not {sum(value.values()):.4g}")
        return {canonical(label): share for label, share in value.items()}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.modalities:
            raise ValueError("an utterance needs audio, text, video or imported features")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"end {self.end} s is not after start {self.start or 0.0} s")
        return self

    @property
    def modalities(self) -> frozenset[Modality]:
        """The modalities this utterance has; a blank text counts as none."""
        found: set[Modality] = set(self.features)
        if self.audio is not None:
            found.add("audio")
        if self.video is not None:
            found.add("video")
        if self.text is not None and self.text.strip():
            found.add("text")
        return frozenset(found)


def check_relative(value: str) -> str:
    """Refuse a path that is absolute, empty, or climbs out of its root.

    Raises:
        ValueError: with what is wrong.
    """
    posix, windows = PurePosixPath(value), PureWindowsPath(value)
    if not value.strip() or "\0" in value:
        raise ValueError("a path is not empty and holds no NUL")
    if posix.is_absolute() or windows.drive or windows.root:
        raise ValueError("the path is absolute; give it relative to the manifest's root")
    if ".." in posix.parts or ".." in windows.parts:
        raise ValueError("the path leaves the corpus root ('..')")
    return value


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
        path = self.root / check_relative(relative)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ManifestError(
                f"{shorten(relative)} leads out of the corpus root {self.root}; "
                "choose a root that holds the files themselves"
            )
        return path

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
        stored_root = path.parent
        utterances: list[Utterance] = []
        seen: dict[str, int] = {}
        for number, line in _lines(path):
            record = _parse_line(line, f"{path}:{number}")
            if "manifest" in record and not utterances:
                stored_root = _header_root(record, path, number)
                continue
            utterance = _utterance(record, f"{path}:{number}")
            if utterance.id in seen:
                first = seen[utterance.id]
                raise ManifestError(
                    f"{path}:{number}: id {shorten(utterance.id)} is already on line {first}"
                )
            seen[utterance.id] = number
            utterances.append(utterance)
        if not utterances:
            raise ManifestError(f"{path} lists no utterances")
        return cls(utterances, root if root is not None else stored_root)

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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), start=1):
                if len(raw) > MAX_LINE:
                    raise ManifestError(f"{path}:{number}: the line is over {MAX_LINE:,} bytes")
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if line:
                    yield number, line
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text: {error.reason}") from error


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(record, dict):
        raise ManifestError(f"{where}: not a JSON object: {shorten(line)}")
    return record


def _header_root(record: dict[str, Any], path: Path, number: int) -> Path:
    header = record["manifest"]
    root = header.get("root") if isinstance(header, dict) else None
    if not isinstance(root, str) or not root or header.get("version", 1) != 1:
        raise ManifestError(f"{path}:{number}: the header must name a root and version 1")
    return path.parent / root


def _utterance(record: dict[str, Any], where: str) -> Utterance:
    try:
        return Utterance.model_validate(record)
    except ValidationError as error:
        raise ManifestError(f"{where}: {Utterance._explain(error)}") from error
