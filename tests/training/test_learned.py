"""``evaluate`` on runs whose encoders learned: each model behind its own encoders."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.speech import CLASSES, make_corpus, save_encoder, toy_recipe

from emofuse import Recognizer
from emofuse.augment.stress import StressOptions
from emofuse.errors import WorkError
from emofuse.evaluation.predictions import read_predictions
from emofuse.manifest import Manifest
from emofuse.training.again import stress as module
from emofuse.training.again.evaluate import evaluate_again, evaluate_on
from emofuse.training.again.stress import stress_run
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

HEAD = {"name": "head", "epochs": 1}
TUNE = {"name": "tune", "kind": "finetune", "epochs": 1, "freeze_layers": 1, "learning_rate": 1e-2}
ADAPT = {
    "name": "contrast",
    "kind": "adapt",
    "encoders": ["audio"],
    "epochs": 1,
    "batch_size": 8,
    "adapt": {"crop_seconds": 0.1, "projection": 8},
}
QUICK = StressOptions.parse({"groups": ["gain", "truncation"], "gain": [0], "keep": [0.5]})


@pytest.fixture(scope="module", params=["finetune", "adapt"])
def learned(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("learned")
    make_corpus(root)
    speech = "whisper" if request.param == "finetune" else "hubert-group"
    for name in (speech, "bert"):
        save_encoder(name, root / name)
    encoders = {
        "audio": {"name": str(root / speech), "layer": "mean", "pooling": "mean+std"},
        "text": {"name": str(root / "bert")},
    }
    stages = [HEAD, TUNE] if request.param == "finetune" else [ADAPT, HEAD]
    data = toy_recipe(root, encoders, trainer={"stages": stages}, seeds=[0, 1])
    return root, train(parse_recipe(data), root / "run")


def test_the_run_gives_its_own_predictions_again(learned):
    _, run = learned
    assert evaluate_again(run.folder).metrics["largest_difference"] < 1e-4


def test_on_another_manifest_the_bundle_answers_alike(learned):
    root, run = learned
    manifest = Manifest.load(root / "toy.jsonl")
    other = Manifest(list(manifest)[:9], root)
    other.save(root / "other.jsonl")
    found = evaluate_on(run.folder, root / "other.jsonl")
    frame, _ = read_predictions(found.folder / "predictions.parquet")
    assert len(frame) == 4 * len(other)  # two folds, two seeds
    best = run.metrics["best"]
    rows = frame[(frame["fold"] == best["fold"]) & (frame["seed"] == best["seed"])]
    alone = evaluate_on(run.folder, root / "other.jsonl", "alone", models="bundle")
    one, _ = read_predictions(alone.folder / "predictions.parquet")
    columns = [f"p:{name}" for name in CLASSES]
    np.testing.assert_array_equal(one[columns], rows[columns])
    recognizer = Recognizer.load(run.folder, raw=True)
    for _, row in rows.iterrows():
        utterance = other[row["id"]]
        audio = None if utterance.audio is None else other.path(utterance.audio)
        answer = recognizer.recognise(audio, utterance.text).probabilities
        own = [answer[name] for name in CLASSES]
        np.testing.assert_allclose(own, row[columns].to_numpy(float), atol=1e-4)


def test_stress_asks_each_model_behind_its_own_encoders(learned, monkeypatch):
    _, run = learned
    found, folder = stress_run(run.folder, QUICK)
    stored, _ = read_predictions(run.folder / "predictions.parquet")
    columns = [f"p:{name}" for name in CLASSES]
    same, _ = read_predictions(folder / "predictions-gain-0-dB.parquet")
    cut, _ = read_predictions(next(folder.glob("predictions-truncation*.parquet")))
    np.testing.assert_allclose(same[columns], stored[columns], atol=1e-4)
    heard = cut["w:audio"].to_numpy() > 0
    assert np.abs(cut[columns].to_numpy() - stored[columns].to_numpy())[heard].max() > 1e-4

    def never(self, *rest, **more):
        raise AssertionError("judged again")

    monkeypatch.setattr(module.Stress, "_judge", never)
    again, _ = stress_run(run.folder, QUICK)
    assert again == found


def test_learned_weights_that_are_gone_are_told(learned):
    _, run = learned
    path = next(run.folder.glob("jobs/*/encoder-audio.safetensors"), None)
    if path is None:
        pytest.skip("this run adapted its encoders")
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(WorkError, match=r"lacks encoder-audio\.safetensors"):
            evaluate_again(run.folder)
    finally:
        path.write_bytes(kept)
