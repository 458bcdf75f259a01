"""``emofuse explain`` from an empty directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.calls import call_emofuse

from emofuse.evaluation.openings import count_openings
from emofuse.explain.opening import open_run
from emofuse.explain.page import slugs_of

from .conftest import CLASSES, recipe_for


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Call ``emofuse WORDS...`` from an empty directory: status, printed, said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.delenv("EMOFUSE_DEBUG", raising=False)

    def call(*words):
        return call_emofuse(capfd, *words)

    return call


def test_an_utterance_gets_a_page_of_its_own(run, fleser_run, tmp_path):
    before = count_openings(fleser_run)
    status, out, err = run("explain", fleser_run, "s2-anger-1", "--steps", 16, "--window", 0.5)
    assert status == 0, err
    assert "s2-anger-1" in out
    assert "completeness gap" in out
    assert "grad-cam does not apply: the model has no convolution over a spectrogram" in err
    assert count_openings(fleser_run) == before + 1
    folder = fleser_run / "explanations" / "s2-anger-1"
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) == {"id", "gold", "predicted", "confidence", "title", "images", "notes"}
    assert summary["id"] == "s2-anger-1"
    assert summary["gold"] == "anger"
    for image in summary["images"]:
        assert (folder / image["file"]).read_bytes()[:4] == b"\x89PNG"
        assert b"<svg" in (folder / image["file"]).with_suffix(".svg").read_bytes()[:800]
    page = (folder / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "data:audio/wav;base64," in page
    assert page.count("data:image/png") == len(summary["images"])
    assert "prefers-color-scheme: dark" in page
    assert "Does not apply: the model has no convolution" in page
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["frames"]["gap"] == pytest.approx(
        abs(
            numbers["frames"]["sum"]
            - numbers["frames"]["score"]
            + numbers["frames"]["baseline_score"]
        )
    )
    rows = pd.read_csv(folder / "frames-audio.csv")
    assert rows["attribution"].sum() == pytest.approx(numbers["frames"]["sums"]["audio"], rel=1e-4)
    index = (fleser_run / "explanations" / "index.html").read_text()
    assert 'href="s2-anger-1/index.html"' in index


def test_equal_calls_give_equal_files(run, fleser_run, tmp_path):
    words = ("explain", fleser_run, "s0-happiness-2", "--only", "frames,words")
    for name in ("one", "two"):
        assert run(*words, "-o", tmp_path / name)[0] == 0
    files = sorted(p.name for p in (tmp_path / "one" / "s0-happiness-2").iterdir())
    assert len(files) >= 10
    for name in files:
        first, second = (
            (tmp_path / n / "s0-happiness-2" / name).read_bytes() for n in ("one", "two")
        )
        assert first == second, name


def test_each_utterance_meets_the_model_that_never_learnt_from_it(fleser_run):
    """What the chosen model says is what the run recorded; the other fold's says otherwise."""
    for seed in (0, 1):
        subject = open_run(fleser_run, seed)
        other = []
        for name in subject.table.ids[::5]:
            case = subject.case(name)
            assert name in case.fold.test
            assert name not in (*case.fold.train, *case.fold.dev)
            assert case.drift < 1e-5
            fold = next(one for one in subject.folds if one.name != case.fold.name)
            logits = subject.model(fold)(case.batch).logits
            shares = logits.softmax(dim=1)[0].tolist()
            other.append(np.abs(np.array(shares) - list(case.probabilities.values())).max())
        assert max(other) > 1e-2


def test_the_set_is_explained_with_its_numbers(run, fleser_run, tmp_path):
    status, out, err = run(
        "explain", fleser_run, "--projection", "tsne", "-o", tmp_path / "out", "--json"
    )
    assert status == 0, err
    found = json.loads(out)
    assert found["utterances"] == []
    shapley = found["set"]["modalities"]["shapley"]["all"]
    assert found["set"]["modalities"]["efficiency"] < 1e-9
    assert shapley["audio"]["clusters"] == 4
    assert shapley["text"]["low"] <= shapley["text"]["mean"] <= shapley["text"]["high"]
    assert "features, text" in found["set"]["embeddings"]
    pair = found["set"]["correlation"]["model, fold 'fold 1'"]
    assert pair["cosine"]["difference"]["mean"] == pytest.approx(
        pair["cosine"]["matched"]["mean"] - pair["cosine"]["mismatched"]["mean"]
    )
    assert pair["CKA"]["low"] is None  # two speakers in a fold: too few to leave one out
    assert found["set"]["correlation"]["features"]["CKA"]["low"] is not None
    folder = tmp_path / "out" / "_set"
    told = json.loads((folder / "panels.json").read_text())["panels"]
    about = next(one["about"] for one in told if one["key"] == "correlation")
    assert "CKA and CCA leave out one speaker after the other (jackknife)" in about
    rows = pd.read_csv(folder / "modalities.csv")
    assert len(rows) == 48
    assert rows["text"].mean() == pytest.approx(shapley["text"]["mean"])
    assert not (folder / "summary.json").exists()  # no utterance, so no fragment of the report
    index = (tmp_path / "out" / "index.html").read_text()
    assert "The whole test set" in index
    assert "rules.png" in {p.name for p in folder.iterdir()}
    gates = pd.read_csv(folder / "gates.csv")
    kinds = [c for c in gates if c.startswith("text: ")]
    np.testing.assert_allclose(gates[kinds].sum(axis=1), 1.0, atol=1e-6)


def test_the_surest_and_the_least_sure_mistakes(run, planted, tmp_path):
    """A model of one epoch makes mistakes; the page has those asked for."""
    from emofuse.training.recipe import parse_recipe
    from emofuse.training.run import train

    data = recipe_for(
        planted,
        encoders={"text": {"name": "ngrams", "dim": 64}},
        model={"name": "mlp", "hidden": 8},
        seeds=[0],
    )
    data["trainer"] |= {"epochs": 1, "learning_rate": 1e-5, "modality_dropout": 0.0}
    train(parse_recipe(data, "bad"), tmp_path / "bad")
    status, out, err = run("explain", tmp_path / "bad", "--errors", 2, "--json", "--only", "words")
    assert status == 0, err
    found = json.loads(out)["utterances"]
    frame = pd.read_parquet(tmp_path / "bad" / "predictions.parquet")
    frame = frame[frame["gold"] != frame["predicted"]]
    sure = frame[[f"p:{name}" for name in CLASSES]].max(axis=1)
    assert len(found) == 4
    assert all(one["gold"] != one["predicted"] for one in found)
    assert found[0]["confidence"] == pytest.approx(sure.max(), abs=1e-5)
    assert found[2]["confidence"] == pytest.approx(sure.min(), abs=1e-5)


def test_mistakes_of_the_caller_are_one_line(run, fleser_run, planted):
    cases = [
        (("explain", "nowhere"), 1, "no run in nowhere"),
        (("explain", fleser_run, "s9"), 1, "knows no test utterance 's9'"),
        (("explain", fleser_run, "--seed", 7), 2, "not trained with seed 7; legal: 0, 1"),
        (("explain", fleser_run, "s0-anger-0", "--fold", "x"), 2, "has no fold 'x'"),
        (("explain", fleser_run, "s0-anger-0", "--target", "angr"), 2, "did you mean 'anger'"),
        (("explain", fleser_run, "--only", "gradcam"), 2, "did you mean 'grad-cam'"),
        (("explain", fleser_run, "s0-anger-0", "--baseline", "ones"), 2, "baseline"),
        (("explain", fleser_run, "--no-set"), 2, "nothing to explain"),
    ]
    for words, status, text in cases:
        found, _, err = run(*words)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (found, len(lines)) == (status, 1), (words, err)
        assert text in lines[0]


def test_an_utterance_that_was_never_test_is_refused(run, planted, tmp_path):
    from emofuse.training.recipe import parse_recipe
    from emofuse.training.run import train

    data = recipe_for(
        planted,
        encoders={"text": {"name": "ngrams", "dim": 64}},
        model={"name": "linear"},
        seeds=[0],
    )
    data["protocol"] = {"name": "random", "allow": ["speaker", "text"]}
    data["trainer"]["modality_dropout"] = 0.0
    train(parse_recipe(data, "random"), tmp_path / "random")
    folds = json.loads((tmp_path / "random" / "folds.json").read_text())["folds"]
    tested = {name for fold in folds for name in fold["test"]}
    learnt = sorted({name for fold in folds for name in fold["train"]} - tested)
    if learnt:
        status, _, err = run("explain", tmp_path / "random", learnt[0])
        assert status == 1
        assert "was test in no fold" in err
    fold, inside = folds[0]["name"], folds[0]["train"][0]
    status, _, err = run("explain", tmp_path / "random", inside, "--fold", fold)
    assert status == 1
    assert "may have learnt from it" in err or "was test in no fold" in err


@pytest.mark.slow
def test_a_spectrogram_model_gets_its_heat(run, planted, tmp_path):
    from emofuse.training.recipe import parse_recipe
    from emofuse.training.run import train

    data = recipe_for(
        planted,
        encoders={"audio": {"name": "logmel", "granularity": "frames"}},
        model={"name": "copenhagen", "architecture": "cnn-bilstm"},
        seeds=[0],
    )
    data["trainer"] |= {"epochs": 6, "learning_rate": 1e-3, "modality_dropout": 0.0}
    train(parse_recipe(data, "conv"), tmp_path / "conv")
    layer = "network.trunk.activations.1"
    status, _, err = run("explain", tmp_path / "conv", "s0-anger-0", "--layer", layer)
    assert status == 0, err
    folder = tmp_path / "conv" / "explanations" / "s0-anger-0"
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["grad-cam"]["layer"] == layer
    heat = pd.read_csv(folder / "grad-cam.csv")
    assert heat["seconds"].iloc[0] == pytest.approx(0.0125)
    assert len(heat.columns) == 65
    status, _, err = run("explain", tmp_path / "conv", "s0-anger-0", "--layer", "stem")
    assert status == 2
    assert "no Grad-CAM layer 'stem'" in err


def test_folders_are_named_for_ids():
    names = ["03a01Fa", "a/b", "a-b", "../x", "_set", "ä"]
    found = slugs_of(names)
    assert found["03a01Fa"] == "03a01Fa"
    assert len(set(found.values())) == len(names)
    assert all("/" not in slug and not slug.startswith((".", "_")) for slug in found.values())
    assert slugs_of(["a/b"])["a/b"] == found["a/b"]
    assert Path(found["../x"]).name == found["../x"]
