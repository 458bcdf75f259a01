"""A real ``kill -9`` in every kind of stage, folds side by side, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from tests.training.speech import make_corpus, save_encoder, toy_recipe
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

COMMAND = "from emofuse.cli.app import main; main()"
FILES = (
    "predictions.parquet",
    "metrics.json",
    "bundle/model.safetensors",
    "bundle/config.json",
    "bundle/encoders/audio/model.safetensors",
    "bundle/encoders/text/model.safetensors",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    for kind in ("hubert-group", "bert"):
        save_encoder(kind, folder / kind)
    return folder


def data(root, stages, **changes):
    encoders = {"audio": str(root / "hubert-group"), "text": str(root / "bert")}
    return toy_recipe(root, encoders, trainer={"stages": stages, **changes})


def stages(epochs):
    more = {"crop_seconds": 0.1, "projection": 8}
    adapt = {"name": "contrast", "kind": "adapt", "encoders": ["audio"], "batch_size": 8}
    return [
        {**adapt, "epochs": epochs, "adapt": more, "patience": 100},
        {"name": "head", "epochs": 10},
        {"name": "tune", "kind": "finetune", "epochs": epochs, "lora": {"rank": 2}},
        {"name": "whole", "kind": "finetune", "epochs": epochs, "learning_rate": 1e-3},
    ]


def start(recipe, folder):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "train", str(recipe), "-o", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def same(one, two):
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_kill_nine_in_every_kind_of_stage(root, tmp_path):
    recipe = parse_recipe(data(root, stages(3), refit=True))
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    folder = tmp_path / "killed"
    moments = [
        "encoders/*/contrast-audio/adapting.safetensors",
        "encoders/*/contrast-audio/model.safetensors",
        "jobs/*/fit-head.safetensors",
        "jobs/*/fit-tune.safetensors",
        "jobs/*/fit-whole.safetensors",
        "jobs/*/refit-whole.safetensors",
        "jobs/*/encoder-audio.safetensors",
    ]
    killed = 0
    for pattern in moments:
        process = start(path, folder)
        while process.poll() is None and not list(folder.glob(pattern)):
            time.sleep(0.001)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed >= 5
    last = start(path, folder)
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    same(folder, train(recipe, tmp_path / "whole").folder)


@pytest.mark.slow
def test_folds_side_by_side_give_the_same_bytes(root, tmp_path):
    tune = [{"name": "tune", "kind": "finetune", "epochs": 2}]
    alone = train(parse_recipe(data(root, tune)), tmp_path / "alone")
    together = train(parse_recipe(data(root, tune, workers=2)), tmp_path / "together")
    same(alone.folder, together.folder)


def test_from_an_empty_folder_to_an_answer(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tune = [{"name": "tune", "kind": "finetune", "epochs": 1, "encoders": ["audio"]}]
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(yaml.safe_dump(data(root, tune)), encoding="utf-8")
    shown = CliRunner().invoke(app, ["train", str(recipe), "-o", "run"])
    assert shown.exit_code == 0, shown.output
    assert "UA" in shown.stdout
    assert "best model: run/bundle" in shown.stderr
    asked = CliRunner().invoke(
        app,
        [
            *("predict", str(root / "u00.wav"), "--text", "i am so sad !"),
            *("--model", "run", "--format", "json"),
        ],
    )
    assert asked.exit_code == 0, asked.output
    answer = json.loads(asked.stdout.splitlines()[0])
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    wrong = CliRunner().invoke(
        app, ["train", str(recipe), "trainer.stages.0.layer_dekay=0.5", "-o", "other"]
    )
    assert "did you mean 'layer_decay'" in str(wrong.exception)
