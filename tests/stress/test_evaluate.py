"""``evaluate``: the same answers again, and other utterances with what was seen of them."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from emofuse.errors import LabelError, TrainingError, UsageError, WorkError
from emofuse.evaluation.openings import read_openings
from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.report import read_report
from emofuse.manifest import Manifest
from emofuse.storage import read_json
from emofuse.training.again.evaluate import evaluate_again, evaluate_on
from emofuse.training.checkpoint import load_state, save_state
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

from .conftest import make_corpus, recipe_for


@pytest.fixture
def run(toy, tmp_path):
    shutil.copytree(toy / "both", tmp_path / "both")
    return tmp_path / "both"


def test_a_run_gives_the_same_answers_again(run):
    before = len(read_openings(run))
    found = evaluate_again(run)
    stored, _ = read_predictions(run / "predictions.parquet")
    now, _ = read_predictions(found.folder / "predictions.parquet")
    pd.testing.assert_frame_equal(now, stored)
    assert found.metrics["largest_difference"] == 0.0
    openings = read_openings(run)
    assert len(openings) == before + 1
    assert openings[-1].utterances == 24


def test_what_was_left_out_is_no_change_of_the_manifest(toy, tmp_path):
    """One utterance has no sound: a run on sounds leaves it out and can still be judged again."""
    path = make_corpus(tmp_path / "some")
    whole = Manifest.load(path)
    mute = [u.model_copy(update={"audio": None}) if u.id == "u05" else u for u in whole]
    Manifest(mute, path.parent).save(path)
    data = recipe_for(tmp_path, path)
    data["encoders"] = {"audio": data["encoders"]["audio"]}
    run = train(parse_recipe(data), tmp_path / "run").folder
    assert read_json(run / "data.json")["without_features"] == ["u05"]
    assert evaluate_again(run).metrics["largest_difference"] == 0.0
    said = mute[5].model_copy(update={"text": "something else"})
    Manifest([*mute[:5], said, *mute[6:]], path.parent).save(path)
    with pytest.raises(TrainingError, match="the manifest changed since"):
        evaluate_again(run)


def test_altered_weights_and_other_features_are_found_out(run):
    path = next(run.glob("jobs/*/model.safetensors"))
    weights, note = load_state(path)
    name = next(n for n, part in weights.items() if part.ndim == 2)
    save_state(path, {**weights, name: weights[name] + 1.0}, note)
    with pytest.raises(WorkError, match="do not answer as predictions.parquet says"):
        evaluate_again(run)
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "features_sha256": "0" * 64}))
    with pytest.raises(TrainingError, match="the features changed since"):
        evaluate_again(run)


def test_other_utterances_are_judged_by_every_model(run, tmp_path):
    other = make_corpus(tmp_path / "other", 16, first=100, corpus="far")
    found = evaluate_on(run, other, "far")
    frame, _ = read_predictions(found.folder / "predictions.parquet")
    assert len(frame) == 3 * 16  # three folds' models
    assert found.metrics["speaker_independent"] == "yes"
    assert "judged by 3 models" in found.notes[-1]
    one = evaluate_on(run, other, "far-bundle", models="bundle")
    alone, _ = read_predictions(one.folder / "predictions.parquet")
    best = read_json(run / "metrics.json")["best"]["fold"]
    pd.testing.assert_frame_equal(
        alone.reset_index(drop=True), frame[frame["fold"] == best].reset_index(drop=True)
    )
    report = read_report(found.folder)
    assert report.run.stamp.text == "speaker-independent"
    assert "judged on far" in report.run.stamp.protocol
    assert read_openings(run)[-1].why.startswith("evaluate on manifest.jsonl")


def test_what_models_have_seen_is_stamped(run, toy):
    found = evaluate_on(run, toy / "corpus" / "manifest.jsonl", "again")
    assert found.metrics["speaker_independent"] == "no"
    assert "SPEAKER-DEPENDENT (3 of 3 speakers in train)" in found.metrics["stamp"]
    assert "24 test utterances are copies of training audio" in found.metrics["stamp"]
    audit = read_json(found.folder / "audit.json")
    assert audit["overlaps"]["near audio"]["utterances"] == 24
    assert read_report(found.folder).run.stamp.independent == "no"


def test_labels_go_by_name_and_none_is_passed_over(run, tmp_path):
    path = make_corpus(tmp_path / "other", 8, first=100, corpus="far")
    manifest = Manifest.load(path)
    renamed = [u.model_copy(update={"emotion": "nostalgia"}) for u in manifest]
    Manifest(renamed, manifest.root).save(path)
    with pytest.raises(LabelError, match="nostalgia"):
        evaluate_on(run, path, "far")
    bored = [u.model_copy(update={"emotion": "boredom"}) for u in manifest]
    Manifest(bored, manifest.root).save(path)
    with pytest.raises(WorkError, match="nothing to judge"):
        evaluate_on(run, path, "far")
    with pytest.raises(UsageError, match="cannot name an evaluation"):
        evaluate_on(run, path, "test")
