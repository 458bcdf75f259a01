"""Take of MELD what the bundle learns from, alone and with the official test part.

python meld_part.py meld.jsonl meld4.jsonl official.jsonl 683: of the training rows that many of
each of the four emotions, those whose id has the lowest SHA-256; the same with every test row. Joy
is called happiness in a manifest.
"""

from __future__ import annotations

import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

from emofuse.manifest import Manifest

EMOTIONS = ("anger", "happiness", "neutral", "sadness")


def main(source: str, learned: str, official: str, each: int) -> None:
    """Write both parts."""
    whole = Manifest.load(Path(source))
    counts: Counter[str] = Counter()
    kept: set[str] = set()
    for one in sorted(whole, key=lambda u: sha256(u.id.encode()).hexdigest()):
        if one.split == "train" and one.emotion in EMOTIONS and counts[one.emotion] < each:
            counts[one.emotion] += 1
            kept.add(one.id)
    whole.filter(lambda u: u.id in kept).save(Path(learned))
    whole.filter(lambda u: u.id in kept or u.split == "test").save(Path(official))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
