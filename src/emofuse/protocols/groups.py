"""What utterances are grouped by: speaker, session, dialogue, text, corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from emofuse.errors import ProtocolError, shorten
from emofuse.manifest import Utterance
from emofuse.media.text import normalise_text

__all__ = ["GroupBy", "Key", "group_key", "group_names", "group_utterances", "natural"]

GroupBy = Literal["speaker", "session", "dialogue", "text", "corpus"]
Key = tuple[str, str]
"""Corpus and value: speaker 01 of one corpus is not speaker 01 of another."""


def group_key(utterance: Utterance, by: GroupBy) -> Key | None:
    """Name the group of an utterance; None where the manifest does not say.

    Texts are compared by their words across corpora, everything else within one corpus. Where the
    words are not known but the corpus numbers its sentences (``extra["sentence"]``), the number
    stands for the text, within its corpus.

    >>> group_key(Utterance(id="a", text="Oh, NO!", corpus="meld"), "text")
    ('', 'oh no')
    """
    value: str | None = getattr(utterance, by)
    if value is None or not value.strip():
        sentence = utterance.extra.get("sentence") if by == "text" else None
        return None if sentence is None else (utterance.corpus or "", f"sentence {sentence}")
    if by == "text":
        return "", normalise_text(value) or value.strip()
    return ("" if by == "corpus" else utterance.corpus or ""), value


def group_utterances(
    utterances: Iterable[Utterance], by: GroupBy, purpose: str
) -> dict[Key, list[Utterance]]:
    """Sort utterances into groups; groups in natural order, utterances by id.

    Args:
        utterances: what to group.
        by: what to group by.
        purpose: who asks, for messages (a protocol's name).

    Raises:
        ProtocolError: some utterances do not say which group they belong to.
    """
    groups: dict[Key, list[Utterance]] = {}
    unknown: list[str] = []
    total = 0
    for utterance in sorted(utterances, key=lambda u: u.id):
        total += 1
        key = group_key(utterance, by)
        if key is None:
            unknown.append(utterance.id)
        else:
            groups.setdefault(key, []).append(utterance)
    if unknown:
        raise ProtocolError(
            f"{purpose}: {len(unknown):,} of {total:,} utterances have no {by} "
            f"(first {shorten(unknown[0])}); fill in {by!r} or cut by something else"
        )
    return {key: groups[key] for key in sorted(groups, key=natural)}


def group_names(keys: Iterable[Key], by: GroupBy) -> Mapping[Key, str]:
    """Name groups for people; the corpus is named where there are several.

    >>> group_names([("", "03"), ("", "08")], "speaker")
    {('', '03'): 'speaker 03', ('', '08'): 'speaker 08'}
    """
    listed = list(keys)
    several = len({corpus for corpus, _ in listed}) > 1
    return {
        (corpus, value): f"{by} {corpus}/{value}" if several and corpus else f"{by} {value}"
        for corpus, value in listed
    }


def natural(key: Key) -> tuple[tuple[tuple[int, int, str], ...], Key]:
    """Sort key under which session 2 comes before session 10."""
    parts = re.findall(r"\d+|\D+", "\0".join(key))
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts), key
