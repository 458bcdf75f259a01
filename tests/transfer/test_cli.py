"""``emofuse transfer`` from the command line, from an empty directory."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.cli.conftest import run  # noqa: F401 (a fixture)

from emofuse.evaluation.openings import count_openings


@pytest.fixture
def recipe(recipe_data, tmp_path):
    recipe_data |= {"seeds": [0], "methods": ["none", "finetune", "target"], "shots": [0, 3]}
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump(recipe_data), encoding="utf-8")
    return path


def test_what_it_prints_and_writes(run, recipe, tmp_path):  # noqa: F811
    done = run("transfer", recipe, "trainer.epochs=2", "-o", "out")
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "out/transfer.json").read_text())
    assert [row["method"] for row in found["rows"]] == ["target", "none", "finetune"] * 2
    for row in found["rows"]:
        shown = f"{100 * row['ua']:.1f} ({100 * row['low']:.1f}–{100 * row['high']:.1f})"
        assert shown in done.out
    assert "blue → red" in done.out
    assert "3 a class" in done.out
    assert "protocol: group-kfold · speaker-independent: yes" in done.err
    assert "heat map: out/heatmap.png" in done.err
    again = run("transfer", recipe, "trainer.epochs=2", "-o", "out", "--json")
    assert {**found, "folder": "out"} == json.loads(again.out)
    assert count_openings(tmp_path / "out") == 1


def test_a_setting_is_a_run(run, recipe):  # noqa: F811
    assert run("transfer", recipe, "-o", "out").status == 0
    one, other = (f"out/settings/red-to-blue-{name}" for name in ("none-0", "finetune-3"))
    compared = run("compare", one, other, "--json")
    assert compared.status == 0, compared.err
    pair = json.loads(compared.out)["pairs"][0]
    assert (pair["common"], pair["first_stamp"]) == (54, "speaker-independent")


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["shot=[1]"], 2, "did you mean 'shots'"),
        (["methods=[fintune]"], 2, "did you mean 'finetune'"),
        (["sources=[red, bleu]"], 2, "did you mean 'blue'"),
        (["standardise=speaker"], 2, "standardise"),
        (["data.manifest=nowhere.jsonl"], 1, "nowhere.jsonl"),
    ],
)
def test_one_line(run, recipe, words, status, complaint):  # noqa: F811
    done = run("transfer", recipe, *words, "-o", "out")
    assert done.status == status
    assert complaint in done.complaint


def test_help_and_list(run):  # noqa: F811
    assert "Example: emofuse transfer" in " ".join(run("transfer", "--help").out.split())
    assert "transfer/open-corpora" in run("list", "transfers").out
    assert "transfer/" not in run("list", "recipes").out
    assert run("transfer", "open-corpus", "-o", "out").status == 2
