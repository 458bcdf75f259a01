"""Text as it is compared and cleaned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["normalise_text", "repair_cp1252", "strip_annotations", "word_errors"]

_BRACKETS = re.compile(r"\[[^\]]*\]|\([^)]*\)|\{[^}]*\}")


def normalise_text(text: str) -> str:
    r"""Reduce a text to its words, for comparison: case, punctuation and spacing do not count.

    >>> normalise_text("  I\u2019m  FINE, thanks! ")
    "i'm fine thanks"
    """
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return " ".join("".join(c if _in_word(c) else " " for c in plain).split())


def _in_word(character: str) -> bool:
    """Letters, digits, the apostrophe, and marks: the vowel signs of Devanagari are marks."""
    if character.isalnum() or character == "'":
        return True
    return unicodedata.category(character).startswith("M")


def strip_annotations(text: str) -> str:
    """Take out bracketed annotations such as ``[LAUGHTER]`` and tidy the spacing.

    >>> strip_annotations("Well, [LAUGHTER] yes (breathing).")
    'Well, yes .'
    """
    return " ".join(_BRACKETS.sub(" ", text).split())


def repair_cp1252(text: str) -> str:
    r"""Repair Windows-1252 punctuation that was decoded as Latin-1 (control characters C1).

    >>> repair_cp1252("I\x92m fine\x85")
    'I\u2019m fine\u2026'
    """
    return re.sub("[\x80-\x9f]", lambda m: m[0].encode("latin-1").decode("cp1252", "replace"), text)


def word_errors(reference: Sequence[str], found: Sequence[str]) -> int:
    """Count the words that must be changed, left out or put in to get from one text to another.

    >>> word_errors("the cat sat".split(), "a cat sat down".split())
    2
    """
    row = list(range(len(found) + 1))
    for place, word in enumerate(reference, start=1):
        diagonal, row[0] = row[0], place
        for other, heard in enumerate(found, start=1):
            cost = diagonal + (word != heard)
            diagonal = row[other]
            row[other] = min(cost, diagonal + 1, row[other - 1] + 1)
    return row[-1]
