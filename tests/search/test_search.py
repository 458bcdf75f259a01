"""Searching: never test, the same again, shared, resumed, nested."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
import yaml

from emofuse.errors import OptionError, TrainingError, UsageError
from emofuse.evaluation.openings import count_openings
from emofuse.evaluation.runs import read_run
from emofuse.training.again.evaluate import evaluate_again
from emofuse.training.recipe import load_recipe
from emofuse.training.reproduce import reproduce
from emofuse.training.searching.bench import Bench, blueprint_of
from emofuse.training.searching.options import SearchOptions
from emofuse.training.searching.search import search
from emofuse.training.searching.work import SETTINGS, work
from emofuse.training.trainer import Trainer

SPACE = {"trainer.learning_rate": "1e-3..1e-1:log", "model.normalise": [True, False]}
COMMAND = (
    "import sys; from pathlib import Path; from emofuse.training.searching.work import work; "
    "work(Path(sys.argv[1]))"
)


def options(**changes):
    return SearchOptions.parse({"space": SPACE, "trials": 6, "startup": 3, "batch": 2, **changes})


def told(folder):
    """What a search found, but for where it lies."""
    return (folder / "search.json").read_text().replace(str(folder), "FOLDER")


def single(data):
    return {**data, "protocol": {"name": "official"}}


def test_the_best_recipe_gives_the_score_that_was_told(recipe_data, tmp_path):
    found = search(recipe_data, options(), tmp_path / "s")
    (study,) = found.studies
    recipe = load_recipe(tmp_path / "s" / "best.yaml")
    assert recipe.trainer.learning_rate == study.best.values["trainer.learning_rate"]
    assert "Chosen by search" in recipe.about
    bench = Bench(recipe)
    data = bench.data(recipe)
    trainer = Trainer(blueprint_of(recipe), recipe.trainer)
    scores = [trainer.fit(data.table, *data.parts(fold), seed=0).dev for fold in data.folds]
    assert study.best.score == pytest.approx(sum(scores) / 2, abs=1e-12)
    assert [*study.best.folds.values()] == pytest.approx(scores, abs=1e-12)
    assert study.best.score == max(row.score for row in study.trials if row.state == "complete")
    assert any("too good" in note for note in found.notes)


def test_no_test_label_reaches_a_search(recipe_data, make_manifest, tmp_path):
    def run(name, relabel):
        data = {**single(recipe_data), "data": {**recipe_data["data"]}}
        data["data"]["manifest"] = make_manifest(f"{name}.jsonl", relabel_test=relabel)
        search(data, options(prune_by="epoch"), tmp_path / name)
        return told(tmp_path / name), (tmp_path / name / "best.yaml").read_text()

    one, two = run("true", 0), run("false", 1)
    assert one[0] == two[0]
    assert one[1].replace("true.jsonl", "") == two[1].replace("false.jsonl", "")


def test_a_dev_label_does_reach_it(recipe_data, make_manifest, tmp_path):
    """The test above can fail: labels of another seed's words change what is found."""
    data = {**single(recipe_data), "data": {**recipe_data["data"]}}
    search(data, options(), tmp_path / "one")
    data["data"]["manifest"] = make_manifest("other.jsonl", seed=1)
    search(data, options(), tmp_path / "two")
    assert told(tmp_path / "one") != told(tmp_path / "two")


@pytest.mark.parametrize(("pruner", "by"), [("none", "fold"), ("hyperband", "epoch")])
def test_same_command_same_trials(recipe_data, tmp_path, pruner, by):
    chosen = options(pruner=pruner, prune_by=by, trials=8)
    search(recipe_data, chosen, tmp_path / "one")
    search(recipe_data, chosen, tmp_path / "two")
    assert told(tmp_path / "one") == told(tmp_path / "two")
    states = Counter(
        row["state"] for row in json.loads(told(tmp_path / "one"))["studies"][0]["trials"]
    )
    assert states["complete"] + states["pruned"] == 8
    assert not (states["pruned"] and pruner == "none")
    other = search(recipe_data, chosen.model_copy(update={"seed": 1}), tmp_path / "three")
    assert (
        other.studies[0].trials[0].values
        != json.loads(told(tmp_path / "one"))["studies"][0]["trials"][0]["values"]
    )


def test_more_trials_go_on_and_fewer_are_refused(recipe_data, tmp_path):
    search(recipe_data, options(trials=3), tmp_path / "s")
    search(recipe_data, options(trials=6), tmp_path / "s")
    search(recipe_data, options(trials=6), tmp_path / "whole")
    assert told(tmp_path / "s") == told(tmp_path / "whole")
    with pytest.raises(UsageError, match="6 trials"):
        search(recipe_data, options(trials=3), tmp_path / "s")
    with pytest.raises(UsageError, match="search seed is 0 there and 1 here"):
        search(recipe_data, options(seed=1), tmp_path / "s")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"holds no search \(mine.txt\)"):
        search(recipe_data, options(), tmp_path / "x")


def test_two_processes_share_one_study(recipe_data, tmp_path):
    """Both work, no trial is done twice, and the outcome is that of one process."""

    def both(folder, progress):
        command = [sys.executable, "-W", "ignore", "-c", COMMAND, str(folder)]
        with subprocess.Popen(command) as other:
            work(folder, progress)
        assert other.returncode == 0

    chosen = options(trials=6, batch=4)
    shared = search(recipe_data, chosen, tmp_path / "shared", spread=both)
    search(recipe_data, chosen, tmp_path / "alone")
    assert told(tmp_path / "shared") == told(tmp_path / "alone")
    assert [row.number for row in shared.studies[0].trials] == list(range(6))


def test_a_trial_that_cannot_be_trained_fails_alone(recipe_data, tmp_path):
    space = {"trainer.learning_rate": [1e-2, 1e30], "trainer.clip": [None]}
    found = search(recipe_data, options(space=space, trials=6, sampler="random"), tmp_path / "s")
    failed = [row for row in found.studies[0].trials if row.state == "fail"]
    assert failed
    assert all(row.values["trainer.learning_rate"] == 1e30 for row in failed)
    assert "lower trainer.learning_rate" in failed[0].reason
    with pytest.raises(TrainingError, match="no trial of search was completed"):
        search(
            recipe_data,
            options(space={"trainer.learning_rate": [1e30], "trainer.clip": [None]}, trials=2),
            tmp_path / "all",
        )


def test_a_combination_is_trained_once(recipe_data, tmp_path, monkeypatch):
    fits = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda *a, **k: fits.append(1) or fit(*a, **k))
    found = search(
        recipe_data,
        options(space={"model.normalise": [True, False]}, trials=8, pruner="none", batch=1),
        tmp_path / "s",
    )
    assert len(fits) == 2 * 2
    assert len({row.score for row in found.studies[0].trials}) <= 2


def test_nothing_to_choose_by(recipe_data, tmp_path):
    data = {**recipe_data, "protocol": {**recipe_data["protocol"], "dev": 0}}
    with pytest.raises(OptionError, match="set protocol.dev above 0"):
        search(data, options(), tmp_path / "s")


def test_nested_is_a_run_like_any_other(recipe_data, tmp_path):
    chosen = options(nested=True, inner=2, trials=3)
    found = search(recipe_data, chosen, tmp_path / "s")
    run = tmp_path / "s" / "run"
    assert found.run == run
    assert [study.fold for study in found.studies] == ["fold 1", "fold 2"]
    frame = pd.read_parquet(run / "predictions.parquet")
    assert Counter(frame["id"]) == Counter(f"u{n:03d}" for n in range(48))
    assert count_openings(run) == 1
    metrics = json.loads((run / "metrics.json").read_text())
    assert any("nested search" in note for note in metrics["notes"])
    assert len(read_run(run).predictions) == 48
    for study in found.studies:
        recipe = load_recipe(study.recipe)
        assert recipe.trainer.learning_rate == study.best.values["trainer.learning_rate"]


def test_a_nested_run_is_reproduced_with_the_values_of_each_fold(recipe_data, tmp_path):
    chosen = options(nested=True, inner=2, trials=3)
    run = search(recipe_data, chosen, tmp_path / "search").run
    path = run / "fold-recipes.yaml"
    first, second = folds = yaml.safe_load(path.read_text())
    folds[first]["model"]["hidden"], folds[second]["model"]["hidden"] = 8, 24
    path.write_text(yaml.safe_dump(folds, sort_keys=False))
    other = reproduce(run, tmp_path / "other")  # the file decides, and not the first fold alone
    assert other.verdict == "different"
    again = reproduce(other.again, tmp_path / "again")
    assert again.verdict == "identical"
    assert {check.verdict for check in again.checks} == {"identical"}
    found = evaluate_again(other.again)
    assert found.metrics["largest_difference"] == 0.0


def test_a_nested_search_never_sees_its_outer_test(recipe_data, make_manifest, tmp_path):
    """Labels of fold 1's test change: its own search and model do not, those of others do."""
    first = search(recipe_data, options(nested=True, inner=2, trials=3), tmp_path / "one")
    recipe = load_recipe(first.studies[0].recipe)
    tested = set(Bench(recipe).folds[0].test)
    lines = (tmp_path / "toy.jsonl").read_text().splitlines()
    turn = {"anger": "sadness", "sadness": "happiness", "happiness": "anger"}
    changed = []
    for line in lines:
        row = json.loads(line)
        if row.get("id") in tested:
            row["emotion"] = turn[row["emotion"]]
        changed.append(json.dumps(row))
    (tmp_path / "toy.jsonl").write_text("\n".join(changed) + "\n")
    second = search(recipe_data, options(nested=True, inner=2, trials=3), tmp_path / "two")
    assert first.studies[0].trials == second.studies[0].trials
    assert first.studies[1].trials != second.studies[1].trials
    weights = [
        (tmp_path / name / "run/jobs/fold-1-0/model.safetensors").read_bytes()
        for name in ("one", "two")
    ]
    assert weights[0] == weights[1]


def test_what_a_process_needs_lies_in_the_folder(recipe_data, tmp_path):
    search(recipe_data, options(trials=2), tmp_path / "s")
    stored = yaml.safe_load((tmp_path / "s" / SETTINGS).read_text())
    assert stored["search"]["trials"] == 2
    assert stored["recipe"]["model"] == recipe_data["model"]
    assert not list((tmp_path / "s" / "trials").iterdir())
