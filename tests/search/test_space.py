"""Ranges: what they may say, and what is refused with the nearest legal key."""

from __future__ import annotations

import pytest

from emofuse.errors import OptionError, UsageError
from emofuse.training.searching.options import SearchOptions, load_search
from emofuse.training.searching.space import (
    check_space,
    overrides_of,
    parse_range,
    read_space,
    split_overrides,
)


def test_short_and_long_forms_say_the_same():
    assert parse_range("k", "1e-4..1e-2:log") == parse_range(
        "k", {"low": 1e-4, "high": 1e-2, "log": True}
    )
    whole = parse_range("k", "32..512:32")
    assert whole.whole
    assert whole.step == 32
    assert not parse_range("k", "0.0..1").whole


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("5..1", "not below"),
        ("0..1:log", "begins above 0"),
        ("1..2:0", "a step is above 0"),
        ("wide", "is no range"),
        ([1, 1], "listed twice"),
        ({"low": 1, "hihg": 3}, "unknown key"),
    ],
)
def test_what_is_no_range_is_named(given, said):
    with pytest.raises(OptionError, match=said) as error:
        parse_range("trainer.epochs", given)
    assert "trainer.epochs" in str(error.value)


def test_ranges_and_overrides_are_told_apart():
    plain, ranges = split_overrides(
        ["seeds=[0,1]", "model.hidden=8..16", 'model.pooling="mean"|"max"', "name=a..b"]
    )
    assert plain == ["seeds=[0,1]", "name=a..b"]
    assert list(ranges) == ["model.hidden", "model.pooling"]
    assert ranges["model.pooling"].choices == ("mean", "max")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"trainer.learnin_rate": "1e-3..1e-2"}, "did you mean 'learning_rate'"),
        ({"model.dropout": "0.0..1.5"}, "model.dropout=1.5"),
        ({"model.hidden": ["wide"]}, "hidden"),
        ({"protocol.dev": "0.1..0.3"}, "does not change protocol"),
        ({"seeds": [[0], [1]]}, "does not change seeds"),
        ({"model.hidden": {"low": 4, "high": 8, "when": {"model.layers": 1}}}, "declared before"),
    ],
)
def test_a_range_that_the_recipe_does_not_have(recipe_data, space, said):
    with pytest.raises(OptionError, match=said):
        check_space(recipe_data, read_space(space))


def test_a_key_may_exist_for_one_choice_alone(recipe_data):
    space = read_space(
        {
            "model": [{"name": "linear"}, {"name": "mlp"}],
            "model.hidden": {"low": 4, "high": 16, "when": {"model": {"name": "mlp"}}},
        }
    )
    check_space(recipe_data, space)
    with pytest.raises(OptionError, match="hidden"):
        check_space(
            recipe_data,
            {**space, "model.hidden": space["model.hidden"].model_copy(update={"when": {}})},
        )


def test_values_become_overrides_of_the_same_type():
    space = read_space({"a": "1..9", "b": "1e-6..1e-5:log", "c": [None, True, {"x": 1}]})
    assert overrides_of(space, {"a": 3, "b": 1e-6, "c": '{"x": 1}'}) == [
        "a=3",
        "b=1e-06",
        'c={"x": 1}',
    ]


def test_the_command_line_goes_before_the_file(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("trials: 7\nspace: {model.hidden: 4..8, model.dropout: 0.0..0.5}\n")
    found = load_search(path, read_space({"model.hidden": "2..3"}), {"trials": 9, "seed": None})
    assert (found.trials, found.seed) == (9, 0)
    assert str(found.space["model.hidden"]) == "2..3"
    path.write_text("trails: 7\nspace: {model.hidden: 4..8}\n")
    with pytest.raises(OptionError, match="did you mean 'trials'"):
        load_search(path, {}, {})
    with pytest.raises(OptionError, match="nothing to search"):
        load_search(None, {}, {})
    with pytest.raises(UsageError, match="nowhere"):
        load_search(tmp_path / "nowhere.yaml", {}, {})


def test_options_survive_their_own_yaml():
    options = SearchOptions.parse({"space": {"a": "1..4", "b": [1, None]}, "pruner": "none"})
    assert SearchOptions.parse(options.model_dump(mode="json", exclude_none=True)) == options
