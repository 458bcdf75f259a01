"""Encoders that learned along: each fold's model is explained behind its own."""

from __future__ import annotations

import pytest
from tests.training.speech import make_corpus, save_encoder, toy_recipe

from emofuse.explain.attributions import attribute
from emofuse.explain.opening import open_run
from emofuse.explain.options import ExplainOptions
from emofuse.explain.unpooled import read_inputs
from emofuse.explain.words import embedded_tokens
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

pytestmark = pytest.mark.slow
HEAD = {"name": "head", "epochs": 2}
STAGES = {
    "finetune": {
        "name": "tune",
        "kind": "finetune",
        "epochs": 2,
        "freeze_layers": 1,
        "learning_rate": 1e-3,
    },
    "adapt": {
        "name": "contrast",
        "kind": "adapt",
        "encoders": ["audio"],
        "epochs": 1,
        "batch_size": 8,
        "adapt": {"crop_seconds": 0.1, "projection": 8},
    },
}


@pytest.mark.parametrize("kind", ["finetune", "adapt"])
def test_learned_encoders_are_found_again(tmp_path, kind):
    make_corpus(tmp_path)
    for name in ("whisper", "hubert-group", "bert"):
        save_encoder(name, tmp_path / name)
    speech = "whisper" if kind == "finetune" else "hubert-group"
    encoders = {
        "audio": {"name": str(tmp_path / speech), "layer": "mean", "pooling": "mean+std"},
        "text": {"name": str(tmp_path / "bert")},
    }
    stages = [HEAD, STAGES[kind]] if kind == "finetune" else [STAGES[kind], HEAD]
    recipe = parse_recipe(toy_recipe(tmp_path, encoders, trainer={"stages": stages}))
    folder = train(recipe, tmp_path / "run").folder
    subject = open_run(folder)
    assert subject.learned
    for name in subject.table.ids:
        assert subject.case(name).drift < 1e-4, name
    case = next(
        one
        for one in map(subject.case, subject.table.ids)
        if {"audio", "text"} <= set(one.batch.modalities)
    )
    readings = read_inputs(case)
    assert {one.modality: one.frames > 1 for one in readings} == {"audio": True, "text": True}
    found = attribute(case, readings, ExplainOptions())
    assert found.relative < 0.05
    tokens, values, went, _ = embedded_tokens(case, ExplainOptions())
    assert len(tokens) == len(values)
    assert went.relative < 0.05
