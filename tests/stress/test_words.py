"""Errors in transcripts: as many as asked for, counted by edit distance."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.augment.words import apply_edits, confusable, draw_edits, word_list
from emofuse.media.text import word_errors

SENTENCES = [
    "the house by the river was cold that winter and nobody came",
    "kids are talking by the door",
    "dogs are sitting by the door again today",
    "no",
    "well well well what have we here",
]
KNOWN = word_list(SENTENCES)


def distance(a: list[str], b: list[str]) -> int:
    """Edit distance by the textbook's full table."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0, :] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            swap = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(swap, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return int(table[-1, -1])


def test_word_errors_agree_with_the_table():
    random = np.random.default_rng(0)
    for _ in range(200):
        first, second = ([*random.choice([*"abcd"], random.integers(0, 9))] for _ in range(2))
        assert word_errors(first, second) == distance(first, second)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_error_rate_is_the_one_asked_for(rate):
    words = errors = 0
    for seed in range(300):
        for text in SENTENCES:
            edits = draw_edits(text, rate, KNOWN, np.random.default_rng(seed))
            heard = apply_edits(text, edits)
            found = distance(text.split(), heard.split())
            assert found == len(edits)  # none takes back another
            assert abs(found - rate * len(text.split())) < 1.0
            assert heard.split()  # something is always left
            errors, words = errors + found, words + len(text.split())
    assert errors / words == pytest.approx(rate, abs=0.01)


def test_no_errors_leave_the_text_as_it_is():
    odd = "  spaced   oddly "
    assert apply_edits(odd, ()) == odd
    assert draw_edits("", 0.5, KNOWN, np.random.default_rng(0)) == ()


def test_same_seed_same_errors_and_all_kinds_occur():
    def drawn(seed):
        return draw_edits(SENTENCES[0], 0.4, KNOWN, np.random.default_rng(seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    kinds = {edit.kind for seed in range(40) for edit in drawn(seed)}
    assert kinds == {"substitute", "delete", "insert"}


def test_words_are_taken_for_words_spelt_alike():
    known = ("cold", "door", "river", "talking", "walking", "winter")
    assert confusable("talking", known)[0] == "walking"
    assert "talking" not in confusable("talking", known)
    assert confusable("lonely", ("lonely",))  # a corpus of one word falls back on fillers
