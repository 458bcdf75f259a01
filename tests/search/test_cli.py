"""``emofuse search`` from the command line."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.errors import OptionError


@pytest.fixture
def recipe(recipe_data, tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(recipe_data), encoding="utf-8")
    return str(path)


def test_search_then_train_from_an_empty_directory(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = tmp_path / "s.yaml"
    space.write_text("trials: 3\nspace:\n  model.hidden: 4..16:4\n")
    command = ["search", recipe, "s.yaml", "trainer.learning_rate=1e-3..1e-1:log", "seeds=[3]"]
    shown = CliRunner().invoke(app, [*command, "-o", "found", "--train"])
    assert shown.exit_code == 0, shown.output
    assert "toy: 3 trials (3 complete), best first" in shown.stdout
    assert "best recipe: found/best.yaml" in shown.stderr
    assert "run: found/run" in shown.stderr
    asked = CliRunner().invoke(app, [*command, "-o", "found", "--json"])
    found = json.loads(asked.stdout)
    best = found["studies"][0]["best"]
    assert best["values"]["model.hidden"] in (4, 8, 12, 16)
    assert f"{100 * best['score']:.2f}" in shown.stdout
    stored = json.loads((tmp_path / "found/run/metrics.json").read_text())
    assert stored["summary"]["seeds"] == 1
    again = CliRunner().invoke(app, ["train", "found/best.yaml", "-o", "again"])
    assert again.exit_code == 0, again.output
    both = [tmp_path / name / "predictions.parquet" for name in ("found/run", "again")]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_mistakes_are_named_before_anything_is_written(recipe, tmp_path):
    folder = tmp_path / "found"
    for argument, said in [
        ("trainer.learnin_rate=1e-3..1e-2", "did you mean 'learning_rate'"),
        ("trainer.epochs=4", "nothing to search"),
        ("protocol.dev=0.1..0.2", "does not change protocol"),
    ]:
        result = CliRunner().invoke(app, ["search", recipe, argument, "-o", str(folder)])
        assert isinstance(result.exception, OptionError)
        assert said in str(result.exception)
    assert not folder.exists()


def test_help_has_an_example(recipe):
    assert "Example: emofuse search" in CliRunner().invoke(app, ["search", "--help"]).stdout
    assert CliRunner().invoke(app, ["search", recipe]).exit_code == 2
