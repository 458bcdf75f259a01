"""Cut dev from train by group, never from test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emofuse.errors import ProtocolError
from emofuse.manifest import Utterance
from emofuse.protocols.balance import choose_groups, class_counts
from emofuse.protocols.contract import Fold, ProtocolOptions
from emofuse.protocols.groups import GroupBy, group_key, group_utterances

__all__ = ["DevCut", "cut_dev", "make_fold"]

LADDER: tuple[GroupBy, ...] = ("speaker", "session", "dialogue", "text")


@dataclass(frozen=True)
class DevCut:
    """A training part, taken apart.

    Attributes:
        train, dev: utterance ids, sorted.
        by: what was kept whole: a rung of ``speaker, session, dialogue, text, none``; empty where
            there is no dev.
    """

    train: tuple[str, ...]
    dev: tuple[str, ...]
    by: str


def cut_dev(utterances: Iterable[Utterance], options: ProtocolOptions, number: int = 0) -> DevCut:
    """Cut dev from the training part of a fold.

    Groups stay whole, at least one stays in train, and classes are covered on both sides as far
    as the groups admit. Where everything is one group, the next rung of the ladder ``speaker,
    session, dialogue, text, none`` is taken, and the answer says which.

    Args:
        utterances: the training part.
        options: ``dev``, ``dev_by`` and ``seed``.
        number: of the fold; folds draw differently.

    Raises:
        ProtocolError: ``dev_by`` names a group that some utterances do not have.
    """
    listed = sorted(utterances, key=lambda u: u.id)
    if options.dev == 0.0 or len(listed) < 2:
        return DevCut(tuple(u.id for u in listed), (), "")
    by, groups = _groups(listed, options)
    rng = np.random.default_rng([options.seed, number])
    chosen = choose_groups(class_counts(groups), options.dev, rng)
    dev = {u.id for row in chosen for u in groups[int(row)]}
    return DevCut(
        tuple(u.id for u in listed if u.id not in dev),
        tuple(u.id for u in listed if u.id in dev),
        by,
    )


def _groups(
    utterances: Sequence[Utterance], options: ProtocolOptions
) -> tuple[str, list[list[Utterance]]]:
    ladder = LADDER if options.dev_by != "none" else ()
    for start, by in enumerate(LADDER):
        if by == options.dev_by:
            group_utterances(utterances, by, f"dev_by={by}")
            ladder = LADDER[start:]
    for by in ladder:
        if all(group_key(u, by) is not None for u in utterances):
            groups = list(group_utterances(utterances, by, "dev").values())
            if len(groups) > 1:
                return by, groups
    return "none", [[u] for u in utterances]


def make_fold(
    name: str,
    learn: Iterable[Utterance],
    test: Iterable[Utterance],
    options: ProtocolOptions,
    number: int = 0,
) -> Fold:
    """Make a fold from what may be learnt from and what is judged; dev is cut from the former.

    Raises:
        ProtocolError: nothing to learn from, or nothing to judge.
    """
    listed = list(learn)
    if not listed:
        raise ProtocolError(f"fold {name!r} has an empty train part; take another protocol")
    cut = cut_dev(listed, options, number)
    return Fold(name, cut.train, cut.dev, tuple(sorted(u.id for u in test)), cut.by)
