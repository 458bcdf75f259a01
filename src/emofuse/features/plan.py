"""What there is to encode: content keys and lengths, found by parallel readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from emofuse.errors import ManifestError, MediaError
from emofuse.manifest import Modality, Utterance
from emofuse.media.arrays import ARRAY_EXTENSION, read_array
from emofuse.media.audio import audio_key, probe, slice_key
from emofuse.media.video import probe_video
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import sha256_text

__all__ = ["THREADS", "WINDOW_UTTERANCES", "Listing", "Plan", "Work", "make_plans"]

THREADS = 4
WINDOW_UTTERANCES = 500  # utterances of a plan, about 1 kB each
FILES_KNOWN = 250  # files of earlier plans that are not looked at again
ARRAY_RATE = 25.0  # frames of an array that count as a second of video


class Listing(Protocol):
    """Utterances in order, in memory (`Manifest`) or on disk (`ManifestFile`)."""

    def __len__(self) -> int:
        """Count the utterances."""

    def __iter__(self) -> Iterator[Utterance]:
        """Give them in order."""

    def path(self, relative: str) -> Path:
        """Resolve a media path."""


@dataclass(frozen=True, slots=True)
class Work:
    """One utterance to encode.

    Attributes:
        id: its id.
        source: path of the audio or video in the manifest, or the text.
        content: hash of what will be encoded.
        size: seconds of audio or video, or characters of text.
        start, end: seconds, where it is a slice of its file.
    """

    id: str
    source: str
    content: str
    size: float
    start: float | None = None
    end: float | None = None


@dataclass
class Plan:
    """What one modality of a stretch of a manifest holds.

    Attributes:
        utterances: how many there are.
        works: what can be encoded, in manifest order.
        absent: how many are without this modality.
        quarantined: id -> why it cannot be read.
    """

    utterances: int = 0
    works: list[Work] = field(default_factory=list)
    absent: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    seconds: float
    digest: str


_Found = _File | str  # or why it cannot be read


def make_plans(listing: Listing, modality: Modality, progress: Progress = silent) -> Iterator[Plan]:
    """Hash and measure the utterances of a manifest, one stretch of it after the other.

    Files are read by parallel threads, each once however many slices of it a stretch has; one that
    cannot be read is quarantined, never fatal here. What is in memory does not grow with the
    manifest.

    Args:
        listing: the utterances.
        modality: ``audio``, ``text`` or ``video``.
        progress: told of stage ``check audio`` or ``check video``.

    Raises:
        MissingExtraError: there are videos, and PyAV is not installed.
    """
    known: dict[str, _Found] = {}
    utterances = (_Brief.of(utterance, modality) for utterance in listing)
    checked = 0
    while window := list(islice(utterances, WINDOW_UTTERANCES)):
        if modality != "text":
            names = [one.source for one in window if one.source is not None]
            _inspect_all(listing, modality, names, known)
            checked += len(window)
            progress(ProgressEvent(f"check {modality}", checked, len(listing), "utterances"))
        yield _plan(window, modality, known)
        for name in list(known)[:-FILES_KNOWN]:
            del known[name]


@dataclass(frozen=True, slots=True)
class _Brief:
    """What matters here of an utterance, which as a whole takes ten times the memory."""

    id: str
    source: str | None
    start: float | None
    end: float | None

    @classmethod
    def of(cls, utterance: Utterance, modality: Modality) -> _Brief:
        if modality == "audio":
            return cls(utterance.id, utterance.audio, utterance.start, utterance.end)
        if modality == "video":
            return cls(utterance.id, utterance.video, utterance.start, utterance.end)
        present = modality == "text" and utterance.text is not None and utterance.text.strip()
        return cls(utterance.id, utterance.text if present else None, None, None)


def _plan(window: Sequence[_Brief], modality: Modality, files: dict[str, _Found]) -> Plan:
    plan = Plan(len(window))
    for one in window:
        if one.source is None:
            plan.absent += 1
        elif modality != "text":
            work = _media_work(one, one.source, files[one.source], modality)
            if isinstance(work, Work):
                plan.works.append(work)
            else:
                plan.quarantined[one.id] = work
        else:
            size = float(len(one.source))
            plan.works.append(Work(one.id, one.source, sha256_text(one.source), size))
    return plan


def _inspect_all(
    listing: Listing, modality: Modality, names: Sequence[str], known: dict[str, _Found]
) -> None:
    fresh = [name for name in dict.fromkeys(names) if name not in known]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: _inspect(listing, modality, name), fresh)
        known.update(zip(fresh, found, strict=True))


def _inspect(listing: Listing, modality: Modality, name: str) -> _Found:
    try:
        path = listing.path(name)
        return _File(_seconds(path, modality), audio_key(path))
    except (MediaError, ManifestError) as error:
        return str(error)
    except OSError as error:
        return f"{Path(name)} cannot be reached: {error.strerror or error}"


def _seconds(path: Path, modality: Modality) -> float:
    if modality == "audio":
        return probe(path).seconds
    if path.suffix.lower() == ARRAY_EXTENSION:
        return len(read_array(path)) / ARRAY_RATE
    return probe_video(path).seconds


def _media_work(one: _Brief, source: str, file: _Found, modality: Modality) -> Work | str:
    if not isinstance(file, _File):
        return file
    start = one.start or 0.0
    end = file.seconds if one.end is None else min(one.end, file.seconds)
    if end <= start:
        return f"{source} is {file.seconds:.3f} s long; there is no {modality} from {start:g} s on"
    content = slice_key(file.digest, one.start, one.end)
    return Work(one.id, source, content, end - start, one.start, one.end)
