"""Searching a recipe whose stages fine-tune encoders: the score of a trial is that of the run."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.training.speech import make_corpus, save_encoder, toy_recipe
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.errors import OptionError
from emofuse.training.again.evaluate import evaluate_again
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.search import search


@pytest.fixture
def recipe(tmp_path):
    """Tones, and a tiny Whisper whose layers learn with the model."""
    make_corpus(tmp_path)
    stages = [
        {"name": "head", "epochs": 2},
        {"name": "tune", "kind": "finetune", "epochs": 2, "learning_rate": 2e-3},
    ]
    return toy_recipe(
        tmp_path,
        {"audio": {"name": str(save_encoder("whisper", tmp_path / "whisper"))}},
        trainer={"stages": stages, "workers": 0, "monitor": "loss"},
    )


def test_a_trial_fine_tunes_as_a_run_does(recipe, tmp_path):
    pytest.importorskip("peft")
    path = tmp_path / "tune.yaml"
    path.write_text(yaml.safe_dump(recipe))
    ranges = [
        "trainer.stages.1.encoder_learning_rate=1e-4..1e-1:log",
        'trainer.stages.1.lora=null|{"rank":2}',
    ]
    words = ["search", str(path), *ranges, "--trials", "4", "--pruner", "none"]
    told = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "s"), "--train", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)["studies"][0]
    assert [row["state"] for row in found["trials"]] == ["complete"] * 4
    assert len({row["score"] for row in found["trials"]}) > 1  # the encoder's rate counts
    results = sorted((tmp_path / "s/run/jobs").glob("*/result.json"))
    dev = [json.loads(one.read_text())["dev"] for one in results]
    assert found["best"]["score"] == pytest.approx(sum(dev) / len(dev), abs=1e-9)
    assert len(dev) == 2
    assert all((one.parent / "encoder-audio.safetensors").exists() for one in results)
    frozen = json.loads(json.dumps(recipe))
    del frozen["trainer"]["stages"][1]
    space = {"model.dropout": [recipe["model"].get("dropout", 0.3)]}
    without = search(frozen, SearchOptions.parse({"space": space, "trials": 1}), tmp_path / "f")
    assert without.studies[0].best.score != pytest.approx(found["best"]["score"], abs=1e-6)


@pytest.mark.slow
def test_nested_with_fine_tuning_is_a_run_like_any_other(recipe, tmp_path):
    space = {"trainer.stages.1.encoder_learning_rate": [1e-3, 1e-2]}
    options = SearchOptions.parse({"space": space, "trials": 2, "nested": True, "inner": 2})
    run = search(recipe, options, tmp_path / "s").run
    assert len(list(run.glob("jobs/*/encoder-audio.safetensors"))) == 2
    assert (run / "bundle/encoders/audio/model.safetensors").exists()
    assert evaluate_again(run).metrics["largest_difference"] < 1e-6


def test_a_stage_that_adapts_is_refused_at_once(recipe, tmp_path):
    stage = {"name": "contrast", "kind": "adapt", "epochs": 1}
    recipe["trainer"]["stages"].insert(0, stage)
    options = SearchOptions.parse({"space": {"model.hidden": [4, 8]}, "trials": 2})
    with pytest.raises(OptionError, match=r"'contrast' adapts .* leave it out, or adapt before"):
        search(recipe, options, tmp_path / "s")
