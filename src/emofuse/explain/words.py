"""Which words an answer rests on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emofuse.encoders.contract import Encoder, Item
from emofuse.encoders.hf_text import HFText, Token
from emofuse.encoders.ngrams import NGrams
from emofuse.errors import EncoderError
from emofuse.explain.integrated import Attributed, integrate
from emofuse.explain.options import ExplainOptions, ScoreKind
from emofuse.explain.panel import NotApplicable
from emofuse.explain.scores import company_effect, score_of
from emofuse.explain.subject import Case
from emofuse.explain.unpooled import pool_tensor
from emofuse.media.text import normalise_text
from emofuse.models.contract import Batch, Sequences

__all__ = ["Word", "by_word", "embedded_tokens", "frame_tokens", "leave_one_out", "words_of"]

SAME = 1e-2
MOVES = 1e-4


@dataclass(frozen=True)
class Word:
    """A stretch of text between blanks: characters ``start`` up to ``end``."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """Cut a text at its blanks.

    >>> [word.text for word in words_of("So, what?")]
    ['So,', 'what?']
    """
    return [Word(m[0], m.start(), m.end()) for m in re.finditer(r"\S+", text)]


def frame_tokens(encoder: Encoder, text: str, count: int) -> list[Token]:
    """Name the rows of a text's frames.

    Raises:
        NotApplicable: the encoder does not say what its rows are.
    """
    tokens: list[Token] = []
    if isinstance(encoder, HFText):
        tokens = encoder.named_tokens(text)
    elif isinstance(encoder, NGrams):
        words = normalise_text(text).split() or text.split()
        tokens = [Token(word, place, False, None) for place, word in enumerate(words)]
    if len(tokens) != count:
        raise NotApplicable(f"the text's {count} rows have no names: its encoder does not say")
    return tokens


def leave_one_out(case: Case, words: Sequence[Word], kind: ScoreKind) -> Tensor:
    """Score the utterance less its score without each word, encoded anew: ``(words,)``.

    Nothing is approximated: it is the very answer to the shorter text. Where the only word is left
    out the text is absent; NaN if the model cannot live without it.

    Raises:
        NotApplicable: the text has no encoder here.
    """
    text = case.utterance.text or ""
    encoder = case.encoder("text")
    drops = torch.full((len(words),), float("nan"))
    with torch.no_grad():
        whole = score_of(case.model(case.batch).logits, case.target, kind)[0]
        for place, word in enumerate(words):
            batch = _with_text(case, encoder, f"{text[: word.start]} {text[word.end :]}")
            if batch is not None:
                drops[place] = whole - score_of(case.model(batch).logits, case.target, kind)[0]
    return drops


def _with_text(case: Case, encoder: Encoder, text: str) -> Batch | None:
    """Give the utterance with another text; None where the model cannot answer."""
    parts = dict(case.batch.modalities)
    plain = " ".join(text.split())
    try:
        (frames,) = encoder.encode([Item(case.id, text=plain)]) if plain else (None,)
    except EncoderError:
        return None
    if frames is not None:
        values = torch.from_numpy(frames)[None]
        parts["text"] = Sequences(values, torch.ones(values.shape[:2], dtype=torch.bool))
        return Batch(parts)
    parts.pop("text")
    return Batch(parts) if parts and "text" not in case.model.needs() else None


def embedded_tokens(
    case: Case, options: ExplainOptions
) -> tuple[list[Token], Tensor, Attributed, str]:
    """Integrate gradients from word embeddings, through the text encoder and the model.

    Returns:
        The tokens, the attribution of each, how the integral went, and the baseline in words.

    Raises:
        NotApplicable: the text encoder is no network, or does not give the stored features again.
    """
    encoder = case.encoder("text")
    if not isinstance(encoder, HFText):
        raise NotApplicable(
            f"the text encoder {encoder.spec.name!r} is no network: words are left out instead"
        )
    tokens = encoder.named_tokens(case.utterance.text or "")
    inputs = encoder.embed([one.number for one in tokens])[None]
    blank = encoder.blank()
    start = encoder.embed([one.number if one.special else blank for one in tokens])[None]
    to_text = _text_feature(encoder)
    _check(case, to_text(inputs))

    def score(embedded: Tensor) -> Tensor:
        values = to_text(embedded)
        parts = {
            name: Sequences(
                part.values.expand(len(values), -1, -1), part.mask.expand(len(values), -1)
            )
            for name, part in case.batch.modalities.items()
        }
        parts["text"] = Sequences(values, parts["text"].mask)
        return score_of(case.model(Batch(parts)).logits, case.target, options.score)

    alone = company_effect(case.model, case.batch) > MOVES
    found = integrate(score, [inputs], [start], options, alone=alone)
    baseline = f"the same text with every word piece replaced by token {blank}, markers kept"
    return tokens, found.values[0].sum(dim=1), found, baseline


def _text_feature(encoder: HFText) -> Callable[[Tensor], Tensor]:
    """Give the function from embedded tokens to the text feature."""
    pooled = encoder.spec.granularity == "pooled"

    def feature(embedded: Tensor) -> Tensor:
        states = encoder.states_from(embedded)
        return pool_tensor(states, encoder.spec.pooling) if pooled else states

    return feature


def _check(case: Case, values: Tensor) -> None:
    stored = case.batch.modalities["text"].values
    limit = SAME * max(1.0, float(stored.abs().max()))
    if values.shape != stored.shape or float((values - stored).abs().max()) > limit:
        raise NotApplicable("the text encoder, entered at its embeddings, gives other features")


def by_word(tokens: Sequence[Token], values: Tensor, words: Sequence[Word]) -> Tensor | None:
    """Sum the attributions of a word's pieces; None where the tokenizer tells no places.

    Args:
        tokens: with the characters they cover.
        values: ``(tokens,)``.
        words: from `words_of`.
    """
    if any(one.span is None and not one.special for one in tokens):
        return None
    found = torch.zeros(len(words), dtype=torch.float64)
    for token, value in zip(tokens, values, strict=True):
        if token.span is None:
            continue
        middle = (token.span[0] + token.span[1]) / 2
        for place, word in enumerate(words):
            if word.start <= middle <= word.end:
                found[place] += float(value)
                break
    return found
