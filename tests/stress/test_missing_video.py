"""``evaluate --stress`` on a run that sees faces: the picture is taken away, not zeroed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.stress.conftest import LABELS, make_corpus, recipe_for

from emofuse.augment.stress import StressOptions
from emofuse.evaluation.predictions import read_predictions
from emofuse.manifest import Manifest
from emofuse.training.again.stress import stress_run
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run on sounds, and on faces that tell the emotion."""
    folder = tmp_path_factory.mktemp("video")
    manifest = make_corpus(folder / "corpus", items=48)
    random = np.random.default_rng(0)
    faces = []
    for utterance in Manifest.load(manifest):
        face = random.normal(size=(5, 8)) * 0.3
        face[:, LABELS.index(utterance.emotion)] += 2.0
        np.save(manifest.parent / f"{utterance.id}.npy", face.astype(np.float32))
        faces.append(utterance.model_copy(update={"video": f"{utterance.id}.npy"}))
    Manifest(faces, manifest.parent).save(manifest)
    data = recipe_for(folder, manifest)
    data["encoders"] = {"audio": "logmel:pooling=mean+std", "video": {"name": "arrays", "dim": 8}}
    data["trainer"] = {**data["trainer"], "epochs": 20, "learning_rate": 0.02}
    data["model"] = {"name": "mlp", "hidden": 32}
    data["protocol"] = {**data["protocol"], "dev": 0.0}
    train(parse_recipe(data), folder / "run")
    return folder / "run"


def test_the_video_is_absent_and_the_rest_answers(seen):
    options = StressOptions.parse({"groups": ["missing", "gain"], "gain": [0]})
    found, folder = stress_run(seen, options)
    assert found["skipped"] == {"missing text": "the run has no text: it is unmoved"}
    rows = {row["label"]: row for row in found["conditions"]}
    assert list(rows) == ["missing audio", "missing video", "gain 0 dB"]
    assert rows["missing video"]["utterances"] == 48
    assert rows["missing video"]["failed"] == 0
    assert found["clean"]["ua"] > 0.8  # faces tell the emotion, so without them much is lost
    assert rows["missing video"]["difference"] < -0.2
    assert rows["missing video"]["difference"] < rows["missing audio"]["difference"]
    frame, _ = read_predictions(folder / "predictions-missing-video.parquet")
    assert (frame["w:video"] == 0.0).all()
    assert np.allclose(frame["w:audio"], 1.0)
    other, _ = read_predictions(folder / "predictions-missing-audio.parquet")
    assert np.allclose(other["w:video"], 1.0)
    clean, _ = read_predictions(folder / "predictions-clean.parquet")
    pd.testing.assert_series_equal(frame["id"], clean["id"])
