"""Sentences whose words are only partly telling, for the synthetic corpus.

A sentence is an opening, a subject and a predicate; only the predicate may carry emotion. Some
predicates belong to one emotion, some to two that share a mood (anger and sadness are both about
something bad), some to none, and some mislead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emofuse.errors import CorpusError

__all__ = ["MIX", "PREDICATES", "Sentences"]

OPENINGS = ("", "well,", "so", "look,", "you know,", "listen,", "oh,", "today", "again", "I think")
SUBJECTS = (
    "the letter",
    "my sister",
    "the train",
    "our garden",
    "the team",
    "the kitchen",
    "the doctor",
    "my phone",
    "the meeting",
    "that song",
    "our neighbour",
    "the car",
    "my brother",
    "the house",
    "the teacher",
    "this week",
)
PREDICATES: Mapping[str, tuple[str, ...]] = {
    "anger": (
        "is a disgrace",
        "makes me furious",
        "lied to my face",
        "is an outrage",
        "drives me mad",
        "should shut up",
        "is so unfair",
        "had no right to",
    ),
    "happiness": (
        "is wonderful",
        "made my day",
        "won the prize",
        "makes me laugh",
        "is the best ever",
        "is such a delight",
        "was so much fun",
        "is a dream come true",
    ),
    "neutral": (
        "is on the left",
        "opens at nine",
        "has two doors",
        "is next to the bank",
        "takes ten minutes",
        "is listed on page four",
        "moved to room six",
        "is made of wood",
    ),
    "sadness": (
        "left me all alone",
        "makes me cry",
        "is gone forever",
        "broke my heart",
        "will never come back",
        "is such a loss",
        "passed away",
        "feels so empty",
    ),
    "bad": (
        "broke down once more",
        "did not work out",
        "was ruined",
        "forgot about me",
        "failed the test",
        "was a mistake",
        "went wrong",
        "let us down",
    ),
    "fair": (
        "came on time",
        "is ready now",
        "works again",
        "looks fine to me",
        "went as planned",
        "has been repaired",
        "is open to all",
        "did it well",
    ),
    "plain": (
        "called this morning",
        "is over there",
        "came up again",
        "was different before",
        "will be here soon",
        "said something",
        "is what I meant",
        "has changed a bit",
    ),
}
"""Kind -> predicates; a kind is an emotion, a mood that two emotions share, or ``plain``."""

_MOOD = {"anger": "bad", "sadness": "bad", "happiness": "fair", "neutral": "fair"}
MIX: Mapping[str, float] = {"own": 0.46, "mood": 0.40, "plain": 0.09, "misleading": 0.05}
"""Share of sentences whose predicate is the emotion's own, its mood's, nobody's, another's."""


class Sentences:
    """Deals out sentences, none of them twice.

    Args:
        draw: source of every random choice.
    """

    def __init__(self, draw: np.random.Generator) -> None:
        self._draw = draw
        self._pools: dict[str, list[str]] = {}

    def deal(self, emotion: str, count: int) -> list[str]:
        """Give ``count`` sentences for an emotion, mixed as `MIX` says.

        Raises:
            CorpusError: the words are used up.
        """
        kinds = list(MIX)
        edges = np.cumsum(list(MIX.values()))[:-1]
        points = (np.arange(count) + self._draw.uniform()) / max(count, 1)
        places = self._draw.permutation(np.searchsorted(edges, points))
        return [self._one(emotion, kinds[place]) for place in places]

    def _one(self, emotion: str, kind: str) -> str:
        others = [name for name in _MOOD if name != emotion]
        pool = {
            "own": emotion,
            "mood": _MOOD[emotion],
            "plain": "plain",
            "misleading": others[int(self._draw.integers(len(others)))],
        }[kind]
        if pool not in self._pools:
            self._pools[pool] = self._shuffled(PREDICATES[pool])
        if not self._pools[pool]:
            raise CorpusError(
                "the synthetic corpus has no sentences left; ask for fewer speakers or utterances"
            )
        return self._pools[pool].pop()

    def _shuffled(self, predicates: Sequence[str]) -> list[str]:
        every = [
            f"{opening} {subject} {predicate}".strip()
            for opening in OPENINGS
            for subject in SUBJECTS
            for predicate in predicates
        ]
        return [every[place] for place in self._draw.permutation(len(every))]
