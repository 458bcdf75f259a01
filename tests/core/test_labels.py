"""Label schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.errors import EmofuseError, LabelError, OptionError
from emofuse.labels import SCHEMES, VOCABULARY, LabelScheme, get_scheme


@pytest.mark.parametrize("name", SCHEMES)
def test_built_in_schemes_place_the_whole_vocabulary(name: str) -> None:
    scheme = SCHEMES[name]
    places = scheme.map_all(VOCABULARY)
    assert {place for place in places if place} == set(scheme.classes)
    assert len(scheme.classes) == int(
        "".join(c for c in name.split("-", maxsplit=1)[0] if c.isdigit())
    )


def test_excitement_is_merged_or_dropped_by_scheme() -> None:
    assert get_scheme("basic4").map("exc") == "happiness"
    assert get_scheme("basic4-hap").map("exc") is None
    assert get_scheme("iemocap6").map("exc") == "excitement"


def test_unmapped_labels_are_counted_never_dropped() -> None:
    with pytest.raises(LabelError, match=r"'nostalgia' x 2, 'awe' x 1; add each to classes"):
        get_scheme("basic4").map_all(["anger", "nostalgia", "Nostalgia", "awe"])


def test_a_scheme_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nclasses: [Pos, neg]\nmerges: {joy: pos, ang: neg}\ndrops: [neu]\n"
        "vad: {valence: [-1, 1]}\n"
    )
    scheme = get_scheme(str(path))
    assert scheme.classes == ("pos", "neg")
    assert scheme.map_all(["happy", "ANGER", "neutral"]) == ["pos", "neg", None]
    assert scheme.vad == {"valence": (-1.0, 1.0)}
    assert LabelScheme.parse(scheme.model_dump(mode="json")) == scheme


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "classes": ["a"]}, "at least 2"),
        ({"name": "x", "classes": ["a", "A"]}, "class 'a' is listed twice"),
        ({"name": "x", "classes": ["a", "b"], "merges": {"c": "bb"}}, "did you mean 'b'"),
        ({"name": "x", "classes": ["a", "b"], "merges": {"a": "b"}}, "also merged or dropped"),
        (
            {"name": "x", "classes": ["a", "b"], "drops": ["c"], "merges": {"c": "a"}},
            "also dropped",
        ),
        ({"name": "x", "classes": ["a", "b"], "vad": {"valence": [2, 1]}}, "not a range"),
        ({"name": "x", "classes": ["a", "b"], "vad": {"energy": [0, 1]}}, "not a range"),
        ({"name": "x", "classes": ["a", ""]}, "not empty"),
        ({"name": "x", "classes": "a b"}, "tuple"),
        ({"name": "x", "classes": ["a", 3]}, "not empty"),
        ({"name": "x", "clases": ["a", "b"]}, "did you mean 'classes'"),
    ],
)
def test_bad_schemes_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LabelScheme.parse(data)


def test_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean 'emodb7'"):
        get_scheme("emodb8")


def test_unknown_class_has_no_index() -> None:
    with pytest.raises(LabelError, match="legal: anger, happiness"):
        get_scheme("basic4").index("calm")


words = st.text(max_size=6) | st.integers() | st.none()


@given(
    st.fixed_dictionaries(
        {"name": words, "classes": st.lists(words, max_size=4)},
        optional={
            "merges": st.dictionaries(st.text(max_size=4), words, max_size=3) | words,
            "drops": st.lists(words, max_size=3) | words,
            "vad": st.dictionaries(
                st.sampled_from(["valence", "arousal", "x"]), st.lists(st.floats(), max_size=3)
            ),
        },
    )
)
def test_any_scheme_is_sound_or_refused(data: dict[str, Any]) -> None:
    try:
        scheme = LabelScheme.parse(data)
    except EmofuseError as error:
        assert "\n" not in str(error)
        return
    for label in (*scheme.classes, *scheme.merges, *scheme.drops):
        assert scheme.map(label) is None or scheme.map(label) in scheme.classes
