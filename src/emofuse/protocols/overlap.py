"""What two parts of a fold share, counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from emofuse.errors import ManifestError, MediaError
from emofuse.manifest import Manifest, Utterance
from emofuse.media.fingerprint import Fingerprint, fingerprint, near_pairs
from emofuse.options import Options
from emofuse.progress import Progress, ProgressEvent
from emofuse.protocols.contract import Aspect
from emofuse.protocols.groups import Key, group_key

__all__ = ["MEASURES", "Keys", "Overlap", "audio_keys", "measure_overlap", "text_keys"]

MEASURES: Mapping[str, Aspect] = {
    "speaker": "speaker",
    "session": "session",
    "dialogue": "dialogue",
    "exact text": "text",
    "text": "text",
    "audio": "audio",
    "near audio": "audio",
}
"""What is measured, and the aspect that a protocol promises or declares."""

Keys = Mapping[str, Key]
"""Utterance id -> what it is compared by; an id without a key cannot be compared."""


class Overlap(Options):
    """What a part shares with the part it is compared with.

    Attributes:
        known: utterances of the part that could be compared.
        utterances: of these, how many share.
        share: ``utterances`` over all utterances of the part.
        values: different speakers (sessions, texts ...) in the part.
        shared: of these, how many are on the other side too.
        by_train: how many utterances share with train alone, dev left aside.
        examples: up to three shared values.
    """

    known: int
    utterances: int
    share: float
    values: int
    shared: int
    by_train: int
    examples: tuple[str, ...] = ()


def measure_overlap(
    keys: Keys, train: Sequence[str], dev: Sequence[str], judged: Sequence[str]
) -> Overlap:
    """Count what ``judged`` shares with ``train`` and ``dev`` together.

    Args:
        keys: what ids are compared by.
        train: ids learnt from.
        dev: ids chosen by.
        judged: ids of the part that is looked at.
    """
    in_train = {keys[one] for one in train if one in keys}
    learnt = in_train | {keys[one] for one in dev if one in keys}
    mine = [keys[one] for one in judged if one in keys]
    values = set(mine)
    shared = sorted(values & learnt)
    return Overlap(
        known=len(mine),
        utterances=sum(key in learnt for key in mine),
        share=sum(key in learnt for key in mine) / max(len(judged), 1),
        values=len(values),
        shared=len(shared),
        by_train=sum(key in in_train for key in mine),
        examples=tuple(value[:80] for _, value in shared[:3]),
    )


def text_keys(utterances: Iterable[Utterance]) -> dict[str, dict[str, Key]]:
    """Give the keys of everything that the manifest itself says, by measure."""
    by: dict[str, Callable[[Utterance], Key | None]] = {
        "speaker": lambda u: group_key(u, "speaker"),
        "session": lambda u: group_key(u, "session"),
        "dialogue": lambda u: group_key(u, "dialogue"),
        "exact text": lambda u: ("", u.text) if u.text and u.text.strip() else None,
        "text": lambda u: group_key(u, "text"),
    }
    listed = list(utterances)
    found: dict[str, dict[str, Key]] = {}
    for measure, key_of in by.items():
        pairs = ((u.id, key_of(u)) for u in listed)
        found[measure] = {name: key for name, key in pairs if key is not None}
    return found


@dataclass(frozen=True)
class AudioKeys:
    """Keys of the recordings.

    Attributes:
        exact, near: by equal samples, and by the same sound; a key is the first id of its kind.
        unread: id -> why its audio could not be compared.
    """

    exact: Mapping[str, Key]
    near: Mapping[str, Key]
    unread: Mapping[str, str]


def audio_keys(manifest: Manifest, workers: int | None, progress: Progress) -> AudioKeys:
    """Fingerprint every recording of the manifest, in parallel.

    Args:
        manifest: whose utterances to compare; those without audio are passed over.
        workers: threads; the number of processors unless told.
        progress: hook.
    """
    listed = [u for u in manifest if u.audio is not None]
    prints: dict[str, Fingerprint] = {}
    unread: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        results = pool.map(lambda u: _print_of(manifest, u), listed)
        for done, (utterance, result) in enumerate(zip(listed, results, strict=True), start=1):
            if isinstance(result, str):
                unread[utterance.id] = result
            else:
                prints[utterance.id] = result
            progress(ProgressEvent("compare audio", done, len(listed), "utterances"))
    ids = list(prints)
    roots = _components(len(ids), near_pairs(list(prints.values())))
    firsts: dict[str, str] = {}
    for name in ids:
        firsts.setdefault(prints[name].digest, name)
    return AudioKeys(
        {name: ("", firsts[prints[name].digest]) for name in ids},
        {name: ("", ids[root]) for name, root in zip(ids, roots, strict=True)},
        unread,
    )


def _print_of(manifest: Manifest, utterance: Utterance) -> Fingerprint | str:
    try:
        path = manifest.path(utterance.audio or "")
        return fingerprint(path, utterance.start, utterance.end)
    except (MediaError, ManifestError) as error:
        return str(error)


def _components(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the smallest member of each connected set."""
    root = list(range(count))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        root[high] = low
    return [find(place) for place in range(count)]
