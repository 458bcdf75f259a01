from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.sentences import CLASSES, FILLER, VOCABULARY

from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from emofuse.manifest import Manifest, Utterance
from emofuse.training.parts import Part


@pytest.fixture
def make_table():
    """Features that tell three classes apart, ten speakers, in several modalities."""

    def make(dims=None, items=120, frames=1, spread=0.8, seed=0):
        dims = {"audio": 12} if dims is None else dims
        random = np.random.default_rng(seed)
        labels = np.arange(items) % 3
        speakers = (np.arange(items) // 3) % 10
        modalities = {}
        for name, dim in dims.items():
            centres = random.normal(size=(3, dim))
            arrays = []
            for label in labels:
                length = int(random.integers(1, frames + 1))
                noise = random.normal(scale=spread, size=(length, dim))
                arrays.append((centres[label] + noise).astype(np.float32))
            modalities[name] = Ragged.from_arrays(arrays, dim)
        ids = tuple(f"u{number:03d}" for number in range(items))
        return (
            FeatureTable(ids, modalities, {}),
            torch.from_numpy(labels),
            torch.from_numpy(speakers),
        )

    return make


@pytest.fixture
def make_parts(make_table):
    """A table, with train, dev and test cut by speaker."""

    def make(**options):
        table, labels, speakers = make_table(**options)

        def part(keep):
            rows = torch.nonzero(keep).flatten()
            return Part(rows, Targets(labels[rows]), speakers[rows])

        return (
            table,
            part(speakers < 6),
            part((speakers >= 6) & (speakers < 8)),
            part(speakers >= 8),
        )

    return make


@pytest.fixture
def make_manifest(tmp_path):
    """Sentences whose words partly tell the emotion; six speakers."""

    def make(items=90, seed=0, **changes):
        random = np.random.default_rng(seed)
        utterances = []
        for number in range(items):
            emotion = CLASSES[number % 3]
            words = [*random.choice(FILLER, 3)]
            if random.random() < 0.9:
                words += [*random.choice(VOCABULARY[emotion].split(), 2)]
            random.shuffle(words)
            utterances.append(
                Utterance(
                    id=f"u{number:03d}",
                    corpus="toy",
                    text=" ".join(words) + f" {number}",
                    emotion=emotion,
                    speaker=f"s{(number // 3) % 6}",
                    **changes,
                )
            )
        manifest = Manifest(utterances, tmp_path)
        manifest.save(tmp_path / "toy.jsonl")
        return tmp_path / "toy.jsonl"

    return make


@pytest.fixture
def recipe_data(make_manifest, tmp_path):
    """A recipe, as read from YAML, that trains on the toy manifest in a second."""
    return {
        "name": "toy",
        "data": {
            "manifest": str(make_manifest()),
            "scheme": {"name": "toy", "classes": list(CLASSES)},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 256}},
        "model": {"name": "mlp", "hidden": 16},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "trainer": {
            "epochs": 6,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "patience": None,
            "refit": True,
            "checkpoint_seconds": 0,
            "device": "cpu",
        },
        "seeds": [0, 1],
    }
