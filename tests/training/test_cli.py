"""``emofuse train`` from the command line."""

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


def test_table_and_json_tell_the_same(recipe, tmp_path):
    folder = str(tmp_path / "run")
    shown = CliRunner().invoke(app, ["train", recipe, "seeds=[0]", "-o", folder])
    assert shown.exit_code == 0, shown.output
    asked = CliRunner().invoke(app, ["train", recipe, "seeds=[0]", "-o", folder, "--json"])
    found = json.loads(asked.stdout)
    ua = found["summary"]["metrics"]["ua"]["mean"]
    assert f"{100 * ua:.1f}" in shown.stdout
    assert found["stamp"] in shown.stdout
    assert found["bundle"].endswith("bundle")
    assert f"run: {folder}" in shown.stderr


def test_a_wrong_key_is_named_before_anything_is_written(recipe, tmp_path):
    folder = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", recipe, "trainer.epoch=3", "-o", str(folder)])
    assert isinstance(result.exception, OptionError)
    assert "did you mean 'epochs'" in str(result.exception)
    assert not folder.exists()


def test_help_has_an_example_and_no_output_is_a_wrong_call(recipe):
    shown = CliRunner().invoke(app, ["train", "--help"])
    assert "Example: emofuse train" in shown.stdout
    assert CliRunner().invoke(app, ["train", recipe]).exit_code == 2
