"""The probes over every registered model: nothing in the sound form, known defects in others."""

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
NARROW: dict[str, dict[str, Any]] = {"vga-fusion": {"hidden": 48}}
"""Widths at which a large model is probed in seconds; all else stays at its default."""
VGA_OBJECTIVE = [
    {"name": "cross-entropy"},
    {"name": "micl", "weight": 0.2},
    {"name": "vad", "weight": 0.1},
]
OBJECTIVES = {"vga-fusion": VGA_OBJECTIVE}
"""What teaches every part of a model, where no recipe of the package says it."""
SHORT = {"audio": 18, "text": 6, "video": 7}


def main_recipe(model: str) -> dict[str, Any]:
    """Give a model's recipe that has a switch table, else any, else a plain one; defaults alone."""
    found = [recipe_mapping(name) for name in recipe_files()]
    own = [
        raw
        for raw in found
        if raw["model"]["name"] == model and raw["model"].get("variant") != "published"
    ]
    own.sort(key=lambda raw: ("ablations" not in raw, len(raw["model"])))  # nearest to defaults
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
    if raw is PLAIN and model in OBJECTIVES:
        kept["objective"] = OBJECTIVES[model]
    form = {"name": model, **NARROW.get(model, {})}
    encoders = {name: f"imported:{name}:granularity=frames" for name in raw["encoders"]}
    return parse_recipe({**PLAIN, **kept, "encoders": encoders, "model": form, "data": DATA})


@pytest.mark.parametrize("model", MODELS.names())
def test_the_default_form_has_no_findings(model):
    recipe = described(model)
    lines = run_probes(drawn_bench(recipe, Sizes(DIMS, SHORT)))
    assert [one for one in lines if one.verdict == "finding"] == []


def probed(model: dict[str, Any], only: Iterable[str], dims=None, lengths=None, objective=None):
    """Give the findings of a form of a model as (probe, subject) -> numbers."""
    names = dims or {"audio": 24, "text": 24}
    recipe = parse_recipe(
        {
            **PLAIN,
            "encoders": {name: f"imported:{name}" for name in names},
            "objective": objective or [{"name": "cross-entropy"}],
            "model": model,
            "data": DATA,
        }
    )
    bench = drawn_bench(recipe, Sizes(names, lengths or SHORT))
    lines = run_probes(bench, only)
    return {(o.probe, o.subject): o.numbers for o in lines if o.verdict == "finding"}


def test_fleser_published_is_seen_through():
    model = {"name": "fleser", "variant": "published"}
    size = {"audio": 768, "text": 768}
    found = probed(model, ["attention", "gradient", "switches", "batch"], size)
    assert {subject for probe, subject in found if probe == "attention"} == {
        "text->text",
        "audio->audio",
        "fused->fused",
    }
    assert found["gradient", "unused"]["of"] == 1_467_236
    assert found["gradient", "unused"]["parameters"] == 131_328  # the gate
    assert ("switches", "alpha") in found
    assert ("batch", "company") in found


def test_fleser_published_reads_alpha_with_cross_attention():
    model = {"name": "fleser", "variant": "published", "fusion": "cross_attention"}
    assert ("switches", "alpha") not in probed(model, ["switches"])


def test_vga_published_is_seen_through():
    model = {"name": "vga-fusion", "variant": "published"}
    size = {"text": 768, "audio": 1024}
    found = probed(model, ["attention", "gradient"], size, objective=VGA_OBJECTIVE)
    assert {subject for probe, subject in found if probe == "attention"} >= {
        "text->audio",
        "audio->text",
    }
    assert found["gradient", "blocked"]["without_gradient"] == 2_072_080
    small = {**model, "hidden": 48}
    assert ("switches", "vad_lambda") in probed(small, ["switches"], objective=VGA_OBJECTIVE)


def test_four_m_ser_published_depends_on_padding():
    model = {"name": "four-m-ser", "variant": "published"}
    assert set(probed(model, ["padding"])) == {("padding", "audio"), ("padding", "text")}


@pytest.mark.slow
def test_the_quantiser_of_four_m_ser_blocks_the_gradient():
    model = {"name": "four-m-ser", "variant": "published"}
    with_vggish = {**model, "vggish": {"postprocess": "quantised"}}
    size = {"audio": 96 * 64, "text": 24}
    found = probed(with_vggish, ["gradient"], size, {"audio": 2, "text": 5})
    assert found["gradient", "audio features"]["state"] == "blocked"
    assert found["gradient", "blocked"]["parameters"] == 72_141_184
    assert all(name.startswith("vggish.") for name in found["gradient", "blocked"]["names"])


@pytest.mark.filterwarnings("ignore:text_tokens is 'cls'")
def test_copenhagen_with_one_text_token_attends_to_nothing():
    model = {"name": "copenhagen", "architecture": "cross-attention", "text_tokens": "cls"}
    found = probed(model, ["attention", "gradient"], {"audio": 64, "text": 24})
    assert ("attention", "audio->text") in found
    assert ("gradient", "blocked") in found


def test_foal_net_published_divides_by_a_temperature_that_may_become_zero():
    model = {"name": "foal-net", "variant": "published"}
    objective = [{"name": "cross-entropy"}, {"name": "avel"}, {"name": "mem", "weight": 0.1}]
    names = {"audio": 32, "video": 24}
    found = probed(model, ["loss"], names, objective=objective)
    assert ("loss", "avel") in found
    described = {"name": "foal-net"}
    assert probed(described, ["loss"], names, objective=objective) == {}


def test_avel_as_released_cannot_fall_below_its_floor_and_grows_with_the_batch():
    """9.69 for 16 items of four classes, 5.55 without the temperature: measured, not looked up."""
    names = {"audio": 32, "video": 24}
    released = [{"name": "cross-entropy"}, {"name": "avel", "reduction": "sum"}]
    model = {"name": "foal-net", "variant": "published"}
    found = probed(model, ["floor", "start"], names, objective=released)
    assert set(found) == {("floor", "avel"), ("start", "avel")}
    assert found["floor", "avel"]["lowest"] == pytest.approx(9.69, abs=0.01)
    assert found["floor", "avel"]["sharp"] == pytest.approx(5.545, abs=0.01)
    described = [{"name": "cross-entropy"}, {"name": "avel"}, {"name": "mem", "weight": 0.1}]
    assert probed({"name": "foal-net"}, ["floor", "start"], names, objective=described) == {}


@pytest.mark.parametrize(("legacy", "factor"), [(True, 0.5), (False, 1.0)])
def test_contrastive_center_as_released_starts_by_the_size_of_the_batch(legacy, factor):
    objective = [{"name": "cross-entropy"}, {"name": "contrastive-center", "legacy": legacy}]
    found = probed({"name": "four-m-ser"}, ["floor", "start"], objective=objective)
    assert set(found) == ({("start", "contrastive-center")} if legacy else set())
    if legacy:
        numbers = found["start", "contrastive-center"]
        assert numbers["whole"] / numbers["halves"] == pytest.approx(factor, rel=0.02)
        assert numbers["whole"] * numbers["items"] == pytest.approx(10 / 6, rel=0.2)


def test_center_as_released_falls_with_the_root_of_the_batch():
    objective = [{"name": "cross-entropy"}, {"name": "center", "legacy": True}]
    numbers = probed({"name": "four-m-ser"}, ["start"], objective=objective)["start", "center"]
    assert numbers["whole"] / numbers["halves"] == pytest.approx(0.5**0.5, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "leaks"), [("class", True), ("random", False)])
def test_a_policy_by_class_leaks_the_label_and_the_same_at_random_does_not(policy, leaks):
    recipe = parse_recipe({**recipe_mapping("copenhagen/cross-attention-class"), "data": DATA})
    changed = recipe.augment.model_copy(update={"policy": policy})
    bench = drawn_bench(recipe.model_copy(update={"augment": changed}), Sizes(DIMS, SHORT))
    found = [one.verdict for one in run_probes(bench, ["augmentation"])]
    assert found == ["finding" if leaks else "ok"]
