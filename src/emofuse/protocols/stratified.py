"""Random by utterance: what many papers do, and what leaks speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from emofuse.errors import ProtocolError
from emofuse.manifest import Manifest
from emofuse.protocols.balance import deal
from emofuse.protocols.contract import Aspect, Fold, Protocol, ProtocolOptions
from emofuse.protocols.dev import make_fold

__all__ = ["ANYTHING", "Random", "RandomOptions"]

ANYTHING: frozenset[Aspect] = frozenset({"speaker", "session", "dialogue", "text", "audio"})
"""What utterances cut at random may share: whatever there is; the stamp says what it was."""


class RandomOptions(ProtocolOptions):
    """Options of `Random`.

    Attributes:
        k: number of folds.
        share: test share of a single fold, in place of ``k`` folds.
    """

    k: int = Field(default=5, ge=2, le=1000)
    share: float | None = Field(default=None, gt=0.0, lt=1.0)


class Random(Protocol):
    """Utterances at random, stratified by emotion; speakers, sentences and dialogues leak."""

    options_type: ClassVar[type[ProtocolOptions]] = RandomOptions
    allows: ClassVar[frozenset[Aspect]] = ANYTHING

    def __init__(self, options: RandomOptions) -> None:
        super().__init__(options)
        self._k, self._share = options.k, options.share

    def folds(self, manifest: Manifest) -> Sequence[Fold]:
        """Make ``k`` folds, or one with the test share.

        Raises:
            ProtocolError: fewer utterances than folds.
        """
        rng = np.random.default_rng(self.options.seed)
        if self._share is not None:
            tests = [_stratified(manifest, self._share, rng)]
        elif len(manifest) < self._k:
            raise ProtocolError(
                f"{self.options.name}: {len(manifest)} utterances cannot make k={self._k} folds"
            )
        else:
            tests = [set(hand) for hand in deal(list(manifest), self._k, rng)]
        return [
            make_fold(
                f"fold {number + 1}" if len(tests) > 1 else "random",
                (u for u in manifest if u.id not in test),
                (u for u in manifest if u.id in test),
                self.options,
                number,
            )
            for number, test in enumerate(tests)
        ]


def _stratified(manifest: Manifest, share: float, rng: np.random.Generator) -> set[str]:
    """Draw ``round(share * n)`` ids (at least one, never all), each class its share."""
    (order,) = deal(list(manifest), 1, rng)
    wanted = min(max(round(share * len(order)), 1), len(order) - 1)
    places = ((np.arange(wanted) + rng.random()) * len(order) / max(wanted, 1)).astype(int)
    return {order[place] for place in places}
