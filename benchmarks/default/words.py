"""What words do to the bundle that comes along, on speakers that the models did not learn from.

python words.py RUN MELD.jsonl: UA in per cent of the voice alone, with the words really said, with
words of MELD's test part of the same emotion, and with those of another one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.manifest import Manifest
from emofuse.models.contract import Batch, Sequences
from emofuse.training.again.examine import load_model, open_run

CORPORA = ("emodb", "ravdess", "nemo")


def main(run: Path, meld: Path) -> None:
    """Print a table."""
    opened = open_run(run)
    scheme = opened.data.scheme
    random = np.random.default_rng(0)
    texts: dict[str, list[str]] = {name: [] for name in scheme.classes}
    for one in Manifest.load(meld):
        if one.split == "test" and one.text and one.emotion in texts:
            texts[str(one.emotion)].append(one.text)
    encoder = load_encoder("text", EncoderSpec(name="ngrams", dim=4096))
    hits: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for job in opened.jobs:
        model = load_model(opened, job).eval()
        ids = [i for i in job.fold.test if opened.data.manifest[i].corpus in CORPORA]
        if not ids:
            continue
        gold = [str(opened.data.manifest[i].emotion) for i in ids]
        batch = opened.data.table.batch(opened.data.table.rows(ids))
        audio = batch.modalities["audio"]
        other = [str(random.choice([n for n in scheme.classes if n != name])) for name in gold]
        ways = {
            "voice alone": Batch({"audio": audio}),
            "own words": batch,
            "same emotion": with_words(audio, gold, texts, encoder, random),
            "another emotion": with_words(audio, other, texts, encoder, random),
        }
        for way, one in ways.items():
            with torch.no_grad():
                said = model(one).logits.argmax(dim=1).tolist()
            for i, right, number in zip(ids, gold, said, strict=True):
                key = (way, str(opened.data.manifest[i].corpus))
                hits.setdefault(key, []).append((right, scheme.classes[number] == right))
    for (way, corpus), found in sorted(hits.items(), key=lambda pair: pair[0][::-1]):
        shares = [np.mean([hit for name, hit in found if name == k]) for k in scheme.classes]
        print(f"{corpus:8} {way:16} {100 * np.mean(shares):.1f}")


def with_words(audio, names, texts, encoder, random) -> Batch:  # type: ignore[no-untyped-def]
    """Put words of an emotion beside each voice."""
    drawn = [Item("", text=str(random.choice(texts[name]))) for name in names]
    values = torch.from_numpy(np.stack(encoder.encode(drawn)))
    mask = torch.ones(len(drawn), 1, dtype=torch.bool)
    return Batch({"audio": audio, "text": Sequences(values, mask)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
