"""Calibration of a run: fitted on dev, re-derivable, blind to test labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from emofuse.evaluation.analysis import analyse
from emofuse.evaluation.calibration import fit_calibration
from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.rules import AnswerRules
from emofuse.manifest import Manifest
from emofuse.models.bundle import read_config
from emofuse.options import apply_overrides
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

SELECT = "trainer={optimiser: lbfgs, select: {folds: 2, weight_decay: [1.0, 0.1]}, refit: true}"


def made(recipe_data, *overrides):
    return parse_recipe(apply_overrides(recipe_data, overrides))


def rules_of(folder):
    jobs = json.loads((folder / "calibration.json").read_text())["jobs"]
    return [None if j["rules"] is None else AnswerRules.parse(j["rules"]) for j in jobs]


def test_what_dev_said_calibrates_test(recipe_data, tmp_path):
    run = train(made(recipe_data), tmp_path / "run")
    rules = rules_of(run.folder)
    assert len(rules) == 4
    folds = json.loads((run.folder / "folds.json").read_text())["folds"]
    assert [one.items for one in rules] == [len(f["dev"]) for f in folds for _ in range(2)]
    assert all(one.fitted_on == "dev" and set(one.corpora) <= {"toy"} for one in rules)
    frame, classes = read_predictions(run.predictions)
    assert {"c:anger", "t:anger", "answer_above"} <= set(frame.columns)
    for (seed, fold), part in frame.groupby(["seed", "fold"]):
        place = [f["name"] for f in folds].index(fold) * 2 + seed
        shares = part[[f"p:{c}" for c in classes]].to_numpy()
        expected = rules[place].probabilities(np.log(shares), part["corpus"].tolist())
        found = part[[f"c:{c}" for c in classes]].to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert (part["answer_above"] == rules[place].answer_above).all()
    best = run.metrics["best"]["job"]
    config = read_config(run.bundle)
    order = [path.name for path in sorted((run.folder / "jobs").iterdir())]
    assert AnswerRules.parse(config.calibration) == rules[order.index(best)]
    assert run.metrics["calibration"]["calibrated"]["bins"]
    assert run.metrics["calibration"] == json.loads(
        json.dumps(analyse(frame, classes).to_json()["calibration"])
    )


def test_selection_by_inner_folds_calibrates_by_them(recipe_data, tmp_path):
    run = train(made(recipe_data, SELECT, "protocol.dev=0.0", "seeds=[0]"), tmp_path / "run")
    folds = json.loads((run.folder / "folds.json").read_text())["folds"]
    rules = rules_of(run.folder)
    assert [one.fitted_on for one in rules] == ["inner folds"] * 2
    assert [one.items for one in rules] == [len(fold["train"]) for fold in folds]


def test_with_nothing_held_out_nothing_is_promised(recipe_data, tmp_path):
    run = train(made(recipe_data, "protocol.dev=0.0", "seeds=[0]"), tmp_path / "run")
    jobs = json.loads((run.folder / "calibration.json").read_text())["jobs"]
    assert all(one["rules"] is None and "nothing was held out" in one["note"] for one in jobs)
    assert read_config(run.bundle).calibration is None
    frame, _ = read_predictions(run.predictions)
    assert not [name for name in frame.columns if name.startswith(("c:", "t:", "answer"))]
    assert run.metrics["calibration"]["calibrated"] is None


def test_test_labels_move_neither_models_nor_calibration(recipe_data, tmp_path):
    """Flip every label of test in the manifest: everything but the scores keeps its bytes."""
    recipe = made(recipe_data, "seeds=[0]", "protocol={name: official, dev: 0.3}")
    path = Path(recipe.data.manifest[0])
    manifest = Manifest.load(path)
    wheel = {"anger": "happiness", "happiness": "sadness", "sadness": "anger"}
    kept, scores = [], []
    for flip in (False, True):
        changed = []
        for u in manifest:
            split = "test" if u.speaker in ("s4", "s5") else "train"
            emotion = wheel[u.emotion] if flip and split == "test" else u.emotion
            changed.append(u.model_copy(update={"split": split, "emotion": emotion}))
        Manifest(changed, manifest.root).save(path)
        run = train(recipe, tmp_path / f"flip-{flip}")
        files = ["calibration.json", "folds.json", "bundle/model.safetensors"]
        files += [
            str(one.relative_to(run.folder))
            for one in sorted((run.folder / "jobs").rglob("*"))
            if one.suffix in (".safetensors", ".json")
        ]
        kept.append({name: (run.folder / name).read_bytes() for name in files})
        kept[-1]["rules"] = json.dumps(read_config(run.bundle).calibration).encode()
        scores.append(run.metrics["summary"]["metrics"]["wa"]["mean"])
    assert len(kept[0]) >= 6
    assert kept[0] == kept[1]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("kind", ["temperature", "vector"])
def test_stored_probabilities_calibrate_as_logits_do(kind):
    random = np.random.default_rng(0)
    logits = random.normal(scale=3.0, size=(300, 4))
    labels = logits.argmax(axis=1)
    labels[::3] = random.integers(0, 4, 100)
    shares = softmax(logits, axis=1)
    one, other = (
        fit_calibration(logits, labels, kind),
        fit_calibration(np.log(shares), labels, kind),
    )
    np.testing.assert_allclose(one.apply(logits), other.apply(np.log(shares)), atol=1e-6)
    assert one.after < one.before
