"""Leave one session, speaker or corpus out: each is the test part once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest
from emofuse.protocols.contract import Aspect, Fold, Protocol
from emofuse.protocols.dev import make_fold
from emofuse.protocols.groups import GroupBy, group_names, group_utterances

__all__ = ["LeaveOneCorpusOut", "LeaveOneSessionOut", "LeaveOneSpeakerOut"]


class _LeaveOneOut(Protocol):
    by: ClassVar[GroupBy]

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make one fold a group, in natural order.

        Raises:
            ProtocolError: fewer than two groups, or utterances that name none.
        """
        groups = group_utterances(manifest, self.by, self.options.name)
        if len(groups) < 2:
            only = next(iter(groups), ("", "none"))[1]
            raise ProtocolError(
                f"{self.options.name} needs two or more {self.by} groups; the manifest has "
                f"{len(groups)} ({only}); take group-kfold, official or random"
            )
        names = group_names(groups, self.by)
        return [
            make_fold(
                names[held],
                (u for key, group in groups.items() if key != held for u in group),
                groups[held],
                self.options,
                number,
            )
            for number, held in enumerate(groups)
        ]


class LeaveOneSessionOut(_LeaveOneOut):
    """Each session is the test part once; scripted sentences may recur."""

    by = "session"
    allows: ClassVar[frozenset[Aspect]] = frozenset({"text"})


class LeaveOneSpeakerOut(_LeaveOneOut):
    """Each speaker is the test part once; partners share sessions, dialogues and sentences."""

    by = "speaker"
    allows: ClassVar[frozenset[Aspect]] = frozenset({"session", "dialogue", "text"})


class LeaveOneCorpusOut(_LeaveOneOut):
    """Each corpus is the test part once; common phrases may recur."""

    by = "corpus"
    allows: ClassVar[frozenset[Aspect]] = frozenset({"text"})
