"""Options, YAML and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.errors import EmofuseError, OptionError, UsageError
from emofuse.options import Options, apply_overrides, load_yaml, parse_yaml


class Inner(Options):
    hidden: int = 4
    dropout: float = 0.1


class Outer(Options):
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


def test_unknown_key_names_the_nearest_legal_one() -> None:
    with pytest.raises(OptionError, match=r"r: unknown key 'nme'; did you mean 'name'\?"):
        Outer.parse({"nme": "a"}, "r")


def test_unknown_nested_key_is_searched_among_its_own_siblings() -> None:
    with pytest.raises(OptionError, match=r"'inner.hiden'; did you mean 'hidden'\? legal: dropout"):
        Outer.parse({"name": "a", "inner": {"hiden": 3}})
    with pytest.raises(OptionError, match=r"'many.0.hiden'; did you mean 'hidden'"):
        Outer.parse({"name": "a", "many": [{"hiden": 3}]})


def test_wrong_type_names_key_and_value() -> None:
    with pytest.raises(OptionError, match=r"inner.hidden = 'x': input should be a valid integer"):
        Outer.parse({"name": "a", "inner": {"hidden": "x"}})


def test_missing_key_is_named() -> None:
    with pytest.raises(OptionError, match="key 'name' is missing"):
        Outer.parse({})


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_something_that_is_no_mapping_is_refused(data: object) -> None:
    with pytest.raises(OptionError, match="expected keys and values"):
        Outer.parse(data)


def test_options_are_frozen() -> None:
    options = Outer(name="a")
    with pytest.raises(ValueError, match="frozen"):
        options.name = "b"  # type: ignore[misc]


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert parse_yaml("[1e-3, 1.5E+2, -2e4, 1e3x]") == [0.001, 150.0, -20000.0, "1e3x"]


def test_duplicate_keys_are_refused_with_the_line() -> None:
    with pytest.raises(UsageError, match="line 2: the key 'a' is given twice"):
        parse_yaml("a: 1\na: 2\n")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "a: [1, 2",
        "? [1, 2]\n: x",
        "\t- a",
        "a: &x [*x]",
        "[" * 200 + "]" * 200,
        "2025-99-99",
    ],
)
def test_hostile_yaml_is_one_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "f")
    assert "\n" not in str(caught.value)


def test_yaml_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(UsageError, match="holds over 100,000 values"):
        parse_yaml("\n".join(lines))


def test_large_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_text("x" * (1 << 21))
    with pytest.raises(UsageError, match="over 1,048,576 bytes"):
        load_yaml(big)
    with pytest.raises(UsageError, match="No such file"):
        load_yaml(tmp_path / "none.yaml")
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_yaml(binary)


def test_overrides_reach_into_lists_and_leave_the_original_alone() -> None:
    data = {"seeds": [0, 1], "a": {"b": 1}}
    assert apply_overrides(data, ["seeds.1=7", "a.b=2e-3", "c.d=[x]"]) == {
        "seeds": [0, 7],
        "a": {"b": 0.002},
        "c": {"d": ["x"]},
    }
    assert data == {"seeds": [0, 1], "a": {"b": 1}}


@pytest.mark.parametrize("bad", ["a", "=3", "a..b=1", "a.b.c=1", "seeds.9=1", "seeds.x.y=2"])
def test_bad_overrides_are_named(bad: str) -> None:
    with pytest.raises(OptionError, match="override"):
        apply_overrides({"seeds": [0], "a": {"b": 1}}, [bad])


@given(st.text(max_size=200))
def test_any_text_is_yaml_or_a_usage_error(text: str) -> None:
    try:
        parse_yaml(text)
    except UsageError as error:
        assert "\n" not in str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=12,
    )
)
def test_any_data_is_options_or_an_option_error(data: object) -> None:
    try:
        Outer.parse(data)
    except EmofuseError as error:
        assert "\n" not in str(error)
