"""Plain features and head for few training speakers: chosen on EmoDB, RAVDESS and ASED alone.

Eight speakers train, all others of the corpus are judged, ten draws a corpus. Every encoder, with
and without clipping at three standard deviations, with and without the mean of each training
speaker removed from the training features (`trainer.centre`), gets a class-balanced logistic
regression of each strength; the figure is UA, averaged over draws and corpora. docs/results.md has
the rule by which one is chosen.

    EMOFUSE_ASSETS=/folder/with/data python benchmarks/choose_centred.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

from choose_plain import choose
from emofuse.corpora import CORPORA
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec, Item
from emofuse.manifest import Utterance
from emofuse.media.audio import read_audio

ENCODERS = ("prosody", "logmel:pooling=stats", "egemaps", "acoustic")
CORPORA_USED = ("emodb", "ravdess", "ased")
DECAYS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # as trainer.weight_decay: per item
SPEAKERS, DRAWS = 8, 10


def main() -> None:
    corpora = {name: utterances(name) for name in CORPORA_USED}
    for encoder in ENCODERS:
        features = {name: encode(encoder, *found) for name, found in corpora.items()}
        for clip in (np.inf, 3.0):
            for centred in (False, True):
                table = np.array(
                    [
                        judge(features[name], corpora[name][1], clip, centred)
                        for name in CORPORA_USED
                    ]
                )
                for decay, column in zip(DECAYS, table.T, strict=True):
                    figures = " ".join(f"{100 * value:.1f}" for value in column)
                    print(
                        f"{encoder:22s} clip {clip:3} centred {centred:d} decay {decay:<5} "
                        f"{figures}  mean {100 * column.mean():.2f}",
                        flush=True,
                    )


def utterances(name: str) -> tuple[Path, list[Utterance]]:
    root = Path(os.environ["EMOFUSE_ASSETS"]) / "data" / name
    manifest = CORPORA.load(name).prepare(root).manifest
    return root, choose(manifest) if name == "ased" else list(manifest)


def encode(name: str, root: Path, found: list[Utterance]) -> np.ndarray:
    encoder = load_encoder("audio", EncoderSpec.from_text(name))
    parts = []
    for start in range(0, len(found), 100):
        stretch = found[start : start + 100]
        items = [Item(one.id, waveform=read_audio(root / str(one.audio))) for one in stretch]
        parts.extend(encoder.encode(items))
    return np.concatenate(parts).astype(np.float64)


def judge(values: np.ndarray, found: list[Utterance], clip: float, centred: bool) -> np.ndarray:
    """Mean UA of the draws for each strength."""
    labels = np.array([one.emotion for one in found])
    people = np.array([one.speaker for one in found])
    scores = [
        [one_score(*cut, labels, decay) for decay in DECAYS]
        for cut in cuts(values, labels, people, clip, centred)
    ]
    return np.mean(scores, axis=0)


def cuts(
    values: np.ndarray, labels: np.ndarray, people: np.ndarray, clip: float, centred: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the standardised figures of each draw and who trains."""
    names = np.unique(people)
    for seed in range(DRAWS):
        drawn = np.random.default_rng(seed).choice(names, SPEAKERS, replace=False)
        train = np.isin(people, drawn)
        found = values.copy()
        if centred:
            whole = values[train].mean(axis=0)
            for name in drawn:
                found[people == name] += whole - balanced_mean(values, labels, people == name)
        scale = found[train].std(axis=0)
        found = (found - found[train].mean(axis=0)) / np.where(scale > 0, scale, 1.0)
        yield np.clip(found, -clip, clip), train


def balanced_mean(values: np.ndarray, labels: np.ndarray, mine: np.ndarray) -> np.ndarray:
    kinds = np.unique(labels[mine])
    return np.mean([values[mine & (labels == kind)].mean(axis=0) for kind in kinds], axis=0)


def one_score(values: np.ndarray, train: np.ndarray, labels: np.ndarray, decay: float) -> float:
    strength = 1.0 / (decay * train.sum())
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300)
    model.fit(values[train], labels[train])
    found = model.predict(values[~train])
    return float(recall_score(labels[~train], found, average="macro"))


if __name__ == "__main__":
    main()
