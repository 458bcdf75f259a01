"""What there is to encode: content keys and lengths, found by parallel readers."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from emofuse.errors import ManifestError, MediaError
from emofuse.manifest import Manifest, Modality, Utterance
from emofuse.media.audio import audio_key, probe, slice_key
from emofuse.progress import Progress, ProgressEvent, silent
from emofuse.storage import sha256_text

__all__ = ["THREADS", "Plan", "Work", "make_plan"]

THREADS = 4
REPORT_EVERY = 50  # files between two looks at the progress hook


@dataclass(frozen=True)
class Work:
    """One utterance to encode.

    Attributes:
        utterance: what it is.
        content: hash of what will be encoded.
        size: seconds of audio, or characters of text.
    """

    utterance: Utterance
    content: str
    size: float


@dataclass
class Plan:
    """What one modality of a manifest holds.

    Attributes:
        works: what can be encoded, in manifest order.
        absent: ids of utterances without this modality.
        quarantined: id -> why it cannot be read.
    """

    works: list[Work] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    seconds: float
    digest: str


def make_plan(manifest: Manifest, modality: Modality, progress: Progress = silent) -> Plan:
    """Hash and measure every utterance of a manifest.

    Files are read by parallel threads, each once however many slices of it there are; one that
    cannot be read is quarantined, never fatal here.

    Args:
        manifest: the utterances.
        modality: ``audio`` or ``text``; no other is encoded from a manifest.
        progress: told of stage ``check audio``.
    """
    plan = Plan()
    files = _inspect_all(manifest, progress) if modality == "audio" else {}
    for utterance in manifest:
        if modality == "audio" and utterance.audio is not None:
            try:
                plan.works.append(_audio_work(utterance, files[utterance.audio]))
            except (MediaError, ManifestError) as error:
                plan.quarantined[utterance.id] = str(error)
        elif modality == "text" and utterance.text is not None and utterance.text.strip():
            text = utterance.text
            plan.works.append(Work(utterance, sha256_text(text), float(len(text))))
        else:
            plan.absent.append(utterance.id)
    return plan


def _inspect_all(
    manifest: Manifest, progress: Progress
) -> Mapping[str, _File | MediaError | ManifestError]:
    names = list(dict.fromkeys(u.audio for u in manifest if u.audio is not None))
    files: dict[str, _File | MediaError | ManifestError] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: _inspect(manifest, name), names)
        for done, (name, file) in enumerate(zip(names, found, strict=True), start=1):
            files[name] = file
            if done % REPORT_EVERY == 0 or done == len(names):
                progress(ProgressEvent("check audio", done, len(names), "files"))
    return files


def _inspect(manifest: Manifest, name: str) -> _File | MediaError | ManifestError:
    try:
        path = manifest.path(name)
        return _File(probe(path).seconds, audio_key(path))
    except (MediaError, ManifestError) as error:
        return error
    except OSError as error:
        return MediaError(f"{Path(name)} cannot be reached: {error.strerror or error}")


def _audio_work(utterance: Utterance, file: _File | MediaError | ManifestError) -> Work:
    if not isinstance(file, _File):
        raise file
    start = utterance.start or 0.0
    end = file.seconds if utterance.end is None else min(utterance.end, file.seconds)
    if end <= start:
        raise MediaError(
            f"{utterance.audio} is {file.seconds:.3f} s long; there is no audio from {start:g} s on"
        )
    return Work(utterance, slice_key(file.digest, utterance.start, utterance.end), end - start)
