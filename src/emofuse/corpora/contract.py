"""What every corpus reader gives: a description, and a manifest with what was noticed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

from emofuse.corpora.findings import Finding, Findings
from emofuse.errors import CorpusError, UsageError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import AUDIO_EXTENSIONS
from emofuse.options import Options
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["Corpus", "NoOptions", "Place", "Prepared"]


class NoOptions(Options):
    """A reader without options."""


@dataclass(frozen=True)
class Place:
    """Where a corpus lies.

    Attributes:
        root: folder that the manifest's paths start from.
        sources: what the user named: the root itself, or list files.
    """

    root: Path
    sources: tuple[Path, ...]


@dataclass(frozen=True)
class Prepared:
    """A corpus, read.

    Attributes:
        manifest: its utterances; ``extra["native_emotion"]`` keeps the corpus's own label.
        findings: everything that was left out or is lacking, counted.
        counts: utterances found a native class (known bad files included).
        expected: utterances a native class in a complete copy; empty where nobody knows.
    """

    manifest: Manifest
    findings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)


OptionsT = TypeVar("OptionsT", bound=Options)


class Corpus(ABC, Generic[OptionsT]):
    """Reads one corpus as it is published.

    A reader is one small file: the attributes below, and `read`.

    Attributes:
        name: name in the registry.
        about: one line.
        licence: terms of use, and what to cite.
        languages: ISO 639 codes.
        scheme: label scheme that suits it, by name.
        scripted: the sentences carry no emotion by design, so that a score from text alone that
            beats chance is a leak.
        labels: native label -> word of the vocabulary.
        expected: native label -> utterances in a complete copy (with default options).
        speakers, sessions: names in a complete copy; empty where they are not fixed.
        known_bad: file name -> what is wrong with it as published.
        layout: what a folder must look like, for messages.
        options_type: what the reader can be told.
        takes_files: the user names list files, not a folder.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    licence: ClassVar[str]
    languages: ClassVar[tuple[str, ...]] = ()
    scheme: ClassVar[str]
    scripted: ClassVar[bool] = False
    labels: ClassVar[Mapping[str, str]] = {}
    expected: ClassVar[Mapping[str, int]] = {}
    speakers: ClassVar[tuple[str, ...]] = ()
    sessions: ClassVar[tuple[str, ...]] = ()
    known_bad: ClassVar[Mapping[str, str]] = {}
    layout: ClassVar[str]
    takes_files: ClassVar[bool] = False
    options_type: type[OptionsT]

    @abstractmethod
    def read(
        self, place: Place, options: OptionsT, findings: Findings
    ) -> Iterable[Utterance | None]:
        """Give the utterances; None stands for one already counted as a finding."""

    def expected_counts(self, options: OptionsT) -> Mapping[str, int]:
        """Give the utterances a native class in a complete copy, under these options."""
        return self.expected

    def expected_speakers(self, options: OptionsT) -> Sequence[str]:
        """Give the names of the speakers in a complete copy, under these options."""
        return self.speakers

    def describe(self) -> dict[str, Any]:
        """Describe the corpus in plain values."""
        return {
            "name": self.name,
            "about": self.about,
            "licence": self.licence,
            "languages": list(self.languages),
            "scheme": self.scheme,
            "scripted": self.scripted,
            "labels": dict(self.labels),
            "expected": dict(self.expected),
            "total": sum(self.expected.values()) or None,
            "speakers": len(self.speakers) or None,
            "known_bad": dict(self.known_bad),
            "layout": self.layout,
            "options": {
                name: str(info.get_default(call_default_factory=True))
                for name, info in self.options_type.model_fields.items()
            },
        }

    def prepare(
        self, root: Path | Sequence[Path], /, *, progress: Progress = silent, **options: Any
    ) -> Prepared:
        """Read the corpus.

        Args:
            root: its folder; a reader of lists takes the list, or several.
            progress: hook that hears how many utterances were read.
            options: see ``options_type``.

        Raises:
            CorpusError: nothing of this corpus is there.
            LabelError: native labels that the reader does not know, with counts.
            OptionError: an unknown option.
        """
        settings = self.options_type.parse(options, f"{self.name} options")
        sources = (root,) if isinstance(root, Path) else tuple(Path(path) for path in root)
        place = self.locate(sources, settings)
        findings = Findings()
        stage = f"prepare {self.name}"
        found = _distinct(
            _reported(self.read(place, settings, findings), stage, progress), findings
        )
        findings.check_labels(self.name, self.labels)
        if not found:
            raise CorpusError(self._nothing(place, findings))
        counts = Counter(str(u.extra["native_emotion"]) for u in found if _native(u) is not None)
        counts.update(findings.bad_classes)
        expected = self.expected_counts(settings)
        findings.check_counts(counts, expected)
        speakers = self.expected_speakers(settings)
        findings.check_members("missing-speaker", (u.speaker for u in found), speakers)
        findings.check_members("missing-session", (u.session for u in found), self.sessions)
        return Prepared(Manifest(found, place.root), findings.list(), dict(counts), dict(expected))

    def locate(self, sources: tuple[Path, ...], options: OptionsT) -> Place:
        """Find the root among what the user named.

        Raises:
            UsageError: several folders, where one is wanted.
            CorpusError: it is no folder.
        """
        if len(sources) != 1:
            raise UsageError(f"{self.name} takes one folder, not {len(sources)}")
        if not sources[0].is_dir():
            what = "a file" if sources[0].exists() else "missing"
            raise CorpusError(f"{sources[0]} is {what}; {self.name} expects {self.layout}")
        return Place(sources[0], sources)

    def _nothing(self, place: Place, findings: Findings) -> str:
        where = ", ".join(str(path) for path in place.sources)
        noticed = next((f"; {finding.line()}" for finding in findings.list()), "")
        return f"nothing of {self.name} in {where}: expected {self.layout}{noticed}"


def _reported(
    utterances: Iterable[Utterance | None], stage: str, progress: Progress
) -> Iterator[Utterance]:
    for done, utterance in enumerate(utterances, start=1):
        if done % 500 == 0:
            progress(ProgressEvent(stage, done, unit="utterances"))
        if utterance is not None:
            yield utterance


def _native(utterance: Utterance) -> object:
    return utterance.extra.get("native_emotion")


def _distinct(utterances: Iterable[Utterance], findings: Findings) -> list[Utterance]:
    """Keep one utterance an id: the lossless format before the lossy, then the first path."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault(utterance.id, []).append(utterance)
    kept: list[Utterance] = []
    for group in groups.values():
        group.sort(key=_preference)
        kept.append(group[0])
        for other in group[1:]:
            copy = _suffix(other) == _suffix(group[0])
            message = "id seen before, first one kept" if copy else "also in another format"
            example = other.audio or other.video or other.id
            findings.add("duplicate", message, example, serious=copy)
    return kept


def _suffix(utterance: Utterance) -> str:
    return PurePosixPath(utterance.audio or utterance.video or "").suffix.lower()


def _preference(utterance: Utterance) -> int:
    suffix = _suffix(utterance)
    return AUDIO_EXTENSIONS.index(suffix) if suffix in AUDIO_EXTENSIONS else len(AUDIO_EXTENSIONS)
