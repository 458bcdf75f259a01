from __future__ import annotations

import pytest
from tests.transfer.toys import CLASSES, utterances

from emofuse.manifest import Manifest


def save_corpora(root, names=("red", "blue"), **options):
    for name in names:
        Manifest(utterances(name, **options), root).save(root / f"{name}.jsonl")
    return [str(root / f"{name}.jsonl") for name in names]


def matrix_recipe(root):
    """A matrix, as read from YAML, that runs in a second or two."""
    return {
        "name": "toy",
        "data": {
            "manifest": save_corpora(root),
            "scheme": {"name": "toy", "classes": list(CLASSES)},
            "store": str(root / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 128}},
        "model": {"name": "mlp", "hidden": 16},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2},
        "trainer": {
            "epochs": 4,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "patience": None,
            "refit": True,
            "device": "cpu",
        },
        "sources": ["red", "blue"],
        "shots": ["0", "50%"],
        "methods": [
            "none",
            "prototypes",
            "dann",
            "mmd",
            "coral",
            "finetune",
            "combined",
            "target",
        ],
        "seeds": [0, 1],
    }


@pytest.fixture
def make_corpora(tmp_path):
    """Manifests of some corpora; gives their paths."""
    return lambda names, **options: save_corpora(tmp_path, names, **options)


@pytest.fixture
def recipe_data(tmp_path):
    return matrix_recipe(tmp_path)
