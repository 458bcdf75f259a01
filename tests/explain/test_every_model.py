"""Every registered model before the same utterance: explained, or refused with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emofuse.explain.opening import open_run
from emofuse.explain.options import ExplainOptions
from emofuse.explain.utterance import utterance_panels
from emofuse.models import MODELS
from emofuse.models.build import build_model
from emofuse.models.contract import ModelSpec

OPTIONS = {
    "fleser": {"hidden": 16, "heads": 2},
    "vga-fusion": {"hidden": 16, "heads": 2},
    "four-m-ser": {"heads": 2},
    "memocmt": {"heads": 2},
    "foal-net": {"heads": 2},
}
ACROSS = {
    "fleser": {"fused->fused: text->audio", "fused->fused: audio->text"},
    "vga-fusion": {"text->audio", "audio->text"},
    "four-m-ser": {"joint->joint: first token->audio", "joint->joint: first token->text"},
    "memocmt": {"text->audio", "audio->text"},
    "foal-net": {"text->audio", "audio->text"},
    "copenhagen": {"text->audio", "audio->text"},
}
QUICK = ExplainOptions(
    draws=0,
    steps=32,
    most_steps=128,
    tolerance=0.05,
    only=("attention", "frames", "words", "modalities", "gates", "grad-cam"),
)


@pytest.fixture(scope="module")
def case(fleser_run):
    return open_run(fleser_run).case("s0-anger-0")


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_is_explained_or_refused(case, name):
    dims = dict(case.subject.table.dims)
    model = build_model(name, OPTIONS.get(name, {}), ModelSpec(dims, 3), 0)
    model.fit_normalisation(case.subject.table.batch(torch.arange(12)))
    model.eval()
    with torch.no_grad():
        output = model(case.batch)
    found = utterance_panels(replace(case, model=model, output=output), QUICK)
    panels = {one.key: one for one in found}
    assert set(panels) == set(QUICK.only)
    attention = panels["attention"]
    if name in ACROSS:
        assert ACROSS[name] <= set(attention.numbers["maps"]), attention
    elif not attention.refused:
        assert attention.numbers["maps"]
    assert "no convolution" in panels["grad-cam"].refused
    frames = panels["frames"].numbers
    total = frames["sum"] - (frames["score"] - frames["baseline_score"])
    assert frames["gap"] == pytest.approx(abs(total), abs=1e-6)
    if name != "fleser":  # whose rule may jump on the way
        assert frames["closed"] or frames["gap"] < 2e-3, frames  # of a difference near 0
    assert sum(frames["sums"].values()) == pytest.approx(frames["sum"], abs=1e-5)
    assert not panels["words"].refused
    worth = panels["modalities"].numbers
    assert worth["efficiency"] < 1e-6
    whole = worth["subsets"]["audio+text"] - worth["subsets"]["nothing"]
    assert sum(worth["shapley"].values()) == pytest.approx(whole, abs=1e-6)
    if not panels["gates"].refused:
        weights = [v for k, v in panels["gates"].numbers["values"].items() if "weight" in k]
        assert not weights or np.isclose(sum(weights), 1.0, atol=1e-5)


def test_a_spectrogram_model_gets_its_panel(case):
    batch = case.batch.only("audio")
    spec = ModelSpec({"audio": 64}, 3)
    model = build_model("copenhagen", {"architecture": "cnn-bilstm"}, spec, 0).eval()
    with torch.no_grad():
        output = model(batch)
    options = ExplainOptions(draws=1, only=("grad-cam",))
    (panel,) = utterance_panels(replace(case, model=model, batch=batch, output=output), options)
    frames = batch.modalities["audio"].values.shape[1]
    assert not panel.refused
    assert len(panel.sheets[0].rows) == frames
    assert panel.sheets[0].rows[0][0] == pytest.approx(0.0275)
    assert panel.numbers["layer"] == "network.trunk.activations.2"
    assert sum(panel.numbers["bands_hertz"].values()) == pytest.approx(1.0)
    assert f"it has 16 x {frames // 4} cells" in panel.notes[1]
    assert len(panel.numbers["redrawn"]) == 1
