"""`evaluate` by several workers: the files of one process, byte for byte."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.training.speech import make_corpus, toy_recipe
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.storage import sha256_file
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train


@pytest.fixture
def run(tmp_path):
    make_corpus(tmp_path)
    encoders = {"audio": {"name": "logmel", "pooling": "mean+std"}, "text": {"name": "ngrams"}}
    recipe = toy_recipe(tmp_path, encoders, trainer={"epochs": 2, "workers": 0})
    return train(parse_recipe(recipe), tmp_path / "run").folder


def call(*words):
    found = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert found.exit_code == 0, found.output
    return found.stdout


def hashes(folder):
    files = (path for path in folder.rglob("*") if path.suffix in (".parquet", ".jsonl", ".json"))
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


@pytest.mark.parametrize(
    "engine",
    [
        ["--workers", "2"],
        pytest.param(["--engine", "ray", "--workers", "2"], marks=pytest.mark.slow),
    ],
)
def test_workers_give_the_bytes_of_one_process(run, tmp_path, engine):
    if "ray" in engine:
        pytest.importorskip("ray")
    words = (run, "--stress", "noise,missing", "noise.types=[white]", "noise.snr=[10]")
    call(run)
    call(run, tmp_path / "toy.jsonl", "--name", "again")
    call(*words)
    alone = {kind: hashes(run / kind) for kind in ("evaluations", "stress")}
    assert len(alone["stress"]) > 4
    for kind in alone:
        shutil.rmtree(run / kind)
    told = json.loads(call(run, *engine, "--json"))
    assert told["largest_difference"] == 0.0
    call(run, tmp_path / "toy.jsonl", "--name", "again", *engine)
    call(*words, *engine)
    assert {kind: hashes(run / kind) for kind in alone} == alone
    looks = [json.loads(line)["why"] for line in (run / "openings.jsonl").read_text().splitlines()]
    assert sum("--stress" in why for why in looks) == 2
