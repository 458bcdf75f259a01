"""Recipes: resolved, round-tripping, and every mistake one clear line."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emofuse.errors import EmofuseError, OptionError, UsageError
from emofuse.options import apply_overrides, parse_yaml
from emofuse.training.builtin import builtin_recipes
from emofuse.training.recipe import load_recipe, parse_recipe


def test_a_recipe_is_resolved_and_round_trips(recipe_data):
    recipe = parse_recipe(recipe_data)
    assert recipe.model["dropout"] == 0.3
    assert recipe.protocol["dev_by"] == "auto"
    assert recipe.objective[0]["smoothing"] == 0.0
    text = recipe.to_yaml()
    again = parse_recipe(yaml.safe_load(text))
    assert again == recipe
    assert again.to_yaml() == text


def test_short_forms(recipe_data):
    recipe_data["encoders"]["audio"] = "logmel:pooling=mean+std"
    recipe_data["seeds"] = 7
    recipe = parse_recipe(recipe_data)
    assert recipe.encoders["audio"].pooling == "mean+std"
    assert list(recipe.encoders) == ["text", "audio"]
    assert recipe.seeds == (7,)
    assert len(recipe.data.manifest) == 1


def test_a_scheme_of_ones_own_is_written_into_the_resolved_recipe(recipe_data, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nclasses: [anger, happiness, sadness]\n", encoding="utf-8")
    recipe_data["data"]["scheme"] = str(path)
    recipe = parse_recipe(recipe_data)
    path.unlink()
    assert parse_recipe(yaml.safe_load(recipe.to_yaml())).data.label_scheme.name == "mine"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.epoch=3", "unknown key 'trainer.epoch'; did you mean 'epochs'"),
        ("trainer.select.weight_decy=[1]", "did you mean 'weight_decay'"),
        ("model.hiden=3", "did you mean 'hidden'"),
        ("model.name=mpl", "did you mean 'mlp'"),
        ("protocol.nam=x", "did you mean 'name'"),
        ("protocol.name=leave-one-speaker", "did you mean 'leave-one-speaker-out'"),
        ("protocol.bye=speaker", "did you mean 'by'"),
        ("objective=[{name: cross-entropy, smooth: 1}]", "did you mean 'smoothing'"),
        ("data.manfest=x", "did you mean 'manifest'"),
        ("encoders.audi=logmel", "audi"),
        ("encoders.text.pool=max", "did you mean 'pooling'"),
        ("trainer.learning_rate=-1", "trainer.learning_rate"),
        ("trainer.learning_rate=.nan", "trainer.learning_rate"),
        ("trainer.batch_size=many", "trainer.batch_size"),
        ("trainer.select={folds: 3}", "weight_decay or learning_rate"),
        ("trainer.select={folds: 1, weight_decay: [1]}", "one fold"),
        ("seeds=[]", "seeds"),
        ("seeds=[1, 1]", "listed twice"),
        ("seeds=[-1]", "outside 0"),
        ("encoders={}", "encoders"),
        ("model=null", "model"),
        ("data.scheme=nosuch", "unknown label scheme"),
        ("seed=3", "did you mean 'seeds'"),
    ],
)
def test_every_mistake_is_one_line_that_names_it(recipe_data, override, message):
    with pytest.raises(OptionError) as caught:
        parse_recipe(apply_overrides(recipe_data, [override]), "recipe toy")
    assert message in str(caught.value)
    assert str(caught.value).startswith("recipe toy")
    assert "\n" not in str(caught.value)


def test_built_in_recipes_need_only_data(make_manifest):
    path = make_manifest()
    names = builtin_recipes()
    assert {"logmel-mlp", "logmel-linear", "whisper-linear"} <= set(names)
    for name, about in names.items():
        assert about
        recipe = load_recipe(name, [f"data.manifest={path}", "data.scheme=basic4"])
        assert recipe.name == name
        with pytest.raises(OptionError, match=r"data\.manifest"):
            load_recipe(name)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'logmel-mlp'"):
        load_recipe("logmel-mpl")
    with pytest.raises(UsageError, match="cannot read"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    with pytest.raises(OptionError, match="expected keys and values"):
        load_recipe(tmp_path / "list.yaml")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
KEYS = st.text(max_size=8) | st.integers() | st.sampled_from(["name", "folds", "weights", "path"])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
PLACES = [
    *("name", "about", "data", "data.manifest", "data.root", "data.scheme", "data.store"),
    *("encoders", "encoders.text", "encoders.text.name", "model", "model.name", "model.hidden"),
    *("objective", "protocol", "protocol.name", "protocol.k", "protocol.allow", "trainer"),
    *("trainer.epochs", "trainer.select", "trainer.monitor", "seeds", "extra"),
]
QUIET = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@QUIET
@given(place=st.sampled_from(PLACES), value=ANYTHING)
def test_any_value_in_any_place_is_taken_or_refused_politely(recipe_data, place, value):
    data = copy.deepcopy(recipe_data)
    *path, last = place.split(".")
    target = data
    for step in path:
        target = target[step]
    target[last] = value
    try:
        recipe = parse_recipe(data)
    except EmofuseError as error:
        assert "\n" not in str(error)
    else:
        assert parse_recipe(yaml.safe_load(recipe.to_yaml())) == recipe


@QUIET
@given(ANYTHING)
def test_any_data_is_refused_politely(data):
    with pytest.raises(EmofuseError):
        parse_recipe(data)


@QUIET
@given(st.text(max_size=60))
def test_any_text_is_refused_politely(text):
    with pytest.raises(EmofuseError):
        parse_recipe(parse_yaml(text))
