"""``emofuse ablate``: rows as runs, one table, failures named, dead switches marked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from emofuse.errors import OptionError
from emofuse.training.ablation.ablate import plan_rows
from emofuse.training.recipe import load_recipe

RECIPE = {
    "name": "toy",
    "encoders": {"audio": "logmel:pooling=mean+std", "text": "ngrams:dim=64"},
    "model": {"name": "mlp", "hidden": 8, "dropout": 0.0},
    "protocol": {"name": "group-kfold", "by": "speaker", "k": 2, "dev": 0.3},
    "trainer": {"epochs": 2, "batch_size": 16, "device": "cpu", "patience": None},
    "seeds": [0],
    "published": {"figure": "UA 99", "caveat": "speaker-dependent"},
    "ablations": {
        "audio alone": ["encoders.text=null"],
        "wider": ["model.hidden=12"],
        "inert": ["model.pooling=max"],
        "broken": ["model.hiden=3"],
    },
}


@pytest.fixture
def recipe(corpus: Path, tmp_path: Path) -> Path:
    data = {"manifest": str(corpus), "scheme": "basic4", "store": str(tmp_path / "store")}
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "data": data}, sort_keys=False))
    return path


def test_rows_run_side_by_side_and_the_table_says_what_each_changed(run, recipe, tmp_path):
    done = run("ablate", recipe, "-o", "out", "--json")
    assert done.status == 1, done.err
    found = json.loads(done.out)
    assert found == json.loads((tmp_path / "out" / "ablation.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["full", *RECIPE["ablations"]]
    assert (found["failed"], found["unit"]) == (1, "speaker")
    assert "did you mean 'hidden'" in rows["broken"]["notes"][0]
    assert rows["inert"]["notes"][0] == "no change at all: a dead switch"
    assert rows["inert"]["difference"] == 0.0
    assert rows["full"]["difference"] is None
    assert "dead switch" not in " ".join(rows["wider"]["notes"])
    assert rows["wider"]["parameters"] > rows["full"]["parameters"]
    assert rows["audio alone"]["parameters"] < rows["full"]["parameters"]
    assert rows["wider"]["p_holm"] >= rows["wider"]["p"]
    lone = yaml.safe_load((tmp_path / "out" / "audio-alone" / "recipe.yaml").read_text())
    assert list(lone["encoders"]) == ["audio"]
    assert (lone["published"], lone["ablations"]) == (None, {})
    told = (tmp_path / "out" / "ablation.md").read_text()
    assert "| inert |" in told
    assert "no change at all: a dead switch" in told

    before = (tmp_path / "out" / "full" / "metrics.json").stat().st_mtime_ns
    again = run("ablate", recipe, "-o", "out", "--rows", "wider")
    assert again.status == 0, again.err
    assert (tmp_path / "out" / "full" / "metrics.json").stat().st_mtime_ns == before
    assert "wider" in again.out
    assert "inert" not in again.out


def test_an_unknown_row_and_a_recipe_without_rows_are_wrong_calls(run, recipe):
    done = run("ablate", recipe, "-o", "out", "--rows", "widr")
    assert done.status == 2
    assert "did you mean 'wider'" in done.complaint
    done = run("ablate", recipe, "ablations={}", "-o", "out")
    assert done.status == 2
    assert "has no ablations" in done.complaint
    assert not Path("out").exists()


def test_rows_get_folders_of_their_own(recipe):
    rows = plan_rows(str(recipe), ['ablations={"a b": [], "A-b": [], "full!": []}'])
    assert [row.folder for row in rows] == ["full", "a-b", "A-b~2", "full~2"]
    with pytest.raises(OptionError, match="rename it"):
        plan_rows(str(recipe), ["ablations={full: []}"])


def test_null_takes_an_encoder_out(recipe):
    assert list(load_recipe(recipe, ["encoders.text=null"]).encoders) == ["audio"]
    with pytest.raises(OptionError, match="encoders"):
        load_recipe(recipe, ["encoders.text=null", "encoders.audio=null"])


def test_recipes_are_listed_with_protocol_and_published_figure(run):
    listed = json.loads(run("list", "recipes", "--json").out)
    by_name = {one["name"]: one for one in listed}
    assert by_name["logmel-mlp"]["protocol"] == "leave-one-speaker-out"
    assert by_name["logmel-mlp"]["published"] is None
    told = [one for one in listed if one["published"]]
    assert all(one["published"]["figure"] for one in told)
    assert "protocol" in run("list", "recipes").out
