"""The probes over every registered model: nothing in the sound form, the known defects in others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from emofuse.errors import OptionError
from emofuse.models import MODELS
from emofuse.models.build import build_model
from emofuse.models.contract import ModelSpec
from emofuse.probes.report import run_probes
from emofuse.probes.sources import Sizes, drawn_bench
from emofuse.training.builtin import recipe_files
from emofuse.training.recipe import Recipe, parse_recipe, recipe_mapping

PLAIN: dict[str, Any] = {
    "name": "plain",
    "encoders": {
        "audio": {"name": "logmel", "granularity": "frames"},
        "text": {"name": "imported:tokens", "granularity": "frames"},
    },
    "protocol": {"name": "leave-one-speaker-out"},
}
DATA = {"manifest": "drawn.jsonl", "scheme": "basic4"}
DIMS = {"audio": 64, "text": 24, "video": 24}
SHORT = {"audio": 18, "text": 6, "video": 7}


def main_recipe(model: str) -> dict[str, Any]:
    """Give a model's recipe that has a switch table, else any, else a plain one; defaults alone."""
    found = [recipe_mapping(name) for name in recipe_files()]
    own = [
        raw
        for raw in found
        if raw["model"]["name"] == model and raw["model"].get("variant") != "published"
    ]
    own.sort(key=lambda raw: "ablations" not in raw)
    return next((raw for raw in own if takes(model, raw["encoders"])), PLAIN)


def takes(model: str, modalities: Iterable[str]) -> bool:
    """Say whether the default form of a model takes these modalities."""
    try:
        with torch.device("meta"):
            build_model(model, {}, ModelSpec({name: DIMS[name] for name in modalities}, 4))
    except OptionError:
        return False
    return True


def described(model: str) -> Recipe:
    """Resolve the default form of a model under the objective of its main recipe."""
    raw = main_recipe(model)
    kept = {key: raw[key] for key in ("objective", "trainer") if key in raw}
    encoders = {name: f"imported:{name}:granularity=frames" for name in raw["encoders"]}
    return parse_recipe(
        {**PLAIN, **kept, "encoders": encoders, "model": {"name": model}, "data": DATA}
    )


@pytest.mark.parametrize("model", MODELS.names())
def test_the_default_form_has_no_findings(model):
    recipe = described(model)
    lines = run_probes(drawn_bench(recipe, Sizes(DIMS, SHORT)))
    assert [one for one in lines if one.verdict == "finding"] == []
