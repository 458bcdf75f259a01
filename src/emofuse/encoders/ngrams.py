"""Hashed words and characters: the plain text encoder that needs no weights.

A text is brought to its words (`media.text.normalise_text`). Counted are words, pairs of
neighbouring words, and runs of 3 to 5 characters inside each word with its blanks. Every n-gram
goes to one of ``dim`` places, with a sign, both taken from the CRC-32 of its UTF-8 bytes, so the
vector is the same on every machine. Counts are damped, ``sign(c) sqrt(|c|)``, and the vector has
Euclidean length 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np

from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item, Provenance
from emofuse.encoders.settings import refuse_options, require_text
from emofuse.errors import OptionError
from emofuse.media.text import normalise_text

__all__ = ["NGrams"]

DEFAULT_DIM = 1024
CHARACTERS = (3, 4, 5)


def _word_grams(words: Sequence[str]) -> Iterator[str]:
    yield from (f"w {word}" for word in words)
    yield from (f"p {a} {b}" for a, b in pairwise(words))
    for word in words:
        yield from _character_grams(f" {word} ")


def _character_grams(padded: str) -> Iterator[str]:
    for size in CHARACTERS:
        for start in range(len(padded) - size + 1):
            yield f"c {padded[start : start + size]}"


class NGrams(Encoder):
    """A hashed bag of n-grams: one vector a text, or with ``granularity: frames`` one a word.

    Args:
        spec: ``dim`` (1024 unless told) and ``granularity`` count.
        device: taken for the sake of the contract; the work is done by the processor.

    >>> encoder = NGrams(EncoderSpec(name="ngrams", dim=256))
    >>> encoder.encode([Item("a", text="so happy"), Item("b", text="So, HAPPY!")])[1].shape
    (1, 256)
    """

    modality = "text"
    reentrant = True
    provenance = Provenance(licence="none needed (a formula)", known=True)

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "layer", "pooling", "revision", texts=True)
        if not device:
            raise OptionError("a device is named, such as 'cpu'")
        self.spec = spec
        self.dim = spec.dim or DEFAULT_DIM
        self.revision = f"ngrams-1-{self.dim}"

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(1, dim)`` or ``(words, dim)`` array an item (see `Encoder.encode`)."""
        strip = self.spec.strip_events
        return [self._encode_one(require_text(item, strip_events=strip)) for item in items]

    def _encode_one(self, text: str) -> FloatArray:
        # A text of punctuation alone ("?!") has no words: its characters stand for it.
        words = normalise_text(text).split() or text.split()
        if self.spec.granularity == "pooled":
            return self._hash([words])
        return self._hash([[word] for word in words])

    def _hash(self, rows: Sequence[Sequence[str]]) -> FloatArray:
        counts = np.zeros((len(rows), self.dim), np.float64)
        for row, words in enumerate(rows):
            codes = np.fromiter(
                (crc32(gram.encode("utf-8", "replace")) for gram in _word_grams(words)), np.int64
            )
            signs = np.where(codes >> 31, 1.0, -1.0)
            np.add.at(counts[row], codes % self.dim, signs)
        damped = np.sign(counts) * np.sqrt(np.abs(counts))
        length = np.linalg.norm(damped, axis=1, keepdims=True)
        # Opposite signs may cancel out in a very short text; the first place then stands for it.
        damped[length[:, 0] == 0, 0] = 1.0
        return (damped / np.where(length > 0, length, 1.0)).astype(np.float32)
