"""What goes into the predictions beside the classes: age, language, valence, arousal, dominance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.vad_metrics import agreement
from emofuse.manifest import VAD, Manifest
from emofuse.options import apply_overrides
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

PLACES = {"anger": (1.5, 4.5, 4.0), "happiness": (4.5, 4.0, 3.5), "sadness": (1.5, 1.5, 2.0)}


@pytest.fixture
def rated(recipe_data):
    """The toy manifest with ratings from 1 to 5, ages and a language."""
    path = Path(recipe_data["data"]["manifest"])
    manifest = Manifest.load(path)
    random = np.random.default_rng(0)
    changed = []
    for number, u in enumerate(manifest):
        point = np.clip(np.array(PLACES[u.emotion]) + random.normal(0, 0.3, 3), 1, 5)
        names = ("valence", "arousal", "dominance")
        vad = VAD(**dict(zip(names, point.tolist(), strict=True)))
        more = {"vad": None if number % 10 == 0 else vad, "language": "pl"}
        extra = {"age": 20 + int(u.speaker[1:])} if u.speaker != "s5" else {"age": "old"}
        changed.append(u.model_copy(update={**more, "extra": extra}))
    Manifest(changed, manifest.root).save(path)
    ranges = dict.fromkeys(("valence", "arousal", "dominance"), (1.0, 5.0))
    recipe_data["data"]["scheme"]["vad"] = ranges
    return recipe_data


def test_ratings_ages_and_language_go_into_the_predictions(rated, tmp_path):
    changes = (
        "model={name: vga-fusion}",
        "objective=[{name: cross-entropy}, {name: vad, weight: 2.0, targets: corpus}]",
        "seeds=[0]",
        "trainer={epochs: 1, batch_size: 64, device: cpu}",
    )
    run = train(parse_recipe(apply_overrides(rated, changes)), tmp_path / "run")
    frame, _ = read_predictions(run.predictions)
    assert (frame["language"] == "pl").all()
    known = frame[frame["speaker"] != "s5"]
    assert (known["age"] == 20 + known["speaker"].str[1:].astype(int)).all()
    assert frame.loc[frame["speaker"] == "s5", "age"].isna().all()
    assert frame["gold_vad:arousal"].isna().sum() == 9
    assert frame["vad:arousal"].between(-5, 11).all()
    rows = frame.dropna(subset=["gold_vad:arousal"])
    found = run.metrics["vad"]["arousal"]
    expected = agreement(rows["vad:arousal"], rows["gold_vad:arousal"])
    assert found["ccc"]["value"] == pytest.approx(expected["ccc"])
    assert found["mae"]["value"] == pytest.approx(expected["mae"])
    assert found["utterances"] == 81
    assert set(run.metrics["fairness"]) == {"speaker", "age", "language", "corpus"}
    assert run.metrics["fairness"]["age"]["unknown"] == (frame["speaker"] == "s5").sum()


def test_a_model_without_ratings_leaves_them_out(rated, tmp_path):
    run = train(parse_recipe(apply_overrides(rated, ("seeds=[0]",))), tmp_path / "run")
    frame, _ = read_predictions(run.predictions)
    assert "vad:arousal" not in frame.columns
    assert "gold_vad:arousal" in frame.columns
    assert run.metrics["vad"] is None
