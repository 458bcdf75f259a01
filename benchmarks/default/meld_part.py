"""Take a part of MELD's training rows in which every emotion is as frequent.

python meld_part.py meld.jsonl meld4.jsonl 683: that many rows of each of the four emotions, those
whose id has the lowest SHA-256. Joy is called happiness in a manifest.
"""

from __future__ import annotations

import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

from emofuse.manifest import Manifest

EMOTIONS = ("anger", "happiness", "neutral", "sadness")


def main(source: str, target: str, each: int) -> None:
    """Write the part."""
    whole = Manifest.load(Path(source))
    counts: Counter[str] = Counter()
    kept: set[str] = set()
    for one in sorted(whole, key=lambda u: sha256(u.id.encode()).hexdigest()):
        if one.split == "train" and one.emotion in EMOTIONS and counts[one.emotion] < each:
            counts[one.emotion] += 1
            kept.add(one.id)
    whole.filter(lambda u: u.id in kept).save(Path(target))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
