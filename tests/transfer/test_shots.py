"""Shots: how many, of whom, nested, and the same under any order of anything."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from tests.transfer.toys import utterances

from emofuse.errors import OptionError
from emofuse.training.transferring.shots import Shots, cut_shots, draw_shots


def draw(text, seed=0, pool=None):
    pool = utterances("red", speakers=6, each=12) if pool is None else pool
    return draw_shots(pool, Shots.parse(text), seed, "red\nfold 1")


@pytest.mark.parametrize(
    ("text", "each"), [(0, 0), (1, 1), (5, 5), ("10%", 2), ("25%", 6), ("100%", 24), (99, 24)]
)
def test_counts_by_class(text, each):
    counts = Counter(u.emotion for u in draw(text))
    assert counts == ({} if not each else dict.fromkeys(("anger", "happiness", "sadness"), each))


def test_no_class_is_left_without_a_shot():
    pool = utterances("red", speakers=2, each=6)
    assert Counter(u.emotion for u in draw("1%", pool=pool)) == {
        "anger": 1,
        "happiness": 1,
        "sadness": 1,
    }


def test_every_speaker_has_its_share():
    """Half of a class is half of each speaker's items of it, to within one."""
    pool = [u for u in utterances("red", speakers=6, each=12) if not u.id.endswith("7")]
    every = Counter((u.emotion, u.speaker) for u in pool)
    found = Counter((u.emotion, u.speaker) for u in draw("50%", pool=pool))
    assert all(abs(found[key] - count / 2) <= 1 for key, count in every.items())
    one_each = Counter(u.speaker for u in draw(6) if u.emotion == "anger")
    assert set(one_each.values()) == {1}


def test_fewer_shots_are_among_more():
    sizes = [1, 5, "25%", "50%", "100%"]
    drawn = [{u.id for u in draw(one, seed=3)} for one in sizes]
    assert all(less < more for less, more in pairwise(drawn))


def test_seeds_differ_and_order_does_not_matter():
    pool = utterances("red", speakers=6, each=12)
    ids = [u.id for u in draw("25%")]
    assert [u.id for u in draw("25%", pool=pool[::-1])] == ids
    assert [u.id for u in draw("25%", seed=1)] != ids


def test_dev_is_cut_by_speaker_where_classes_stay():
    cut = cut_shots(draw("50%"), 0.3, 0)
    assert cut.by == "speaker"
    assert not {u.speaker for u in cut.train} & {u.speaker for u in cut.dev}
    assert len(cut.train) + len(cut.dev) == 36


def test_dev_is_cut_by_item_where_speakers_are_too_few():
    cut = cut_shots(draw(2), 0.2, 0)
    assert cut.by == "item"
    assert Counter(u.emotion for u in cut.dev) == Counter(u.emotion for u in cut.train)


def test_one_shot_a_class_leaves_no_dev():
    cut = cut_shots(draw(1), 0.2, 0)
    assert (cut.by, cut.dev, len(cut.train)) == ("", (), 3)


@pytest.mark.parametrize("wrong", ["x", "-1", "101%", "1.5", True, None, "5 %%", [5]])
def test_wrong_shots(wrong):
    with pytest.raises(OptionError, match="shots"):
        Shots.parse(wrong)


def test_how_shots_are_written():
    assert [str(Shots.parse(one)) for one in (0, "0%", "10 %", "2.5%", "7")] == [
        "0",
        "0",
        "10%",
        "2.5%",
        "7",
    ]
    assert Shots.parse("10%").words == "10 %"
    assert Shots.parse(5).words == "5 a class"
