"""Folds in which no sentence is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from emofuse.manifest import Manifest
from emofuse.protocols.contract import Aspect, Fold, Protocol, ProtocolOptions
from emofuse.protocols.group_kfold import kfold_by

__all__ = ["TextDisjoint", "TextDisjointOptions"]


class TextDisjointOptions(ProtocolOptions):
    """Options of `TextDisjoint`.

    Attributes:
        k: number of folds, at most the number of different sentences.
    """

    k: int = Field(default=5, ge=2, le=1000)


class TextDisjoint(Protocol):
    """K folds; no sentence, compared by its words, is in train and in test; speakers may be."""

    options_type: ClassVar[type[ProtocolOptions]] = TextDisjointOptions
    allows: ClassVar[frozenset[Aspect]] = frozenset({"speaker", "session", "dialogue"})

    def __init__(self, options: TextDisjointOptions) -> None:
        super().__init__(options)
        self._k = options.k

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make ``k`` folds.

        Raises:
            ProtocolError: fewer sentences than folds, or utterances without a text.
        """
        return kfold_by(manifest, "text", self._k, self.options)
