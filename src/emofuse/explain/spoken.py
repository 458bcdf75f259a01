"""The panel of words: gradients to word embeddings, and words left out one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from emofuse.errors import MissingExtraError
from emofuse.evaluation.tables import Table
from emofuse.explain import draw
from emofuse.explain.deletion import rank_correlation
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import NotApplicable, Panel, Picture, Sheet
from emofuse.explain.scores import score_words
from emofuse.explain.subject import Case
from emofuse.explain.words import Word, by_word, embedded_tokens, leave_one_out, words_of

__all__ = ["words_panel"]

TITLE = "Which words"
MOST_WORDS = 200


def words_panel(case: Case, options: ExplainOptions) -> Panel:
    """Attribute the score to the words of the transcript.

    Raises:
        NotApplicable: the utterance has no text that the model reads, or no encoder for it.
    """
    text = case.utterance.text or ""
    if "text" not in case.batch.modalities:
        raise NotApplicable("the model reads no text of this utterance")
    words = words_of(text)
    if not words:
        raise NotApplicable("the transcript has no words here: its features were imported")
    if len(words) > MOST_WORDS:
        raise NotApplicable(f"{len(words)} words are more than {MOST_WORDS}: cut the utterance up")
    dropped = leave_one_out(case, words, options.score)
    notes: list[str] = []
    numbers: dict[str, object] = {"left_out": dict(_named(words, dropped))}
    columns: dict[str, Tensor] = {}
    try:
        tokens, values, went, baseline = embedded_tokens(case, options)
        notes += [f"gradients to word embeddings, from {baseline}", went.words()]
        numbers |= {"embeddings": went.numbers()}
        summed = by_word(tokens, values, words)
        if summed is not None:
            columns["gradients"] = summed
            numbers["gradients"] = dict(_named(words, summed))
            agree = rank_correlation(summed.tolist(), dropped.tolist())
            if agree is not None:
                notes.append(f"rank correlation of gradients and left-out words: {agree:.2f}")
        else:
            pieces = [(one.piece, float(v)) for one, v in zip(tokens, values, strict=True)]
            numbers["pieces"] = pieces
            notes.append("the tokenizer does not say which characters a piece covers")
    except (NotApplicable, MissingExtraError) as error:
        notes.append(f"no gradients to words: {error}")
    columns["left out"] = dropped
    return _panel(case, options, words, columns, numbers=numbers, notes=notes)


def _named(words: Sequence[Word], values: Tensor) -> list[tuple[str, float | None]]:
    """Give each word, numbered where it comes twice, its value; None for NaN."""
    found = []
    for place, (word, value) in enumerate(zip(words, values.tolist(), strict=True), start=1):
        found.append((f"{place} {word.text}", None if np.isnan(value) else value))
    return found


def _panel(
    case: Case,
    options: ExplainOptions,
    words: Sequence[Word],
    columns: dict[str, Tensor],
    *,
    numbers: dict[str, object],
    notes: list[str],
) -> Panel:
    shown_by, values = next(iter(columns.items()))
    table = tuple(
        (word.text, *(_cell(float(one[place])) for one in columns.values()))
        for place, word in enumerate(words)
    )
    labels = [word.text for word in words]
    figure = draw.signed_bars(labels, np.nan_to_num(values.double().numpy()), shown_by)
    rows = tuple(
        (word.text, word.start, word.end, *(float(one[place]) for one in columns.values()))
        for place, word in enumerate(words)
    )
    return Panel(
        "words",
        TITLE,
        f"What each word adds to the {score_words(options.score, case.target_name)}. "
        "Left out: the score less the score of the text without the word, encoded anew, which is "
        "exact. Gradients: integrated from the word embeddings on, summed over a word's pieces. "
        f"The transcript is coloured by: {shown_by}.",
        (Picture("words", f"What each word adds, by {shown_by}", figure),),
        (Table("words", ("word", *columns), table),),
        (Sheet("words", ("word", "from", "to", *columns), rows),),
        numbers,
        tuple(notes),
        _spans(case.utterance.text or "", words, values),
    )


def _cell(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4g}"


def _spans(
    text: str, words: Sequence[Word], values: Tensor
) -> tuple[tuple[str, float | None], ...]:
    """Cut the text into words with a value and what lies between them."""
    spans: list[tuple[str, float | None]] = []
    place = 0
    for word, value in zip(words, values.tolist(), strict=True):
        if word.start > place:
            spans.append((text[place : word.start], None))
        spans.append((word.text, None if np.isnan(value) else value))
        place = word.end
    return tuple(spans)
