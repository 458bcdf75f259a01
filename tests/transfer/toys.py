"""Toy corpora that speak of the same emotions in different fillers."""

from __future__ import annotations

import numpy as np
from tests.sentences import CLASSES, VOCABULARY

from emofuse.manifest import Utterance

FILLER = {
    "red": ["the", "we", "is", "it", "to", "and"],
    "blue": ["der", "wir", "ist", "es", "zu", "und"],
    "green": ["ten", "my", "jest", "to", "do", "i"],
}


def utterances(corpus, speakers=6, each=9, seed=0, splits=None):
    """Sentences whose words mostly tell the emotion; every corpus has filler words of its own."""
    random = np.random.default_rng([seed, len(corpus)])
    found = []
    for number in range(speakers * each):
        emotion, speaker = CLASSES[number % 3], number // each
        words = [*random.choice(FILLER[corpus], 3), *random.choice(VOCABULARY[emotion].split(), 2)]
        random.shuffle(words)
        found.append(
            Utterance(
                id=f"{corpus}-{number:03d}",
                corpus=corpus,
                text=" ".join(words) + f" {corpus} {number}",
                emotion=emotion,
                speaker=f"{corpus}-{speaker}",
                split=None if splits is None else splits[speaker % len(splits)],
            )
        )
    return found
