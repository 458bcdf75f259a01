"""Errors in a transcript, as a recogniser makes them: words confused, lost, and put in."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field

from emofuse.media.text import word_errors
from emofuse.options import Options

__all__ = ["Edit", "apply_edits", "confusable", "draw_edits", "word_list"]

Kind = Literal["substitute", "delete", "insert"]
SHARES = (0.6, 0.25, 0.15)
"""Of substitutions, deletions and insertions: about what recognisers make."""
NEAREST = 5  # words that a word is taken for
ALIKE = 2  # letters by which their lengths differ, where there are enough such words
TRIES = 50
FILLERS = ("a", "and", "is", "it", "no", "so", "the", "uh", "um", "you")
"""Put in where the corpus has no other word to take."""


class Edit(Options):
    """One error.

    Attributes:
        kind: which.
        place: number of the word that is replaced or lost, or before which one is put in.
        word: what stands there instead, or is put in.
    """

    kind: Kind
    place: int = Field(ge=0)
    word: str = ""


def word_list(texts: Sequence[str]) -> tuple[str, ...]:
    """Give the different words of some texts, sorted; other words are confused with these."""
    return tuple(sorted({word.lower() for text in texts for word in text.split()}))


@lru_cache(maxsize=1 << 14)
def confusable(word: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Give the words that are spelt most like a word, the nearest first.

    >>> confusable("house", ("mouse", "rain", "horse", "house"))
    ('horse', 'mouse', 'rain')
    """
    plain = word.lower()
    others = [one for one in known if one != plain] or [one for one in FILLERS if one != plain]
    near = [one for one in others if abs(len(one) - len(plain)) <= ALIKE]
    others = near if len(near) >= NEAREST else others
    likeness = {one: SequenceMatcher(None, plain, one, autojunk=False).ratio() for one in others}
    return tuple(sorted(others, key=lambda one: (-likeness[one], one))[:NEAREST])


def draw_edits(
    text: str, rate: float, known: tuple[str, ...], random: np.random.Generator
) -> tuple[Edit, ...]:
    """Draw errors so that the word error rate is the one asked for.

    ``rate * words`` is rounded up or down at random, so that it holds on average where a sentence
    is too short for it; the edit distance to the text is exactly the number of errors drawn.

    Args:
        text: the transcript.
        rate: errors for each of its words, 0 to 1.
        known: words that others are taken for (see `word_list`).
        random: source of the draws.
    """
    words = text.split()
    count = min(int(rate * len(words) + random.random()), len(words))
    for wanted in range(count, 0, -1):  # fewer where a text has no room for so many
        for _ in range(TRIES):
            edits = _draw(words, wanted, known, random)
            if word_errors(words, _edited(words, edits)) == wanted:
                return edits
    return ()


def _draw(
    words: Sequence[str], count: int, known: tuple[str, ...], random: np.random.Generator
) -> tuple[Edit, ...]:
    places = sorted(random.choice(len(words), count, replace=False).tolist())
    kinds: tuple[Kind, ...] = ("substitute", "delete", "insert")
    found: list[Edit] = []
    for place in places:
        kind = kinds[int(random.choice(3, p=SHARES))]
        if kind == "delete" and count >= len(words):
            kind = "substitute"  # something is always left
        word = ""
        if kind == "substitute":
            near = confusable(words[place], known)
            word = near[int(random.integers(len(near)))]
        elif kind == "insert":
            pool = known or FILLERS
            word = pool[int(random.integers(len(pool)))]
        found.append(Edit(kind=kind, place=place, word=word))
    return tuple(found)


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Make the errors.

    >>> apply_edits("a b c", [Edit(kind="delete", place=0), Edit(kind="insert", place=2, word="x")])
    'b x c'
    """
    return " ".join(_edited(text.split(), edits)) if edits else text


def _edited(words: Sequence[str], edits: Sequence[Edit]) -> list[str]:
    at = {edit.place: edit for edit in edits}
    found: list[str] = []
    for place, word in enumerate(words):
        edit = at.get(place)
        if edit is None:
            found.append(word)
        elif edit.kind == "substitute":
            found.append(edit.word)
        elif edit.kind == "insert":
            found += [edit.word, word]
    return found
