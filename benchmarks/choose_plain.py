"""How the features and the head of ``acoustic-linear`` were chosen: on ASED alone.

Sentences 06 and 07 of ASED (every speaker says them in all five emotions) without its copies. Every
encoder, with and without clipping at three standard deviations, gets a class-balanced logistic
regression and three scores (UA, the best of five strengths): ``few`` trains on nine speakers drawn
from seeds 0 to 14 and tests on the others; ``folds`` is eight folds by speaker; ``cross`` trains on
one sentence and tests on the other sentence of other speakers.

    EMOFUSE_ASSETS=/folder/with/data python benchmarks/choose_plain.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from emofuse.corpora import CORPORA
from emofuse.corpora.doctor import examine
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.manifest import Manifest, Utterance
from emofuse.media.audio import read_audio

ENCODERS = ("logmel:pooling=stats", "egemaps", "prosody", "acoustic")
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)
SENTENCES = ("06", "07")
Cut = tuple[np.ndarray, np.ndarray]


def main() -> None:
    root = Path(os.environ["EMOFUSE_ASSETS"]) / "data" / "ased"
    chosen = choose(CORPORA.load("ased").prepare(root).manifest)
    waves = [read_audio(root / str(one.audio)) for one in chosen]
    labels = np.array([one.emotion for one in chosen])
    people = np.array([one.speaker for one in chosen])
    texts = np.array([sentence(one) for one in chosen])
    print(f"{len(chosen)} utterances of {len(set(people))} speakers")
    scores = {
        "few": lambda x, model: score(x, labels, few(people), model),
        "folds": lambda x, model: score(x, labels, folds(people), model, at_once=True),
        "cross": lambda x, model: score(x, labels, cross(people, texts), model),
    }
    for name in ENCODERS:
        encoder = load_encoder("audio", EncoderSpec.from_text(name))
        items = [Item(one.id, waveform=w) for one, w in zip(chosen, waves, strict=True)]
        values = np.concatenate(encoder.encode(items))
        for clip in (np.inf, 3.0):
            best = {k: max(f(values, head(c, clip)) for c in STRENGTHS) for k, f in scores.items()}
            figures = "  ".join(f"{kind} {100 * value:.1f}" for kind, value in best.items())
            print(f"{name:22s} {values.shape[1]:4d}  clip {clip:3}  {figures}", flush=True)


def sentence(one: Utterance) -> str:
    return one.id.split("-")[1]


def choose(manifest: Manifest) -> list[Utterance]:
    """The two sentences, without any member of a set of copies."""
    found = [one for one in examine(manifest).findings if one.kind.startswith("copies")]
    copies = {name for one in found for name in (one.id, *one.others)}
    return [one for one in manifest if sentence(one) in SENTENCES and one.id not in copies]


def few(people: np.ndarray) -> Iterator[Cut]:
    names = np.unique(people)
    for seed in range(15):
        drawn = np.random.default_rng(seed).choice(names, 9, replace=False)
        train = np.isin(people, drawn)
        yield np.flatnonzero(train), np.flatnonzero(~train)


def folds(people: np.ndarray, k: int = 8) -> Iterator[Cut]:
    yield from GroupKFold(k).split(people, groups=people)


def cross(people: np.ndarray, texts: np.ndarray) -> Iterator[Cut]:
    for one, other in (SENTENCES, SENTENCES[::-1]):
        for train, test in folds(people, 5):
            yield train[texts[train] == one], test[texts[test] == other]


def head(strength: float, clip: float) -> Pipeline:
    cut = FunctionTransformer(lambda x: np.clip(x, -clip, clip))
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), cut, model)


def score(
    values: np.ndarray,
    labels: np.ndarray,
    cuts: Iterator[Cut],
    model: Pipeline,
    at_once: bool = False,
) -> float:
    """Mean UA of the cuts, or the UA of all their predictions at once."""
    seen = []
    for train, test in cuts:
        model.fit(values[train], labels[train])
        seen.append((labels[test], model.predict(values[test])))
    if at_once:
        seen = [tuple(np.concatenate(part) for part in zip(*seen, strict=True))]
    return float(np.mean([recall_score(*pair, average="macro") for pair in seen]))


if __name__ == "__main__":
    main()
