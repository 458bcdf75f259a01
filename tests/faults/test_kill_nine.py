"""``kill -9`` at seeded random moments: trainings with stages, encoding, search, transfer, Ray."""

from __future__ import annotations

import os

import pytest
import torch
import yaml
from tests.faults.killing import kill_again_and_again
from tests.sentences import save_sentences

from emofuse.encoders.contract import EncoderSpec
from emofuse.features.encode import load_table
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")

TRAINED = ("predictions.parquet", "bundle/model.safetensors", "bundle/config.json")


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def trained(recipe_data, tmp_path):
    recipe_data["trainer"]["epochs"] = 40
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_data))

    def check(whole, here):
        for name in TRAINED:
            assert (whole / name).read_bytes() == (here / name).read_bytes(), name
        one, two = files_of(whole / "jobs"), files_of(here / "jobs")
        weights = [name for name in one if name.endswith(".safetensors")]
        assert weights
        assert set(one) == set(two)
        for name in weights:
            assert one[name] == two[name], name

    return (
        lambda folder: ("train", path, "-o", folder),
        lambda folder: (folder / "recipe.yaml").exists(),
        check,
        tmp_path,
    )


@pytest.fixture
def encoded(sounds, tmp_path):
    path = sounds(60, seconds=0.8)
    spec = EncoderSpec.from_text("prosody")

    def check(whole, here):
        manifest = Manifest.load(path)
        tables = [
            load_table(manifest, {"audio": spec}, FeatureStore(folder)) for folder in (whole, here)
        ]
        parts = [table.modalities["audio"] for table in tables]
        assert torch.equal(parts[0].offsets, parts[1].offsets)
        assert torch.equal(parts[0].values.view(torch.int32), parts[1].values.view(torch.int32))
        assert not FeatureStore(here).damaged

    return (
        lambda folder: ("encode", path, "--audio", "prosody", "--store", folder),
        lambda folder: any(folder.rglob("shard-*.safetensors")),
        check,
        tmp_path,
    )


def same_files(whole, here, patterns):
    """Compare files byte for byte, but for the name of the folder that they are in."""
    for pattern in patterns:
        names = sorted(path.relative_to(whole) for path in whole.glob(pattern))
        assert names, pattern
        for name in names:
            one, two = ((folder / name).read_bytes() for folder in (whole, here))
            spelled = two.replace(bytes(here), bytes(whole))
            assert one == spelled, name


@pytest.fixture
def searched(recipe_data, tmp_path):
    recipe_data["trainer"] |= {"epochs": 25, "stages": [], "workers": 0}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_data))
    space = ["trainer.learning_rate=1e-3..1e-1:log", "model.hidden=4..16"]
    how = ["--trials", "8", "--prune-by", "epoch", "--pruner", "hyperband", "--batch", "2"]
    return (
        lambda folder: ("search", path, *space, *how, "-o", folder),
        lambda folder: (folder / "study.db").exists(),
        lambda whole, here: same_files(whole, here, ["search.json", "best.yaml"]),
        tmp_path,
    )


@pytest.fixture
def transferred(tmp_path):
    recipe = {
        "name": "toy",
        "data": {
            "manifest": [str(save_sentences(tmp_path, *one)) for one in (("one", 0), ("two", 1))],
            "scheme": {"name": "toy", "classes": ["anger", "happiness", "sadness"]},
            "store": str(tmp_path / "store"),
        },
        "encoders": {"text": {"name": "ngrams", "dim": 64}},
        "model": {"name": "mlp", "hidden": 8},
        "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
        "sources": ["one", "two"],
        "targets": ["one", "two"],
        "shots": [0, 5],
        "methods": ["none", "prototypes", "dann", "finetune", "combined", "target"],
        "seeds": [0, 1],
        "trainer": {"epochs": 12, "checkpoint_seconds": 0, "device": "cpu", "workers": 0},
    }
    path = tmp_path / "transfer.yaml"
    path.write_text(yaml.safe_dump(recipe))
    kept = ["transfer.json", "heatmap.png", "settings/*/predictions.parquet", "sources/*/m*"]
    return (
        lambda folder: ("transfer", path, "-o", folder),
        lambda folder: any(folder.glob("sources/*/*")),
        lambda whole, here: same_files(whole, here, kept),
        tmp_path,
    )


@pytest.fixture
def encoded_by_ray(encoded):
    pytest.importorskip("ray")
    words, begun, check, folder = encoded
    return lambda store: (*words(store), "--engine", "ray", "--workers", "2"), begun, check, folder


def test_two_kills_of_encoding(encoded):
    assert kill_again_and_again(*encoded, kills=2, seed=3) >= 1


@pytest.mark.slow
def test_twenty_kills_of_a_training_with_stages(trained):
    assert kill_again_and_again(*trained, kills=20, seed=1) >= 1


@pytest.mark.slow
def test_twenty_kills_of_encoding(encoded):
    assert kill_again_and_again(*encoded, kills=20, seed=2) >= 1


@pytest.mark.slow
def test_twenty_kills_of_a_search(searched):
    assert kill_again_and_again(*searched, kills=20, seed=4) >= 1


@pytest.mark.slow
def test_twenty_kills_of_a_transfer(transferred):
    assert kill_again_and_again(*transferred, kills=20, seed=5) >= 1


@pytest.mark.slow
def test_twenty_kills_of_encoding_by_ray(encoded_by_ray):
    assert kill_again_and_again(*encoded_by_ray, kills=20, seed=6) >= 1
