"""``emofuse probe`` from the command line: drawn features, own features, a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from emofuse.models.build import build_model
from emofuse.models.contract import ModelSpec

RECIPE = {
    "name": "toy",
    "encoders": {"audio": "logmel:pooling=mean+std", "text": "ngrams:dim=64"},
    "model": {"name": "mlp", "hidden": 8},
    "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
    "trainer": {"epochs": 8, "batch_size": 16, "device": "cpu", "patience": None},
    "seeds": [0],
}


@pytest.fixture
def recipe(corpus: Path, tmp_path: Path) -> Path:
    data = {"manifest": str(corpus), "scheme": "basic4", "store": str(tmp_path / "store")}
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "data": data}, sort_keys=False))
    return path


def test_a_recipe_without_data_is_probed_on_drawn_features(run):
    done = run("probe", "logmel-mlp", "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert (found["model"], found["findings"]) == ("mlp", 0)
    assert "drawn" in found["notes"][0]
    probes = {one["probe"] for one in found["verdicts"]}
    assert {"attention", "gradient", "switches", "batch", "padding", "modality"} <= probes


def test_sizes_can_be_told(run):
    words = ("probe", "hubert-roberta-mlp", "--dims", "audio=20,text=10", "--lengths", "audio=9")
    done = run(*words, "--classes", 7, "--only", "gradient", "--json")
    assert done.status == 0, done.err
    numbers = json.loads(done.out)["verdicts"][0]["numbers"]
    built = build_model("mlp", {"hidden": 256}, ModelSpec({"audio": 20, "text": 10}, 7))
    assert numbers["parameters"] == sum(one.numel() for one in built.parameters())
    assert "assumed" not in done.out


@pytest.mark.parametrize(
    ("recipe_name", "words", "found"),
    [
        ("foal-net/legacy-foal-net", (), {("floor", "avel"), ("start", "avel")}),
        ("foal-net/foal-net", (), set()),
        (
            "four-m-ser/bert-vggish-contrastive-center",
            ("objective.1.legacy=true",),
            {("start", "contrastive-center")},
        ),
        ("four-m-ser/bert-vggish-contrastive-center", (), set()),
    ],
)
def test_losses_as_released_are_found_and_as_described_are_not(run, recipe_name, words, found):
    sizes = "audio=32,video=24" if recipe_name.startswith("foal") else "audio=32,text=24"
    done = run("probe", recipe_name, *words, "--only", "floor,start", "--dims", sizes, "--json")
    assert done.status == (1 if found else 0), done.err
    lines = json.loads(done.out)["verdicts"]
    assert {(o["probe"], o["subject"]) for o in lines if o["verdict"] == "finding"} == found


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("logmel-mpl",), "did you mean 'logmel-mlp'"),
        (("logmel-mlp", "model.hiden=3"), "did you mean 'hidden'"),
        (("logmel-mlp", "--dims", "audio"), "is not MODALITY=NUMBER"),
        (("logmel-mlp", "--only", "gradent"), "did you mean 'gradient'"),
    ],
)
def test_a_wrong_call_is_one_line(run, words, complaint):
    done = run("probe", *words)
    assert done.status == 2
    assert complaint in done.complaint


def test_a_recipe_with_data_and_its_run_are_probed_on_their_features(run, recipe):
    done = run("probe", recipe, "--json")
    found = json.loads(done.out)
    assert done.status == 0, done.out
    assert "train utterances of fold" in found["notes"][0]

    assert run("train", recipe, "-o", "runs/toy").status == 0
    before = json.loads(Path("runs/toy/metrics.json").read_text())
    done = run("probe", "runs/toy", "--only", "modality,batch,padding,gradient", "--json")
    found = json.loads(done.out)
    assert "test utterances" in found["notes"][0]
    effects = [one for one in found["verdicts"] if one["probe"] == "modality"]
    assert {one["subject"] for one in effects} == {"audio", "text"}
    for one in effects:
        assert set(one["numbers"]["shuffle"]) == {"logits", "answers", "ua"}
        assert one["numbers"]["items"] == 24
    assert json.loads(Path("runs/toy/metrics.json").read_text()) == before

    refused = run("probe", "runs/toy", "model.hidden=3")
    assert refused.status == 2
    assert "cannot be changed" in refused.complaint


def test_findings_are_told_in_the_exit_status(run, recipe):
    done = run("probe", recipe, "model.pooling=max")
    assert done.status == 1
    assert "dead: 'max'" in done.out
    assert "1 finding" in done.err
