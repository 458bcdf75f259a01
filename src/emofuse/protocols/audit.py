"""Audit folds before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Literal

from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest
from emofuse.options import Options
from emofuse.progress import Progress, silent
from emofuse.protocols.contract import Aspect, Fold, Protocol
from emofuse.protocols.overlap import (
    MEASURES,
    AudioKeys,
    Keys,
    Overlap,
    audio_keys,
    measure_overlap,
    text_keys,
)
from emofuse.protocols.text_cue import TextCue, measure_text_cue

__all__ = ["Audit", "FoldAudit", "Violation", "audit"]

Independent = Literal["yes", "no", "unknown"]

ADVICE: Mapping[Aspect, str] = {
    "speaker": "leave-one-speaker-out, or group-kfold by=speaker",
    "session": "leave-one-session-out, or group-kfold by=session",
    "dialogue": "group-kfold by=dialogue",
    "text": "text-disjoint",
    "audio": "leave the copies out of the manifest (emofuse doctor lists them)",
}


class FoldAudit(Options):
    """One fold, looked through.

    Attributes:
        name: of the fold.
        sizes: part -> utterances; ``unused`` counts labelled utterances that are in no part.
        dev_by: what dev was cut by.
        speaker_independent: whether no test speaker is in train or dev.
        test: measure -> what test shares with train and dev together.
        dev: measure -> what dev shares with train.
        balance: part -> class -> utterances.
        unknown_speakers: part -> utterances whose speaker the manifest does not name.
    """

    name: str
    sizes: dict[str, int]
    dev_by: str
    speaker_independent: Independent
    test: dict[str, Overlap]
    dev: dict[str, Overlap]
    balance: dict[str, dict[str, int]]
    unknown_speakers: dict[str, int]


class Violation(Options):
    """An overlap between train+dev and test that nobody declared.

    Attributes:
        aspect: what is shared.
        measure: how it was found (text by its words or exactly; audio by samples or by sound).
        folds: names of the folds concerned.
        utterances, of: test utterances concerned, of those in all test parts.
        examples: up to three shared values.
    """

    aspect: Aspect
    measure: str
    folds: tuple[str, ...]
    utterances: int
    of: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(repr(value) for value in self.examples)
        what = "are copies of recordings in" if self.aspect == "audio" else ""
        return (
            f"{self.utterances:,} of {self.of:,} test utterances "
            f"{what or f'share their {self.measure} with'} train or dev "
            f"in {len(self.folds)} folds (first: {self.folds[0]}; e.g. {shown})"
        )


class Audit(Options):
    """What the folds of a protocol share, and whether they may.

    Attributes:
        protocol: name.
        options: the protocol's options.
        speaker_independent: ``yes`` where no fold tests a speaker that it learnt from, ``unknown``
            where the manifest does not name every speaker.
        stamp: one line, for every table that shows a score.
        declared: overlaps that the protocol has by its nature.
        allowed: overlaps that the user declares.
        harmless: overlaps that cannot leak here: ``text`` where sentences recur under every
            emotion and the words tell nothing.
        violations: overlaps that nobody declared; `enforce` stops on them.
        warnings: what a reader of the score should know.
        unlabelled: utterances without an emotion, in no fold.
        audio_compared: recordings compared; 0 where that was switched off or files are missing.
        text_cue: whether the words can carry the emotion.
        folds: each fold.
    """

    protocol: str
    options: dict[str, Any]
    speaker_independent: Independent
    stamp: str
    declared: tuple[Aspect, ...]
    allowed: tuple[Aspect, ...]
    harmless: tuple[Aspect, ...]
    violations: tuple[Violation, ...]
    warnings: tuple[str, ...]
    unlabelled: int
    audio_compared: int
    text_cue: TextCue
    folds: tuple[FoldAudit, ...]

    def enforce(self) -> None:
        """Stop where an overlap is neither promised away nor declared.

        Raises:
            ProtocolError: the first such overlap, with its count and the way out.
        """
        if not self.violations:
            return
        first = self.violations[0]
        aspects = list(dict.fromkeys([*self.allowed, *(v.aspect for v in self.violations)]))
        raise ProtocolError(
            f"{self.protocol}: {first}; declare it with allow=[{', '.join(aspects)}], "
            f"or take another way: {ADVICE[first.aspect]}"
        )


def audit(
    manifest: Manifest,
    protocol: Protocol,
    folds: Sequence[Fold],
    *,
    audio: bool = True,
    workers: int | None = None,
    progress: Progress = silent,
) -> Audit:
    """Look through every fold: what its parts share, how classes lie, whether text can tell.

    Args:
        manifest: labelled; utterances without an emotion are counted and passed over.
        protocol: which made the folds, and declares what they may share.
        folds: the folds.
        audio: whether to read and compare the recordings (files that are missing are counted).
        workers: threads that read audio; the number of processors unless told.
        progress: hook.
    """
    labelled = manifest.filter(lambda u: u.emotion is not None)
    used = {name for fold in folds for name in (*fold.train, *fold.dev, *fold.test)}
    keys: dict[str, Keys] = dict(text_keys(labelled))
    heard = AudioKeys({}, {}, {})
    if audio:
        heard = audio_keys(labelled.filter(lambda u: u.id in used), workers, progress)
    keys |= {"audio": heard.exact, "near audio": heard.near}
    looked = tuple(_look(fold, labelled, keys) for fold in folds)
    declared = tuple(sorted(protocol.declared - frozenset(protocol.options.allow)))
    cue = measure_text_cue(labelled)
    harmless: tuple[Aspect, ...] = ("text",) if cue.verdict == "none (scripted)" else ()
    return Audit(
        protocol=protocol.options.name,
        options=protocol.options.model_dump(mode="json"),
        speaker_independent=_whole(one.speaker_independent for one in looked),
        stamp=_stamp(protocol, folds, looked, keys),
        declared=declared,
        allowed=tuple(sorted(protocol.options.allow)),
        harmless=harmless,
        violations=_violations(looked, protocol.declared | set(harmless)),
        warnings=tuple(_warnings(manifest, protocol, looked, heard, cue)),
        unlabelled=len(manifest) - len(labelled),
        audio_compared=len(heard.exact),
        text_cue=cue,
        folds=looked,
    )


def _look(fold: Fold, labelled: Manifest, keys: Mapping[str, Keys]) -> FoldAudit:
    parts = {"train": fold.train, "dev": fold.dev, "test": fold.test}
    speakers = keys["speaker"]
    unknown = {part: sum(one not in speakers for one in ids) for part, ids in parts.items()}
    test = {
        measure: measure_overlap(keys[measure], fold.train, fold.dev, fold.test)
        for measure in MEASURES
    }
    independent: Independent = "yes"
    if test["speaker"].utterances:
        independent = "no"
    elif any(unknown.values()):
        independent = "unknown"
    balance = {
        part: dict(sorted(Counter(str(labelled[one].emotion) for one in ids).items()))
        for part, ids in parts.items()
    }
    sizes = {part: len(ids) for part, ids in parts.items()}
    return FoldAudit(
        name=fold.name,
        sizes={**sizes, "unused": len(labelled) - sum(sizes.values())},
        dev_by=fold.dev_by,
        speaker_independent=independent,
        test=test,
        dev={
            measure: measure_overlap(keys[measure], fold.train, (), fold.dev)
            for measure in MEASURES
        },
        balance=balance,
        unknown_speakers=unknown,
    )


def _whole(answers: Iterable[Independent]) -> Independent:
    found = set(answers)
    return "no" if "no" in found else "unknown" if "unknown" in found else "yes"


def _violations(folds: Sequence[FoldAudit], declared: Set[Aspect]) -> tuple[Violation, ...]:
    found = []
    of = sum(fold.sizes["test"] for fold in folds)
    for measure, aspect in MEASURES.items():
        hit = [fold for fold in folds if fold.test[measure].utterances]
        if aspect in declared or not hit or measure == "exact text":
            continue  # the same words include the same text
        if measure == "audio":
            continue  # the same sound includes the same samples
        examples = [value for fold in hit for value in fold.test[measure].examples]
        found.append(
            Violation(
                aspect=aspect,
                measure=measure,
                folds=tuple(fold.name for fold in hit),
                utterances=sum(fold.test[measure].utterances for fold in hit),
                of=of,
                examples=tuple(dict.fromkeys(examples))[:3],
            )
        )
    return tuple(found)


def _stamp(
    protocol: Protocol,
    folds: Sequence[Fold],
    looked: Sequence[FoldAudit],
    keys: Mapping[str, Keys],
) -> str:
    parts = [protocol.options.name]
    whole = _whole(one.speaker_independent for one in looked)
    if whole == "no":
        parts.append(_dependent(folds, looked, keys["speaker"]))
    elif whole == "yes":
        parts.append("speaker-independent: yes")
    else:
        parts.append("speaker-independent: unknown (the manifest does not name every speaker)")
    copies = sum(one.test["near audio"].utterances for one in looked)
    if copies:
        parts.append(f"{copies:,} test utterances are copies of training audio")
    if protocol.options.allow:
        parts.append(f"allowed by the user: {', '.join(sorted(protocol.options.allow))}")
    if protocol.published_on_test:
        parts.append("the paper chose its epoch on the test part, this run did not")
    return " · ".join(parts)


def _dependent(folds: Sequence[Fold], looked: Sequence[FoldAudit], speakers: Keys) -> str:
    everyone, shared = set(), set()
    for fold in folds:
        tested = {speakers[one] for one in fold.test if one in speakers}
        learnt = {speakers[one] for one in (*fold.train, *fold.dev) if one in speakers}
        everyone |= tested
        shared |= tested & learnt
    utterances = sum(one.test["speaker"].utterances for one in looked)
    share = utterances / sum(one.sizes["test"] for one in looked)
    said = "" if share == 1.0 else f", who speak {share:.1%} of the test utterances"
    return f"SPEAKER-DEPENDENT ({len(shared)} of {len(everyone)} test speakers in train{said})"


def _warnings(
    manifest: Manifest,
    protocol: Protocol,
    folds: Sequence[FoldAudit],
    heard: AudioKeys,
    cue: TextCue,
) -> Iterable[str]:
    labelled = [u for u in manifest if u.emotion is not None]
    if len(labelled) < len(manifest):
        left = len(manifest) - len(labelled)
        yield f"{left:,} of {len(manifest):,} utterances have no emotion and are in no fold"
    unused = [fold for fold in folds if fold.sizes["unused"]]
    if unused:
        counts = sorted({fold.sizes["unused"] for fold in unused})
        yield (
            f"{counts[0]:,} to {counts[-1]:,} labelled utterances are in no part of "
            f"{len(unused)} folds"
        )
    yield from _class_warnings({str(u.emotion) for u in labelled}, folds)
    yield from _dev_warnings(protocol, folds)
    if heard.unread:
        reason = next(iter(heard.unread.values()))
        yield f"{len(heard.unread):,} recordings could not be compared (first: {reason})"
    if cue.verdict in ("none (scripted)", "gives the label away"):
        yield f"text: {cue.note}"


def _class_warnings(classes: set[str], folds: Sequence[FoldAudit]) -> Iterable[str]:
    for part in ("train", "dev", "test"):
        lacking = {
            fold.name: sorted(classes - set(fold.balance[part]))
            for fold in folds
            if fold.sizes[part] and classes - set(fold.balance[part])
        }
        if lacking:
            name, absent = next(iter(lacking.items()))
            yield (
                f"{part} lacks classes in {len(lacking)} of {len(folds)} folds "
                f"({name}: {', '.join(absent)})"
            )


def _dev_warnings(protocol: Protocol, folds: Sequence[FoldAudit]) -> Iterable[str]:
    wanted = protocol.options.dev_by
    fallen = [f for f in folds if f.dev_by not in ("", "given", "paper", wanted)]
    if wanted != "auto" and fallen:
        yield (
            f"dev is cut by {fallen[0].dev_by}, not by {wanted}, in {len(fallen)} folds: "
            f"their train part has one {wanted} only ({fallen[0].name})"
        )
    empty = sum(not fold.sizes["dev"] for fold in folds)
    if empty:
        yield f"{empty} of {len(folds)} folds have no dev part: nothing to choose an epoch by"
    heard = [fold for fold in folds if fold.dev["speaker"].utterances]
    if heard:
        yield (
            f"dev shares speakers with train in {len(heard)} of {len(folds)} folds "
            f"({heard[0].name}: cut by {heard[0].dev_by}): dev scores are too high for new voices"
        )
    copies = sum(fold.dev["near audio"].utterances for fold in folds)
    if copies:
        yield f"{copies:,} dev utterances are copies of training audio"
