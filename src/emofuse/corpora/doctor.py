"""Examine a corpus: open every file, look at every text, say what is wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from emofuse.corpora.doctor_checks import Fault, Heard, check_audio, check_text, hear
from emofuse.errors import ManifestError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.fingerprint import Fingerprint, near_pairs
from emofuse.options import Options
from emofuse.progress import Progress, ProgressEvent, silent

__all__ = ["KINDS", "Diagnosis", "Finding", "Severity", "Summary", "examine"]

Severity = Literal["error", "warning", "note"]

KINDS: Mapping[str, Severity] = {
    "missing": "error",
    "empty": "error",
    "lfs-pointer": "error",
    "unreadable": "error",
    "outside-root": "error",
    "no-samples": "error",
    "not-finite": "error",
    "silent": "warning",
    "too-short": "warning",
    "too-long": "warning",
    "length": "warning",
    "clipped": "warning",
    "channels-cancel": "warning",
    "low-rate": "warning",
    "copies-disagree": "warning",
    "ids-alike": "warning",
    "encoding": "warning",
    "blank-text": "warning",
    "speaking-rate": "warning",
    "copies": "note",
    "mixed-rates": "note",
    "channels": "note",
    "one-channel": "note",
    "offset": "note",
    "slow-text": "note",
    "no-emotion": "note",
    "no-speaker": "note",
}
"""Every kind of finding, gravest first: an error cannot be used, a warning misleads, a note may."""


class Finding(Options):
    """Something found.

    Attributes:
        id: the utterance, or the first of several.
        path: its file, relative to the root.
        kind: one of `KINDS`.
        severity: ``error``, ``warning`` or ``note``.
        detail: what exactly.
        others: further utterances that the same finding is about (copies of a recording).
    """

    id: str
    path: str | None = None
    kind: str
    severity: Severity
    detail: str
    others: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Utterances concerned."""
        return 1 + len(self.others)


class Summary(Options):
    """Figures of a corpus.

    Attributes:
        utterances: in the manifest.
        heard: of these, how many have audio that could be read.
        hours: of that audio.
        sample_rates, channels, formats: value -> files.
        seconds: quantile (``min, 5%, median, 95%, max``) -> length.
        loudness: quantile -> RMS in decibels below full scale.
        emotions: label -> utterances.
        speakers: speaker -> utterances and seconds heard.
    """

    utterances: int
    heard: int
    hours: float
    sample_rates: dict[str, int]
    channels: dict[str, int]
    formats: dict[str, int]
    seconds: dict[str, float]
    loudness: dict[str, float]
    emotions: dict[str, int]
    speakers: dict[str, dict[str, float]]


class Diagnosis(Options):
    """What `examine` found, gravest first, and the corpus in figures."""

    summary: Summary
    findings: tuple[Finding, ...]

    def counts(self) -> dict[str, int]:
        """Utterances concerned by each kind of finding, gravest kind first."""
        found: Counter[str] = Counter()
        for finding in self.findings:
            found[finding.kind] += finding.count
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def ill(self, strict: bool = False) -> bool:
        """Whether there are errors or warnings; with ``strict``, or notes."""
        return any(strict or finding.severity != "note" for finding in self.findings)


def examine(
    manifest: Manifest, workers: int | None = None, progress: Progress = silent
) -> Diagnosis:
    """Open every file, slices as slices, and look at every text; a bad file stops nothing.

    Args:
        manifest: what to examine.
        workers: threads that read files; the number of processors unless told.
        progress: hook.
    """
    listed = list(manifest)
    heard: dict[str, Heard] = {}
    findings: list[Finding] = []
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        results = pool.map(lambda u: _examine_one(manifest, u), listed)
        for done, (utterance, (sound, faults)) in enumerate(
            zip(listed, results, strict=True), start=1
        ):
            findings.extend(_finding(utterance, fault) for fault in faults)
            if sound is not None:
                heard[utterance.id] = sound
            progress(ProgressEvent("examine", done, len(listed), "utterances"))
    findings.extend(_copies(manifest, heard))
    findings.extend(_corpus_findings(listed, heard))
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    return Diagnosis(summary=_summary(listed, heard), findings=tuple(findings))


def _examine_one(manifest: Manifest, utterance: Utterance) -> tuple[Heard | None, list[Fault]]:
    sound: Heard | None = None
    faults: list[Fault] = []
    if utterance.audio is not None:
        try:
            path = manifest.path(utterance.audio)
        except ManifestError as error:
            faults.append(Fault("outside-root", str(error)))
        except (OSError, ValueError, RuntimeError) as error:
            faults.append(Fault("unreadable", f"no legal path: {error}"))
        else:
            result = hear(path, utterance.start, utterance.end)
            if isinstance(result, Fault):
                faults.append(result)
            else:
                sound = result
                faults.extend(check_audio(path, sound))
    if utterance.text is not None:
        faults.extend(check_text(utterance.text, sound.seconds if sound else None))
    return sound, faults


def _finding(utterance: Utterance, fault: Fault, others: Sequence[str] = ()) -> Finding:
    return Finding(
        id=utterance.id,
        path=utterance.audio,
        kind=fault.kind,
        severity=KINDS[fault.kind],
        detail=fault.detail,
        others=tuple(others),
    )


def _copies(manifest: Manifest, heard: Mapping[str, Heard]) -> Iterable[Finding]:
    """Recordings that are one: the same samples, or the same sound stored another way."""
    prints: dict[str, Fingerprint] = {
        name: sound.print for name, sound in heard.items() if sound.print is not None
    }
    ids = list(prints)
    groups: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for first, second in near_pairs([prints[name] for name in ids]):
        a, b = owner.get(ids[first], ids[first]), owner.get(ids[second], ids[second])
        if a != b or a not in groups:
            joined = list(dict.fromkeys([*groups.pop(a, [a]), *groups.pop(b, [b])]))
            groups[a] = joined
            owner.update(dict.fromkeys(joined, a))
    for members in groups.values():
        same = len({prints[name].digest for name in members}) == 1
        how = "the same samples" if same else "the same sound, stored another way"
        listed = [manifest[name] for name in members]
        differ = [
            field
            for field in ("speaker", "emotion")
            if len({getattr(u, field) for u in listed}) > 1
        ]
        shown = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")
        detail = f"{how}: {shown}"
        if differ:
            detail += f"; {' and '.join(differ)} differ"
        fault = Fault("copies-disagree" if differ else "copies", detail)
        yield _finding(listed[0], fault, members[1:])


def _corpus_findings(listed: Sequence[Utterance], heard: Mapping[str, Heard]) -> Iterable[Finding]:
    lowered: dict[str, list[Utterance]] = {}
    for utterance in listed:
        lowered.setdefault(utterance.id.casefold(), []).append(utterance)
    for same in lowered.values():
        if len(same) > 1:
            names = ", ".join(u.id for u in same)
            fault = Fault("ids-alike", f"differ in case alone: {names}")
            yield _finding(same[0], fault, [u.id for u in same[1:]])
    for kind in ("emotion", "speaker"):
        without = [u for u in listed if not (getattr(u, kind) or "").strip()]
        if without:
            fault = Fault(f"no-{kind}", f"{len(without):,} of {len(listed):,} utterances")
            yield _finding(without[0], fault, [u.id for u in without[1:]])
    rates = Counter(heard[u.id].info.sample_rate for u in listed if u.id in heard)
    if len(rates) > 1:
        usual = rates.most_common(1)[0][0]
        odd = [u for u in listed if u.id in heard and heard[u.id].info.sample_rate != usual]
        shown = ", ".join(f"{rate:,} Hz x {count:,}" for rate, count in rates.most_common(4))
        yield _finding(odd[0], Fault("mixed-rates", shown), [u.id for u in odd[1:]])


def _summary(listed: Sequence[Utterance], heard: Mapping[str, Heard]) -> Summary:
    infos = [sound.info for sound in heard.values()]
    seconds = [sound.seconds for sound in heard.values()]
    loudness = [20 * float(np.log10(max(sound.rms, 1e-7))) for sound in heard.values()]
    speakers: dict[str, dict[str, float]] = {}
    for utterance in listed:
        if utterance.speaker is not None:
            entry = speakers.setdefault(utterance.speaker, {"utterances": 0, "seconds": 0.0})
            entry["utterances"] += 1
            entry["seconds"] += heard[utterance.id].seconds if utterance.id in heard else 0.0
    return Summary(
        utterances=len(listed),
        heard=len(heard),
        hours=sum(seconds) / 3600,
        sample_rates=_tally(str(info.sample_rate) for info in infos),
        channels=_tally(str(info.channels) for info in infos),
        formats=_tally(f"{info.format}/{info.subtype}" for info in infos),
        seconds=_quantiles(seconds),
        loudness=_quantiles(loudness),
        emotions=_tally(u.emotion for u in listed if u.emotion is not None),
        speakers=dict(sorted(speakers.items())),
    )


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    names = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}
    return {name: float(np.quantile(values, share)) for name, share in names.items()}
