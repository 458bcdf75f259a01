"""The corpus's own split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest
from emofuse.protocols.contract import Aspect, Fold, Protocol
from emofuse.protocols.dev import make_fold

__all__ = ["Official", "official_fold"]

PARTS = ("train", "dev", "test")


class Official(Protocol):
    """The split that the corpus ships (``split`` in the manifest); it may share speakers."""

    allows: ClassVar[frozenset[Aspect]] = frozenset({"speaker", "session", "text"})

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make the one fold; where the corpus names no dev, it is cut from train by group.

        Raises:
            ProtocolError: no utterance is in train, or none in test.
        """
        return [official_fold(self, manifest)]


def official_fold(protocol: Protocol, manifest: Manifest) -> Fold:
    """Make the fold that ``Utterance.split`` describes; utterances without one stay out.

    Raises:
        ProtocolError: no utterance is in train, or none in test.
    """
    counts = Counter(u.split or "no split" for u in manifest)
    if not counts["train"] or not counts["test"]:
        listed = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
        raise ProtocolError(
            f"{protocol.options.name}: the manifest needs utterances with split train and with "
            f"split test (found: {listed}); take leave-one-speaker-out or group-kfold"
        )
    train, dev, test = ([u for u in manifest if u.split == part] for part in PARTS)
    if not dev:
        return make_fold("official", train, test, protocol.options)
    ids = [tuple(sorted(u.id for u in part)) for part in (train, dev, test)]
    return Fold("official", ids[0], ids[1], ids[2], "given")
