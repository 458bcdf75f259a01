"""Run again: the same bytes, or what differs in words and in the exit status."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import yaml

from emofuse.errors import OptionError, UsageError, WorkError
from emofuse.manifest import Manifest
from emofuse.options import apply_overrides
from emofuse.training.recipe import parse_recipe
from emofuse.training.repeatable import repeatable
from emofuse.training.reproduce import reproduce
from emofuse.training.run import train

COMMAND = "from emofuse.cli.app import main; main()"
FILES = ("predictions.parquet", "metrics.json", "bundle/model.safetensors", "bundle/config.json")


def made(data, *overrides):
    return parse_recipe(apply_overrides(data, ["trainer.epochs=3", "seeds=[0]", *overrides]))


def emofuse(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture
def run(recipe_data, tmp_path):
    return train(made(recipe_data), tmp_path / "run").folder


def verdicts(found):
    return {check.what: check.verdict for check in found.checks}


def test_a_run_is_reproduced_byte_for_byte(run, tmp_path):
    found = reproduce(run)
    assert found.again == tmp_path / "run-again"
    assert found.verdict == "identical"
    assert set(verdicts(found).values()) == {"identical"}
    assert json.loads((found.again / "reproduction.json").read_text()) == found.to_json()


def test_other_weights_show_in_predictions_and_metrics(run, recipe_data, tmp_path):
    changed = yaml.safe_load((run / "recipe.yaml").read_text())
    changed["trainer"]["learning_rate"] = 0.5
    (run / "recipe.yaml").write_text(yaml.safe_dump(changed))
    found = reproduce(run, tmp_path / "again")
    shown = verdicts(found)
    assert found.verdict == "different"
    assert shown["manifest"] == shown["features"] == shown["folds"] == "identical"
    assert shown["predictions"] == shown["weights of every job"] == "different"
    detail = next(check.detail for check in found.checks if check.what == "predictions")
    assert "of 90 decisions" in detail


def test_a_changed_manifest_and_another_version_are_named(run, recipe_data, tmp_path):
    path = tmp_path / "toy.jsonl"
    manifest = Manifest.load(path)
    kept = [manifest[0].model_copy(update={"text": "quite another text"}), *manifest[1:]]
    Manifest(kept, manifest.root).save(path)
    note = json.loads((run / "environment.json").read_text())
    note["versions"]["torch"] = "1.0"
    (run / "environment.json").write_text(json.dumps(note))
    found = reproduce(run, tmp_path / "again")
    shown = verdicts(found)
    assert shown["manifest"] == shown["features"] == "different"
    assert shown["folds"] == "identical"
    detail = found.checks[0].detail
    assert detail == f"versions.torch 1.0 -> {torch.__version__}"


def test_only_where_things_lie_may_be_given_anew(run, tmp_path):
    moved = tmp_path / "elsewhere.jsonl"
    (tmp_path / "toy.jsonl").rename(moved)
    with pytest.raises(OptionError, match="trainer.epochs"):
        reproduce(run, tmp_path / "again", ["trainer.epochs=9"])
    found = reproduce(run, tmp_path / "again", [f"data.manifest={moved}", "trainer.workers=0"])
    assert found.verdict == "identical"


def test_what_is_no_finished_run_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="the run itself"):
        reproduce(run, run)
    (run / "metrics.json").unlink()
    with pytest.raises(WorkError, match="finish the run"):
        reproduce(run)
    with pytest.raises(WorkError, match="no run directory"):
        reproduce(tmp_path / "nowhere")


def test_exit_status_and_words_of_the_command(recipe_data, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump(apply_overrides(recipe_data, ["trainer.epochs=2", "seeds=[0]"]))
    )
    first = emofuse("train", "recipe.yaml", "--deterministic", "-o", "run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["trainer"]["deterministic"]
    again = emofuse("reproduce", "run", cwd=tmp_path)
    assert (again.returncode, "byte for byte" in again.stderr) == (0, True), again.stderr
    stored = (tmp_path / "run-again/predictions.parquet").read_bytes()
    assert stored == (tmp_path / "run/predictions.parquet").read_bytes()
    text = (tmp_path / "run/recipe.yaml").read_text().replace("hidden: 16", "hidden: 17")
    (tmp_path / "run/recipe.yaml").write_text(text)
    other = emofuse("reproduce", "run", "-o", "other", "--json", cwd=tmp_path)
    assert other.returncode == 1
    assert json.loads(other.stdout)["verdict"] == "different"


@pytest.mark.slow
def test_deterministic_runs_are_the_same_bytes_with_two_workers(recipe_data, tmp_path):
    runs = [
        train(made(recipe_data, "trainer.deterministic=true", f"trainer.workers={n}"), tmp_path / n)
        for n in ("0", "1", "2")
    ]
    for name in FILES:
        assert len({(run.folder / name).read_bytes() for run in runs}) == 1
    for path in (tmp_path / "0" / "jobs").rglob("*.safetensors"):
        twin = tmp_path / "2" / path.relative_to(tmp_path / "0")
        assert path.read_bytes() == twin.read_bytes()


def test_an_operation_that_does_not_repeat_is_refused_inside_alone():
    before = torch.get_num_threads()
    with repeatable(True):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
