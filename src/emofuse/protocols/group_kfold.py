"""K folds that keep groups whole and classes balanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest, Utterance
from emofuse.protocols.balance import class_counts, spread
from emofuse.protocols.contract import Aspect, Fold, Protocol, ProtocolOptions
from emofuse.protocols.dev import make_fold
from emofuse.protocols.groups import GroupBy, group_utterances

__all__ = ["GroupKFold", "GroupKFoldOptions", "kfold_by"]

DECLARES: Mapping[GroupBy, frozenset[Aspect]] = {
    "speaker": frozenset({"session", "dialogue", "text"}),
    "dialogue": frozenset({"speaker", "session", "text"}),
    "session": frozenset({"text"}),
    "text": frozenset({"speaker", "session", "dialogue"}),
    "corpus": frozenset({"text"}),
}
"""What folds by a group share by their nature."""


class GroupKFoldOptions(ProtocolOptions):
    """Options of `GroupKFold`.

    Attributes:
        by: what stays whole.
        k: number of folds.
    """

    by: GroupBy = "speaker"
    k: int = Field(default=5, ge=2, le=1000)


class GroupKFold(Protocol):
    """K folds; a speaker (dialogue, session, text, corpus) is wholly in train or in test."""

    options_type: ClassVar[type[ProtocolOptions]] = GroupKFoldOptions

    def __init__(self, options: GroupKFoldOptions) -> None:
        super().__init__(options)
        self._by: GroupBy = options.by
        self._k = options.k

    @property
    def declared(self) -> frozenset[Aspect]:
        """What follows from the group, and what the user allows."""
        return DECLARES[self._by] | frozenset(self.options.allow)

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make ``k`` folds.

        Raises:
            ProtocolError: fewer groups than folds, or utterances that name no group.
        """
        return kfold_by(manifest, self._by, self._k, self.options)


def kfold_by(manifest: Manifest, by: GroupBy, k: int, options: ProtocolOptions) -> list[Fold]:
    """Make ``k`` folds that keep the groups ``by`` whole.

    Raises:
        ProtocolError: fewer groups than folds, or utterances that name no group.
    """
    groups = list(group_utterances(manifest, by, options.name).values())
    if len(groups) < k:
        raise ProtocolError(
            f"{options.name}: {len(groups)} {by} groups cannot make k={k} folds; "
            f"legal k: 2 to {len(groups)}"
            if len(groups) > 1
            else f"{options.name}: all utterances share one {by}; cut by something else"
        )
    assigned = spread(class_counts(groups), k, np.random.default_rng(options.seed))
    hands: list[list[Utterance]] = [[] for _ in range(k)]
    for group, fold in zip(groups, assigned, strict=True):
        hands[int(fold)].extend(group)
    return [
        make_fold(
            f"fold {number + 1}",
            (u for other, part in enumerate(hands) if other != number for u in part),
            hand,
            options,
            number,
        )
        for number, hand in enumerate(hands)
    ]
