"""Leave one session, speaker or corpus out: each is the test part once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from emofuse.errors import ProtocolError, nearest_hint
from emofuse.manifest import Manifest
from emofuse.protocols.contract import Aspect, Fold, Protocol, ProtocolOptions
from emofuse.protocols.dev import make_fold
from emofuse.protocols.groups import GroupBy, group_names, group_utterances

__all__ = ["LeaveOneCorpusOut", "LeaveOneSessionOut", "LeaveOneSpeakerOut"]


class LeaveOneOutOptions(ProtocolOptions):
    """Options of the protocols that leave a group out.

    Attributes:
        judged: names of the groups that are left out, each once; the others are learned from alone.
            Empty = every group.
    """

    judged: tuple[str, ...] = ()


class _LeaveOneOut(Protocol):
    options_type = LeaveOneOutOptions
    by: ClassVar[GroupBy]
    options: LeaveOneOutOptions

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make one fold a group, in natural order.

        Raises:
            ProtocolError: fewer than two groups, utterances that name none, or a judged group that
                is not there.
        """
        groups = group_utterances(manifest, self.by, self.options.name)
        if len(groups) < 2:
            only = next(iter(groups), ("", "none"))[1]
            raise ProtocolError(
                f"{self.options.name} needs two or more {self.by} groups; the manifest has "
                f"{len(groups)} ({only}); take group-kfold, official or random"
            )
        names = group_names(groups, self.by)
        judged = self._judged([name.removeprefix(f"{self.by} ") for name in names.values()])
        return [
            make_fold(
                names[held],
                (u for key, group in groups.items() if key != held for u in group),
                groups[held],
                self.options,
                number,
            )
            for number, held in enumerate(groups)
            if names[held].removeprefix(f"{self.by} ") in judged
        ]

    def _judged(self, there: Sequence[str]) -> Sequence[str]:
        """Give the names of the groups that are left out."""
        for name in self.options.judged:
            if name not in there:
                hint = nearest_hint(name, there)
                raise ProtocolError(f"{self.options.name}: no {self.by} {name!r} to judge; {hint}")
        return self.options.judged or there


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
